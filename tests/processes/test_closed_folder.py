"""The sensor in a folder that only root may enter, as a clone in root's home is: parts of other users work there."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.peers.process import ROOT, program, wait_until
from tests.processes.collector import collector
from tests.sensor import Sensor, _user

pytestmark = pytest.mark.kernel

WAIT_S = 30.0

_CLOSED = """
set -e
upper=$(mktemp -d)
mount -t tmpfs tmpfs "$upper"
mkdir -m 0700 "$upper/up" "$upper/work"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$upper/up,workdir=$upper/work" "$1"
umount -l "$upper"
rmdir "$upper"
cd "$1"
shift
exec "$@"
"""
"""The same tree at the same place, for this process and its children; its top has the mode of the upper layer's."""


def _closed() -> list[str]:
    """Runs a command there."""
    return [program("unshare"), "--mount", "--propagation", "private", "sh", "-c", _CLOSED, "sh", str(ROOT)]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_no_part_needs_to_read_where_the_sensor_lies(protocol: str, tmp_path: Path) -> None:
    with collector(protocol, tmp_path) as receiver:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        with Sensor(environment=environment, within=_closed()) as sensor:
            assert stat.S_IMODE(Path(f"/proc/{sensor.pid}/root{ROOT}").stat().st_mode) == 0o700
            address, token = sensor.page()
            with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=WAIT_S) as page:
                for path in (
                    "/",
                    "/static/app.js",
                    "/api/v1/endpoints",
                    "/api/v1/findings",
                    "/api/v1/status",
                    "/metrics",
                ):
                    assert page.get(path).status_code == 200, path
                with page.stream("GET", "/api/v1/live") as live:
                    assert next(live.iter_lines()) == ": the stream begins"
            subprocess.run(
                [program("curl"), "-sS", "-o", "/dev/null", f"http://127.0.0.1:{receiver.port}/closed"],
                check=False,
                timeout=20,
            )
            wait_until(lambda: receiver.spans() > 0, WAIT_S, "spans")
            assert "Traceback" not in sensor.log()


def test_a_recording_needs_no_more(tmp_path: Path) -> None:
    file = tmp_path / "closed.rec"
    command = [*_closed(), sys.executable, "-m", "apisensor.cli.main", "record", str(file), *_user(), "--duration", "6"]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S)
    assert done.returncode == 0, done.stderr
    assert "apisensor: ready" in done.stderr
    assert file.stat().st_size > 0
