"""The bench under wrk: what it reads, what it computes, and a real run without the sensor."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.nginx_wrk import Load, Nginx, Observed, load, read_wrk, report

WRK = """\
Running 5s test @ https://127.0.0.1:8443/
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   312.00us  120.00us   4.10ms   90.00%
    Req/Sec    25.10k     1.10k   27.00k    70.00%
  Latency Distribution
     50%  301.00us
     75%  350.00us
     90%  420.00us
     99%    1.25ms
  125500 requests in 5.00s, 140.00MB read
Requests/sec:  25100.50
Transfer/sec:     28.00MB
"""


def test_reads_rate_and_latencies_in_one_unit() -> None:
    assert read_wrk(WRK) == Load(25100.5, 0.301, 1.25)


@pytest.mark.parametrize(
    "line", ["  Socket errors: connect 0, read 3, write 0, timeout 0", "  Non-2xx or 3xx responses: 12"]
)
def test_failed_requests_are_no_measurement(line: str) -> None:
    with pytest.raises(ValueError, match=line.strip()[:10]):
        read_wrk(WRK.replace("Requests/sec", f"{line}\nRequests/sec"))


def test_something_else_is_not_taken_for_a_report() -> None:
    with pytest.raises(ValueError, match="not a report"):
        read_wrk("unable to connect")


def test_the_report_pairs_rounds_and_adds_up_losses() -> None:
    bare = [Load(100.0, 1.0, 2.0), Load(200.0, 1.0, 2.0), Load(100.0, 1.0, 2.0)]
    observed = [
        Observed(Load(50.0, 2.0, 4.0), 500, 500, 10.0, {}),
        Observed(Load(50.0, 2.0, 4.0), 500, 400, 30.0, {"kernel.lost.ring_full": 2}),
        Observed(Load(80.0, 2.0, 4.0), 1000, 1000, 20.0, {"kernel.lost.ring_full": 3}),
    ]
    text = "\n".join(report(bare, observed))
    assert "0.50 of bare (rounds: 0.50, 0.25, 0.80)" in text
    assert "1,900 of 2,000 requests that nginx served, 95.00%" in text
    assert "20 us" in text
    assert "kernel.lost.ring_full 5" in text


def test_nginx_counts_what_wrk_asks(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path)
    try:
        before = nginx.served()
        result = load(nginx, 1, 2)
        served = nginx.served() - before - 1
    finally:
        nginx.stop()
    assert result.requests_per_second > 0
    # wrk does not count what is under way when its time is up.
    assert served > 10
