"""`apisensor prepare` keeps what a start looks for, and the other way round."""

from __future__ import annotations

import re

import pytest

from tests.cli.invoke import apisensor, one_line
from tests.sensor import Sensor

pytestmark = pytest.mark.kernel


def test_what_is_prepared_is_what_a_start_takes() -> None:
    with Sensor() as sensor:
        kept = sensor.directory / "state" / "programs"
        assert re.fullmatch(rf"programs for Linux \S+: from the cache, {kept}\n", sensor.command("prepare"))
        taken = kept.read_bytes()
        kept.unlink()
        assert re.fullmatch(rf"programs for Linux \S+: compiled, {kept}\n", sensor.command("prepare"))
        # Under the same key; the salt of unix sockets is another one.
        assert kept.read_bytes().splitlines()[1] == taken.splitlines()[1]
        assert not sensor.losses()


def test_where_nothing_can_be_kept(tmp_path_factory: pytest.TempPathFactory) -> None:
    missing = tmp_path_factory.mktemp("node") / "missing"
    done = apisensor("prepare", f"--set=general.state_directory={missing}")
    assert done.returncode == 1
    assert f"{missing} is missing" in one_line(done.stderr)
