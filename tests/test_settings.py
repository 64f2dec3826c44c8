from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apisensor import settings as module
from apisensor.cli.settings import example_file
from apisensor.sections import Settings
from apisensor.settings import TABLE, SettingsError, load_settings, load_with_sources, shown_default

DOCUMENT = Path(__file__).parent.parent / "docs" / "settings.md"


@pytest.fixture(autouse=True)
def no_installed_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "DEFAULT_CONFIG", str(tmp_path / "installed.toml"))


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "a.toml"
    path.write_text(text)
    return str(path)


def test_nothing_given_is_the_defaults() -> None:
    assert load_settings(environ={}) == Settings()


def test_each_source_overrides_the_ones_before(tmp_path: Path) -> None:
    text = "[worker]\ncount = 2\nmax_flows = 500\nidle_seconds = 10\n[capture]\nnever_ports = [22]"
    config = write(tmp_path, text)
    environ = {"APISENSOR_WORKER_MAX_FLOWS": "600", "APISENSOR_WORKER_IDLE_SECONDS": "20", "HOME": "/"}
    settings, sources = load_with_sources(config, environ, ["worker.idle_seconds=30"])
    assert (settings.worker.count, settings.worker.max_flows, settings.worker.idle_seconds) == (2, 600, 30)
    assert settings.capture.never_ports == [22]
    assert sources["worker.count"] == config
    assert sources["worker.max_flows"] == "APISENSOR_WORKER_MAX_FLOWS"
    assert sources["worker.idle_seconds"] == "command line"
    assert sources["worker.max_streams"] == "default"


def test_file_named_by_the_environment_and_installed_file(tmp_path: Path) -> None:
    config = write(tmp_path, "[worker]\ncount = 3")
    assert load_settings(environ={"APISENSOR_CONFIG": config}).worker.count == 3
    Path(module.DEFAULT_CONFIG).write_text("[worker]\ncount = 4")
    assert load_settings(environ={}).worker.count == 4
    assert load_settings(config, {}).worker.count == 3


def test_text_stands_for_every_type() -> None:
    environ = {
        "APISENSOR_CAPTURE_NEVER_PORTS": " 22, 5432 ,",
        "APISENSOR_CAPTURE_NEVER_EXECUTABLES": "/usr/sbin/sshd,/opt/a b/c",
        "APISENSOR_CAPTURE_RING_BYTES": "8_388_608",
        "APISENSOR_EXPORT_ENABLED": "false",
        "APISENSOR_REDACT_KEY_FILE": "",
        "APISENSOR_CAPTURE_NEVER_CONTAINERS": "",
    }
    settings = load_settings(environ=environ)
    assert settings.capture.never_ports == [22, 5432]
    assert settings.capture.never_executables == ["/usr/sbin/sshd", "/opt/a b/c"]
    assert settings.capture.ring_bytes == 8 << 20
    assert settings.export.enabled is False
    assert settings.key_file == "/var/lib/apisensor/identity.key"
    assert settings.live_socket == "/run/apisensor/live.sock"


