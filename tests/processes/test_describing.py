"""Descriptor sets on their way into the worker: read by run, understood in the sandbox, refused in one line."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from apisensor.content.described import Descriptions, DescriptorSet, DescriptorSetError
from apisensor.processes import describing
from apisensor.processes.describing import describe, read_sets
from apisensor.sections import Settings, Worker
from tests.cli.invoke import apisensor, one_line
from tests.content.shop import compiled, shop, shop_set
from tests.replay.shop_peers import METHODS, PASSWORD, TOKEN, make_calls, serving
from tests.sensor import Sensor


def settings(*paths: Path) -> Settings:
    return Settings(worker=Worker(descriptor_sets=[str(path) for path in paths]))


def refusal(*paths: Path) -> str:
    with pytest.raises(DescriptorSetError) as refused:
        read_sets([str(path) for path in paths])
    return str(refused.value)


def test_files_are_read_in_order(tmp_path: Path) -> None:
    paths = [tmp_path / "b", tmp_path / "a"]
    for path in paths:
        path.write_bytes(path.name.encode())
    assert read_sets([str(path) for path in paths]) == [DescriptorSet(str(path), path.name.encode()) for path in paths]
    assert read_sets([]) == []


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("nowhere")
    head = f"descriptor set {tmp_path}"
    assert refusal(tmp_path / "none") == f"{head}/none: No such file or directory; name one that can be read"
    assert refusal(tmp_path / "link") == f"{head}/link: No such file or directory; name one that can be read"
    assert refusal(tmp_path / "fifo") == f"{head}/fifo: not a regular file; name another"
    assert refusal(tmp_path) == f"{head}: not a regular file; name another"
    assert refusal(Path("/dev/zero")) == "descriptor set /dev/zero: not a regular file; name another"
    assert "\n" not in refusal(tmp_path / "no\nsuch")


def test_all_files_share_one_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describing, "SETS_BYTES", 1000)
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(bytes(600))
    second.write_bytes(bytes(400))
    read_sets([str(first), str(second)])
    second.write_bytes(bytes(401))
    assert refusal(first, second) == (
        f"descriptor set {second}: more than 1,000 bytes in all; leave out what is not called"
    )
    second.write_bytes(bytes(1 << 20))
    assert "1,000 bytes" in refusal(second)


@pytest.mark.kernel
def test_what_the_sandbox_says_of_them(tmp_path: Path) -> None:
    """The file is root's alone; the process that parses it is nobody and can open nothing."""
    path = tmp_path / "shop.pb"
    path.write_bytes(shop_set())
    path.chmod(0o600)
    said = describe(settings(path))
    assert said is not None
    assert msgspec.msgpack.decode(said, type=Descriptions) == shop()
    assert describe(settings()) is None


@pytest.mark.kernel
def test_why_the_sandbox_refuses_them(tmp_path: Path) -> None:
    for content, why in ((b"text", "not a FileDescriptorSet"), (compiled(), "imports 'google/protobuf/any.proto'")):
        path = tmp_path / "shop.pb"
        path.write_bytes(content)
        with pytest.raises(DescriptorSetError, match=f"^descriptor set {path}: .*{re.escape(why)}.*--include_imports"):
            describe(settings(path))


@pytest.mark.kernel
def test_a_describer_that_fails_is_said(tmp_path: Path) -> None:
    path = tmp_path / "shop.pb"
    path.write_bytes(shop_set())
    wrong = msgspec.structs.replace(
        settings(path), general=msgspec.structs.replace(Settings().general, sandbox_user="-")
    )
    with pytest.raises(DescriptorSetError, match=r"^descriptor set .*shop.pb: the process that parses it ended with"):
        describe(wrong)


@pytest.mark.kernel
def test_run_does_not_start_with_a_broken_one(tmp_path: Path) -> None:
    path = tmp_path / "shop.pb"
    path.write_bytes(b"syntax = 'proto3';")
    done = apisensor(
        *(
            "run",
            "--set",
            f"general.runtime_directory={tmp_path}/run",
            "--set",
            f"general.state_directory={tmp_path}/state",
        ),
        *("--set", "general.user=daemon", "--set", f"worker.descriptor_sets={path}"),
    )
    assert done.returncode == 1
    assert one_line(done.stderr).startswith(f"apisensor: descriptor set {path}: not a FileDescriptorSet; make it with")
    assert not (tmp_path / "state").exists()


def test_replay_does_not_start_with_a_broken_one(tmp_path: Path) -> None:
    path = tmp_path / "shop.pb"
    path.write_bytes(b"")
    done = apisensor("replay", "-", "--set", f"worker.descriptor_sets={path}", input="")
    assert done.returncode == 1
    assert one_line(done.stderr).startswith(f"apisensor: descriptor set {path}: not a FileDescriptorSet; make it with")
    wrong = apisensor("replay", "-", "--set", "worker.descriptor_sets=shop.pb", input="")
    assert wrong.returncode == 1
    assert "absolute paths" in one_line(wrong.stderr)


@pytest.mark.kernel
def test_the_running_sensor_knows_fields_by_name(tmp_path: Path) -> None:
    path = tmp_path / "shop.pb"
    path.write_bytes(shop_set())
    path.chmod(0o600)

    def ours(transactions: list[Any]) -> list[Any]:
        return [t for t in transactions if (t["path"] or "").startswith("/shop.v1.Shop/")]

    with serving() as port, Sensor(settings=[f"worker.descriptor_sets={path}"]) as sensor:
        make_calls(port)
        found = ours(sensor.wait_until(lambda transactions: len(ours(transactions)) == 12))
    for t in found:
        (spoken,) = t["operations"]
        fields, _ = METHODS[spoken["name"].removeprefix("shop.v1.Shop/"), spoken["kind"]]
        assert spoken["fields"] == fields
    assert PASSWORD not in repr(found)
    assert TOKEN not in repr(found)
