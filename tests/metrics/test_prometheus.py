"""The exposition, read back with prometheus_client's parsers."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import Metric as Family
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from apisensor.live.status import LibraryStatus, Part, ProcessStatus, Status
from apisensor.metrics.calls import CallMetrics
from apisensor.metrics.model import Metric
from apisensor.metrics.naming import family, label
from apisensor.metrics.prometheus import CONTENT_TYPE, OPENMETRICS_CONTENT_TYPE, exposition
from apisensor.transactions.model import Process
from tests.export.records import call, transactions

STATUS = Status(
    version="1.2.3",
    started=1_700_000_000.5,
    parts=[
        Part(name="core", pid=10, uptime_seconds=5.5, memory_bytes=40_000_000),
        Part(name="worker-0", pid=None, restarts=3),
    ],
    maps={"ring:0": 32_000_000, "connections": 1_000_000},
    counters={
        "kernel.records": 7,
        "kernel.chunk_bytes": 1 << 60,
        "kernel.lost.ring_full": 2,
        "kernel.lost.ring_full_bytes": 900,
        "worker.lost.ring_full_bytes": 800,
        "live.clients": 1,
        "future.something_new": 4,
    },
    libraries=[
        LibraryStatus(path="/a", library="openssl", probes=9),
        LibraryStatus(path="/b", library="openssl", probes=9),
        LibraryStatus(path="/c", library="openssl", reason="no symbols"),
    ],
    processes=[
        ProcessStatus(pid=1, encrypted_bytes=5, blind=True),
        ProcessStatus(pid=2, encrypted_bytes=5, attached=True),
        ProcessStatus(pid=3, plaintext_bytes=5),
    ],
    export={
        "endpoint": "grpc http://c:4317",
        "state": "retrying",
        "offered": 9,
        "sent": 5,
        "queued": 3,
        "last_error": None,
        "dropped.queue_full": 1,
    },
)
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def families(text: str, *, is_openmetrics: bool) -> list[Family]:
    parse: Any = openmetrics_parser.text_string_to_metric_families if is_openmetrics else text_string_to_metric_families
    return list(parse(text))


def samples(text: str, *, is_openmetrics: bool = False) -> Samples:
    found: Samples = {}
    for each in families(text, is_openmetrics=is_openmetrics):
        for sample in each.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, "a sample twice"
            found[key] = sample.value
    return found


def calls(*each: Any) -> CallMetrics:
    metrics = CallMetrics(1000, started_ns=1)
    for t in each:
        metrics.observe(t)
    return metrics


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


@pytest.mark.parametrize("is_openmetrics", [False, True])
def test_a_histogram_as_prometheus_reads_it(is_openmetrics: bool) -> None:
    metrics = calls(*(call(duration_ns=ns) for ns in (1_000_000, 30_000_000, 20_000_000_000)))
    found = samples(exposition(metrics, STATUS, openmetrics=is_openmetrics), is_openmetrics=is_openmetrics)
    labels = {
        "service_name": "frontend",
        "http_request_method": "GET",
        "url_scheme": "https",
        "http_response_status_code": "200",
        "network_protocol_version": "1.1",
    }
    name = "http_server_request_duration_seconds"
    assert found[key(f"{name}_bucket", **labels, le="0.005")] == 1
    assert found[key(f"{name}_bucket", **labels, le="0.05")] == 2
    assert found[key(f"{name}_bucket", **labels, le="10.0")] == 2
    assert found[key(f"{name}_bucket", **labels, le="+Inf")] == 3
    assert found[key(f"{name}_count", **labels)] == 3
    assert found[key(f"{name}_sum", **labels)] == 20.031


@pytest.mark.parametrize("is_openmetrics", [False, True])
def test_health(is_openmetrics: bool) -> None:
    found = samples(exposition(calls(), STATUS, openmetrics=is_openmetrics), is_openmetrics=is_openmetrics)
    assert found == {
        key("apisensor_build_info", version="1.2.3"): 1,
        key("apisensor_start_time_seconds"): 1_700_000_000.5,
        key("apisensor_part_up", part="core"): 1,
        key("apisensor_part_up", part="worker-0"): 0,
        key("apisensor_part_restarts_total", part="core"): 0,
        key("apisensor_part_restarts_total", part="worker-0"): 3,
        key("apisensor_part_uptime_seconds", part="core"): 5.5,
        key("apisensor_part_uptime_seconds", part="worker-0"): 0,
        key("apisensor_part_memory_bytes", part="core"): 40_000_000,
        key("apisensor_maps_memory_bytes"): 33_000_000,
        key("apisensor_kernel_records_total"): 7,
        key("apisensor_kernel_chunk_bytes_total"): 1 << 60,
        key("apisensor_lost_total", part="kernel", cause="ring_full"): 2,
        key("apisensor_lost_bytes_total", part="kernel", cause="ring_full"): 900,
        key("apisensor_lost_bytes_total", part="worker", cause="ring_full"): 800,
        key("apisensor_live_clients"): 1,
        key("apisensor_future_something_new_total"): 4,
        key("apisensor_metrics_series"): 0,
        key("apisensor_metrics_overflowed_calls_total"): 0,
        key("apisensor_metrics_retired_series_total"): 0,
        key("apisensor_libraries", library="openssl", attached="true"): 2,
        key("apisensor_libraries", library="openssl", attached="false"): 1,
        key("apisensor_blind_processes"): 1,
        key("apisensor_export_state", state="retrying"): 1,
        key("apisensor_export_offered_total"): 9,
        key("apisensor_export_sent_total"): 5,
        key("apisensor_export_queued"): 3,
        key("apisensor_export_dropped_total", cause="queue_full"): 1,
    }


def test_types() -> None:
    found = {each.name: each.type for each in families(exposition(calls(call()), STATUS), is_openmetrics=False)}
    assert found["http_server_request_duration_seconds"] == "histogram"
    assert found["apisensor_lost"] == "counter"
    assert found["apisensor_live_clients"] == found["apisensor_part_memory_bytes"] == "gauge"


HOSTILE = '/x"} 1\n# TYPE evil counter\nevil{a="b\\\r\x00\u2028\ud800é'


@pytest.mark.parametrize("is_openmetrics", [False, True])
def test_hostile_text_stays_inside_its_label(is_openmetrics: bool) -> None:
    metrics = calls(call(route=HOSTILE, process=Process(1, service=HOSTILE)), call(side="client", authority=HOSTILE))
    text = exposition(metrics, STATUS, openmetrics=is_openmetrics)
    assert not [line for line in text.split("\n") if line.startswith(("evil", "# TYPE evil"))]
    shown = HOSTILE.replace("\ud800", "?")
    routes = {dict(labels).get("http_route") for _, labels in samples(text, is_openmetrics=is_openmetrics)}
    assert routes == {None, shown}
    services = {dict(labels).get("service_name") for _, labels in samples(text, is_openmetrics=is_openmetrics)}
    assert services == {None, "frontend", shown}


@given(st.lists(transactions, max_size=10))
def test_any_calls_can_be_read_back_and_add_up(observed: list[Any]) -> None:
    found = samples(exposition(calls(*observed), Status(version="1", started=0.0)))
    counts = sum(value for (name, _), value in found.items() if name.endswith("_count"))
    without = sum(v for (name, _), v in found.items() if name == "apisensor_calls_without_duration_total")
    assert counts + without == len(observed)
    for (name, labels), value in found.items():
        if name.endswith("_count"):
            infinite = labels | {("le", "+Inf")}
            assert found[name.replace("_count", "_bucket"), frozenset(infinite)] == value
        assert not math.isnan(value)


def test_content_types() -> None:
    assert CONTENT_TYPE == "text/plain; version=0.0.4; charset=utf-8"
    assert OPENMETRICS_CONTENT_TYPE.startswith("application/openmetrics-text; version=1.0.0")
    assert exposition(calls(), STATUS, openmetrics=True).endswith("# EOF\n")


@pytest.mark.parametrize(
    ("name", "unit", "expected"),
    [
        ("http.server.request.duration", "s", "http_server_request_duration_seconds"),
        ("rpc.server.duration", "ms", "rpc_server_duration_milliseconds"),
        ("apisensor.kernel.chunk_bytes", "By", "apisensor_kernel_chunk_bytes"),
        ("apisensor.calls.without_duration", "{call}", "apisensor_calls_without_duration"),
        ("a..b--c_", "", "a_b_c"),
        ("requests.total", "", "requests"),
    ],
)
def test_names(name: str, unit: str, expected: str) -> None:
    assert family(Metric(name, "gauge", unit, "")) == expected


def test_labels() -> None:
    assert label("http.response.status_code") == "http_response_status_code"
