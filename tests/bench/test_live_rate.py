"""Calls at a given rate: h2load makes that many, and the report says what became of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.live_rate import CONNECTIONS, Run, load, report
from bench.nginx_wrk import Nginx


def test_the_report_sets_what_was_captured_beside_what_was_served() -> None:
    runs = [
        Run(1_000, 10, 10_000, 10_000, {"worker-0": 500_000, "core": 2_000_000, "run": 20_000}, {}),
        Run(5_000, 10, 40_000, 39_000, {"worker-0": 9_990_000}, {"kernel.lost.ring_full": 7}),
    ]
    first, nothing, second, lost = report(runs)
    assert "1,000 calls/s asked, 1,000 made: 10,000 of 10,000 captured (100.000%)" in first
    assert "worker-0 0.05, core 0.20" in first
    assert "run" not in first
    assert nothing == "  lost: nothing"
    assert "5,000 calls/s asked, 4,000 made: 39,000 of 40,000 captured (97.500%)" in second
    assert lost == "  lost: kernel.lost.ring_full 7"


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
def test_calls_are_made_at_the_rate_and_nginx_counts_them(tmp_path: Path, protocol: str) -> None:
    nginx = Nginx(tmp_path)
    try:
        before = nginx.served()
        load(f"https://127.0.0.1:{nginx.tls}/", 2 * CONNECTIONS, 2, protocol)
        served = nginx.served() - before - 1
    finally:
        nginx.stop()
    # h2load begins a little late and ends with the time; more than the rate it never makes.
    assert CONNECTIONS < served <= 5 * CONNECTIONS
    with pytest.raises(ValueError, match="h2load"):
        load(f"https://127.0.0.1:{nginx.tls}/", CONNECTIONS, 1, protocol)