@pytest.mark.parametrize(
    ("toml", "parts"),
    [
        ("[capture]\nring_bytes = 1000000", ["capture.ring_bytes", "1000000", "4,096", "a power of two"]),
        ("[capture]\nring_bytes = 2048", ["capture.ring_bytes", "2048"]),
        ("[capture]\ncall_limit = 2097152", ["capture.call_limit", "2097152", "1,114,112"]),
        ('[capture]\nbackend = "ebpf"', ["capture.backend", "'ebpf'", "auto | sock | kprobe | syscall"]),
        ('[capture]\nring_bytes = "65536"', ["capture.ring_bytes", "'65536'"]),
        ("[capture]\nnever_ports = [22, 70000]", ["capture.never_ports", "65,535"]),
        ('[capture]\nnever_executables = ["sshd"]', ["capture.never_executables", "absolute"]),
        ('[capture]\nnever_containers = ["../x"]', ["capture.never_containers", "[0-9a-f]"]),
        ('[general]\nstate_directory = "var"', ["general.state_directory", "absolute"]),
        ('[general]\nstate_directory = "/a\\u0000b"', ["general.state_directory"]),
        ("[export]\nenabled = 1", ["export.enabled", "true | false"]),
        ("[capture]\nrng_bytes = 1", ["capture.rng_bytes", "no setting", "capture.ring_bytes"]),
        ("[captur]\nring_bytes = 65536", ["captur.ring_bytes", "no setting", "capture.ring_bytes"]),
        ("ring_bytes = 65536", ["ring_bytes", "section"]),
        ("[capture\n", ["not TOML"]),
        ("[worker]\ncount = 1\ncount = 2", ["not TOML"]),
    ],
)
def test_one_line_names_source_key_value_and_what_is_allowed(tmp_path: Path, toml: str, parts: list[str]) -> None:
    config = write(tmp_path, toml)
    with pytest.raises(SettingsError) as caught:
        load_settings(config, {})
    message = str(caught.value)
    assert message.startswith(config)
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("environ", "assignments", "message"),
    [
        (
            {"APISENSOR_WORKER_COUNT": "17"},
            [],
            "APISENSOR_WORKER_COUNT: worker.count = '17': allowed is whole number, 1 to 16",
        ),
        (
            {"APISENSOR_WORKER_CUONT": "1"},
            [],
            "environment: APISENSOR_WORKER_CUONT is no setting; near: APISENSOR_WORKER_COUNT",
        ),
        ({"APISENSOR_EXPORT_ENABLED": "perhaps"}, [], "APISENSOR_EXPORT_ENABLED"),
        ({}, ["worker.count"], "command line: 'worker.count': section.key=value is expected"),
        ({}, ["worker.count=1.5"], "command line: worker.count = '1.5'"),
        ({}, ["worker.count="], "command line: worker.count = ''"),
        ({}, ["a\nb=1"], "command line: a\\nb is no setting"),
    ],
)
def test_environment_and_command_line_are_checked_alike(
    environ: dict[str, str], assignments: list[str], message: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        load_settings(None, environ, assignments)


def test_variables_of_others_are_left_alone() -> None:
    others = ["SERVICE_HOST", "SERVICE_PORT", "PORT", "PORT_4317_TCP_ADDR", "SERVICE_PORT_HTTP", "TEST_NODE"]
    assert load_settings(environ={f"APISENSOR_{name}": "tcp://x" for name in others}) == Settings()
    with pytest.raises(SettingsError):
        load_settings(environ={"APISENSOR_PROT": "1"})


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=re.escape(f"{tmp_path}/none: No such file")):
        load_settings(f"{tmp_path}/none", {})
    with pytest.raises(SettingsError, match="Is a directory"):
        load_settings(str(tmp_path), {})
    with pytest.raises(SettingsError, match="not a settings file"):
        load_settings("/dev/zero", {})
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="not TOML"):
        load_settings(str(tmp_path / "binary"), {})
    (tmp_path / "deep").write_text("a = " + "[" * 100_000)
    with pytest.raises(SettingsError, match="not TOML"):
        load_settings(str(tmp_path / "deep"), {})


@given(st.sampled_from(sorted(TABLE)), st.text(max_size=300))
def test_any_text_is_a_value_or_one_line(key: str, text: str) -> None:
    try:
        load_settings("/dev/null", {}, [f"{key}={text}"])
    except SettingsError as error:
        assert "\n" not in str(error)  # noqa: PT017 - both outcomes are fine, a third is not
        assert len(str(error)) < 500  # noqa: PT017


@given(st.binary(max_size=200))
def test_any_file_is_settings_or_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    try:
        load_settings(str(path), {})
    except SettingsError as error:
        assert "\n" not in str(error)  # noqa: PT017


def test_settings_are_frozen_and_travel() -> None:
    settings = load_settings(environ={"APISENSOR_WORKER_COUNT": "2"})
    with pytest.raises(AttributeError):
        settings.worker.count = 3  # type: ignore[misc]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(settings), type=Settings) == settings


def test_every_setting_says_what_it_is_and_every_bound_why() -> None:
    for field in TABLE.values():
        assert field.description.endswith("."), field.key
        bounded = "whole number" in field.allowed or field.allowed.startswith("a list")
        assert bool(field.reason) == bounded, field.key


def test_defaults_are_allowed() -> None:
    for key, field in TABLE.items():
        text = ",".join(map(str, field.default)) if isinstance(field.default, list) else str(field.default).lower()
        assert load_settings(None, {}, [f"{key}={text}"]) == Settings()


def test_the_example_file_is_valid_with_and_without_its_comments(tmp_path: Path) -> None:
    text = example_file()
    assert load_settings(write(tmp_path, text), {}) == Settings()
    given = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)
    settings, sources = load_with_sources(write(tmp_path, given), {})
    assert settings == Settings()
    assert "default" not in sources.values()


def test_the_document_shows_the_table() -> None:
    rows = {}
    for line in DOCUMENT.read_text().splitlines():
        if match := re.match(r"\| `(\w+\.\w+)` \| (.*) \|$", line):
            rows[match[1]] = match[2]
    expected = {
        key: " | ".join(
            cell.replace("|", "\\|")
            for cell in (f"`{shown_default(f.default)}`", f.allowed, f"{f.description} {f.reason}".rstrip())
        )
        for key, f in TABLE.items()
    }
    assert rows == expected


def test_module_prints_the_effective_settings() -> None:
    environ = {**os.environ, "APISENSOR_WORKER_COUNT": "3"}
    command = [sys.executable, "-m", "apisensor.settings"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=True)
    assert "worker.count = 3\n" in done.stdout
    assert len(done.stdout.splitlines()) == len(TABLE)
    failed = subprocess.run([*command, "worker.count=0"], capture_output=True, text=True, timeout=60, check=False)
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
