"""The bench of overhead: what it reads and computes, and that the floor counts what nginx calls."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from bench import sslsniff
from bench.floor import Floor
from bench.nginx_wrk import Load, Nginx
from bench.overhead import Clients, Run, report
from bench.paced import Latencies, read_log


def test_latencies_of_single_requests() -> None:
    lines = [f"1700000000\t200\t{latency}" for latency in range(1, 201)]
    assert read_log("\n".join(lines)) == Latencies(100.5, 199, 200)
    with pytest.raises(ValueError, match="1 of 3"):
        read_log("1\t200\t5\n2\t-1\t7\n3\t200\t9\n")
    with pytest.raises(ValueError, match="no request"):
        read_log("")


def test_a_round_is_compared_with_its_own_bare_and_floor() -> None:
    def run(rate: float, median: float, spans: int | None = None) -> Run:
        lost = {} if spans is None else {"kernel.lost.shed_bytes": 7}
        return Run(Load(rate, 1.0, 2.0), Latencies(median, 2 * median, 10), spans, 100, 0.0, lost)

    runs = {
        "bare": [run(100, 100), run(200, 120), run(100, 100)],
        "floor": [run(50, 150), run(100, 170), run(50, 150)],
        "every": [run(25, 180, 100), run(75, 220, 100), run(40, 160, 90)],
    }
    text = "\n".join(report(runs))
    assert "every           40 requests/s, 0.38 of bare, 0.75 of floor; spans of 96.7% of what nginx served" in text
    assert "every     paced: median    180 us, p99    360 us; beyond the floor +30, +60 us" in text
    assert "every     lost: kernel.lost.shed_bytes 21" in text


def test_the_program_that_is_measured_beside_is_the_one_that_is_known() -> None:
    text = "x = min((size_t)MAX_BUF_SIZE, (size_t)len);\nb = BPF(text=prog)\nprint(header)\n"
    changed = sslsniff.patched(text)
    assert "min(" not in changed
    assert "print(header, file=sys.stderr" in changed
    with pytest.raises(ValueError, match="has not one"):
        sslsniff.patched("print(header)\n")


@pytest.mark.kernel
def test_the_floor_counts_entries_and_returns_of_nginx_and_not_of_wrk(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path)
    try:
        clients = Clients(tmp_path)
        with contextlib.closing(Floor(clients.library, [nginx.worker])) as floor:
            before = nginx.served()
            clients.load(nginx, 1, 2)
            served = nginx.served() - before - 1
            entries, returns = floor.counts()
        # A read for each request, one that finds nothing more, and a write; some calls of the handshakes' end.
        assert 2 * served <= entries <= 4 * served
        assert abs(entries - returns) <= 2
    finally:
        nginx.stop()
