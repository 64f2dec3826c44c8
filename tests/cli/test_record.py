from __future__ import annotations

import os
import stat
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from apisensor.cli.main import cli
from apisensor.cli.record import open_recording
from apisensor.sections import Settings


class Recorder:
    """In place of apisensor.processes.run: keeps what it is called with, and owns the descriptor as it would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[dict[str, Any]] = []
        module = types.ModuleType("apisensor.processes.run")
        module.record = self.record  # type: ignore[attr-defined]
        module.main = self.main  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "apisensor.processes.run", module)

    def record(self, settings: Settings, open_file: Callable[[], int], **arguments: Any) -> int:
        descriptor = open_file()
        os.write(descriptor, b"recorded")
        os.close(descriptor)
        self.calls.append({"settings": settings, **arguments})
        return 0

    def main(self, settings: Settings, **arguments: Any) -> int:
        self.calls.append({"settings": settings, **arguments})
        return 1


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return Recorder(monkeypatch)


def test_what_record_is_called_with(recorder: Recorder, tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    arguments = ["record", str(path), "--duration", "1.5m", "--max-bytes", "2MiB", "--set", "worker.count=2"]
    result = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert result.exception is None
    assert result.return_value == 0
    (call,) = recorder.calls
    assert (call["duration"], call["max_bytes"], call["settings"].worker.count) == (90.0, 2 << 20, 2)
    assert path.read_bytes() == b"recorded"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "raw payloads" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("text", "bytes_"), [("5000", 5000), ("5k", 5000), ("5KB", 5000), ("5KiB", 5120), ("1.5G", 1_500_000_000)]
)
def test_sizes(recorder: Recorder, tmp_path: Path, text: str, bytes_: int) -> None:
    CliRunner().invoke(cli, ["record", str(tmp_path / "a"), "--max-bytes", text], standalone_mode=False)
    assert recorder.calls[0]["max_bytes"] == bytes_
    assert recorder.calls[0]["duration"] is None


def test_an_existing_file_is_not_replaced(recorder: Recorder, tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    path.write_bytes(b"precious")
    result = CliRunner().invoke(cli, ["record", str(path)])
    assert result.exit_code == 1
    assert f"{path}: exists; another name, or --force to replace it" in result.stderr
    assert path.read_bytes() == b"precious"
    assert not recorder.calls


def test_force_makes_a_new_file_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    path.write_bytes(b"old")
    path.chmod(0o644)
    with path.open("rb") as old_reader:
        os.close(open_recording(str(path), force=True))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_bytes() == b""
        assert old_reader.read() == b"old"  # whoever had the old one open sees nothing of the new


def test_a_wide_open_umask_changes_nothing(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        os.close(open_recording(str(tmp_path / "a"), force=False))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


@pytest.mark.parametrize("force", [False, True])
def test_links_and_other_things_are_not_followed(tmp_path: Path, force: bool) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    (tmp_path / "link").symlink_to(target)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "dangling", "folder", "fifo"):
        with pytest.raises(click.ClickException, match=r"not replaced|exists"):
            open_recording(str(tmp_path / name), force)
    assert target.read_bytes() == b"precious"
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(click.ClickException, match="cannot be made: No such file"):
        open_recording(str(tmp_path / "none" / "a"), force)


def test_run_passes_its_format_and_settings_and_returns_the_status(recorder: Recorder) -> None:
    arguments = ["run", "--format", "jsonl", "--log-level", "debug", "--log-format", "json"]
    result = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert result.return_value == 1
    (call,) = recorder.calls
    assert call["output"] == "jsonl"
    assert (call["settings"].general.log_level, call["settings"].general.log_format) == ("debug", "json")
