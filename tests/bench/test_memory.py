"""What the sensor holds: the table, and a client whose connections stay open."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

import pytest

from bench.memory import Client, largest, report, sizes
from bench.nginx_wrk import Nginx

CONNECTIONS = 40


def test_a_status_tells_every_part_and_the_maps_once() -> None:
    sized = {"run": 18_000_000, "core": 30_500_000}
    parts = [{"name": name, "memory_bytes": size, "resting": False} for name, size in sized.items()]
    found = sizes({"parts": parts, "maps": {"ring:0": 33_600_000, "traffic": 2_000_000}})
    assert found == {"run": 18_000_000, "core": 30_500_000, "BPF maps": 35_600_000}
    rests = {"name": "web", "memory_bytes": None, "resting": True}
    assert sizes({"parts": [*parts, rests], "maps": {}})["web"] == 0
    assert largest({"traffic": 2_000_000, "ring:0": 33_600_000}, 1) == "ring:0 33.6"
    with pytest.raises(ValueError, match="of the memory of web"):
        sizes({"parts": [*parts, {"name": "web", "memory_bytes": None, "resting": False}], "maps": {}})


def test_the_table_has_a_column_for_each_moment_and_a_sum() -> None:
    lines = list(report({"idle": {"run": 18_000_000, "core": 30_500_000}, "open": {"run": 18_100_000, "core": 1}}))
    assert [line.split() for line in lines] == [
        ["MB", "idle", "open"],
        ["run", "18.0", "18.1"],
        ["core", "30.5", "0.0"],
        ["all", "48.5", "18.1"],
    ]


def test_the_client_calls_again_on_the_connections_it_has_opened(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path, connections=CONNECTIONS * 2)
    client = Client(nginx, tmp_path, CONNECTIONS, 10, 400)
    try:
        before = nginx.served()
        for rounds in (1, 2):
            client.call()
            assert nginx.served() - before == rounds * (CONNECTIONS + 1)
        with urllib.request.urlopen(f"http://127.0.0.1:{nginx.plain}/served", timeout=10) as response:
            open_now = re.match(rb"Active connections: (\d+)", response.read())
    finally:
        client.stop()
        nginx.stop()
    assert open_now is not None
    assert int(open_now[1]) == CONNECTIONS + 1
