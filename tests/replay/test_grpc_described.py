"""grpcio on both ends, captured by tcpdump, replayed with the descriptor set of their service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from apisensor.processes.replay import replay
from apisensor.sections import Settings, Worker
from apisensor.transactions.model import Transaction
from tests.cli.invoke import apisensor
from tests.content.shop import shop_set

from .shop_peers import METHODS, PASSWORD, TOKEN, USER, make_calls, serving
from .tcpdump import needs_tcpdump, tcpdump

pytestmark = needs_tcpdump

Told = dict[tuple[str, str | None], list[Transaction]]


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "shop.pb").write_bytes(shop_set())
    path = folder / "shop.pcap"
    with serving() as port, tcpdump(path, f"tcp port {port}", "-i", "lo"):
        make_calls(port)
    return path


def told_by(path: Path, *sets: Path) -> Told:
    told: Told = {}

    def tell(t: Transaction) -> None:
        (spoken,) = t.operations
        assert spoken.name is not None
        told.setdefault((spoken.name.removeprefix("shop.v1.Shop/"), spoken.kind), []).append(t)

    settings = Settings(worker=Worker(descriptor_sets=[str(one) for one in sets]))
    summary = replay(str(path), tell, settings=settings, key=bytes(32))
    assert (summary.error, summary.losses, summary.incomplete) == (None, {}, {})
    return told


def test_every_kind_of_call_is_known_by_the_names_of_its_fields(capture: Path) -> None:
    told = told_by(capture, capture.with_name("shop.pb"))
    assert told.keys() == METHODS.keys()
    compressed = told["Login", "unary"].pop()
    for method, (fields, sensitive) in METHODS.items():
        (t,) = told[method]
        assert t.operations[0].fields == fields, method
        assert [(one.kind, one.place, one.count) for one in t.sensitive] == sensitive, method
    assert [t.login_identity is not None for (t,) in told.values()] == [
        method in {"Login", "List"} for method, _ in told
    ]
    assert compressed.messages is not None
    assert compressed.messages.request is not None
    assert compressed.messages.request.compressed == 1
    assert [one.count for one in compressed.sensitive if one.place == "request.body"] == [40]


def test_without_a_descriptor_set_there_are_numbers(capture: Path) -> None:
    told = told_by(capture)
    assert told["Login", "unary"][0].operations[0].fields == ["1", "2", "3"]
    assert [one.kind for one in told["Login", "unary"][0].sensitive] == ["email"]


def test_by_the_command_line(capture: Path) -> None:
    setting = f"worker.descriptor_sets={capture.with_name('shop.pb')}"
    done = apisensor("replay", str(capture), "--format", "jsonl", "--set", setting)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    fields = [t["operations"][0]["fields"] for t in lines if t["kind"] == "transaction"]
    assert fields.count(["user_name", "password", "pin"]) == 3
    said = {(t["grpc_status"], t["grpc_message"]) for t in lines if t["kind"] == "transaction"}
    assert said == {(0, None), (16, "no")}
    for secret in (PASSWORD, TOKEN, f'"{USER}"', "ann@"):
        assert secret not in done.stdout
