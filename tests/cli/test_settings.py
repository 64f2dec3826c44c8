from __future__ import annotations

from pathlib import Path

import msgspec

from apisensor.sections import Settings
from apisensor.settings import TABLE, load_settings
from tests.cli.invoke import apisensor


def test_table_shows_every_value_and_its_source() -> None:
    done = apisensor("settings", "--set", "worker.count=2", variables={"APISENSOR_CAPTURE_NEVER_PORTS": "22"})
    assert done.returncode == 0
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()[1:]}
    assert list(rows) == list(TABLE)
    assert rows["worker.count"] == ["2", "command", "line"]
    assert rows["capture.never_ports"] == ["[22]", "APISENSOR_CAPTURE_NEVER_PORTS"]
    assert rows["live.max_clients"] == ["32", "default"]


def test_json() -> None:
    document = msgspec.json.decode(apisensor("settings", "--format", "json", "--set", "worker.count=2").stdout)
    assert document["worker.count"] == {"value": 2, "source": "command line"}
    assert list(document) == list(TABLE)


def test_toml_is_a_settings_file(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    given = ["--set", "worker.count=2", "--set", 'redact.key_file=/a "b"\\é', "--set", "capture.never_pids=1,2"]
    path.write_text(apisensor("settings", "--format", "toml", *given).stdout)
    settings = load_settings(str(path), {})
    assert settings.worker.count == 2
    assert settings.redact.key_file == '/a "b"\\é'
    assert settings.capture.never_pids == [1, 2]


def test_example_is_a_settings_file(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(apisensor("settings", "--example").stdout)
    assert load_settings(str(path), {}) == Settings()
