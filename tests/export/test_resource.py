"""Resources and whole requests, decoded with opentelemetry-proto."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from apisensor.export.resource import RESOURCES, ResourceEncoder, export_request
from apisensor.export.semantics import SCHEMA_URL
from apisensor.export.span import SpanEncoder
from apisensor.transactions.model import Process, Transaction
from tests.export import reference
from tests.export.records import NGINX, transactions

COMMON = {"telemetry.distro.name": "apisensor", "telemetry.distro.version": version("apisensor"), "host.name": "node1"}


def attributes(process: Process | None, common: dict[str, str] | None = None) -> dict[str, Any]:
    encoded = ResourceEncoder({"host.name": "node1"} if common is None else common).encode(process)
    resource = ResourceSpans.FromString(encoded).resource
    found = {pair.key: pair.value.string_value or pair.value.int_value for pair in resource.attributes}
    assert len(found) == len(resource.attributes), "an attribute twice"
    return found


def test_everything_that_is_known_of_a_process() -> None:
    assert attributes(NGINX) == COMMON | {
        "service.name": "frontend",
        "process.pid": 1234,
        "process.executable.path": "/usr/sbin/nginx",
        "process.executable.name": "nginx",
        "process.command_line": "nginx: worker process",
        "process.owner": "www-data",
        "container.id": "4f" * 32,
        "container.runtime.name": "containerd",
        "k8s.pod.uid": "0a1b2c3d-0000-4000-8000-0123456789ab",
    }


def test_what_is_not_known_is_absent() -> None:
    assert attributes(None) == COMMON | {"service.name": "unknown_service"}
    assert attributes(Process(7)) == COMMON | {"service.name": "unknown_service", "process.pid": 7}
    assert attributes(Process(7, "/usr/bin/python3.11"))["service.name"] == "unknown_service:python3.11"


def test_the_environment_adds_attributes_but_says_nothing_about_the_observed_process() -> None:
    found = attributes(
        NGINX,
        {
            "host.name": "node1",
            "deployment.environment.name": "prod",
            "service.name": "sensor",
            "process.pid": "1",
            "k8s.pod.uid": "sensor's own",
        },
    )
    assert found["deployment.environment.name"] == "prod"
    assert (found["service.name"], found["process.pid"]) == ("frontend", 1234)
    assert found["k8s.pod.uid"] == NGINX.pod
    assert "k8s.pod.uid" not in attributes(Process(7), {"k8s.pod.uid": "sensor's own"})


def test_the_cache_is_bounded() -> None:
    encoder = ResourceEncoder({})
    for pid in range(RESOURCES + 100):
        encoder.encode(Process(pid))
    assert len(encoder._encoded) == RESOURCES
    assert encoder.encode(Process(0)) == ResourceEncoder({}).encode(Process(0))


@given(st.lists(transactions, max_size=8))
@settings(deadline=None, max_examples=50)
def test_a_request_groups_spans_by_process(ts: list[Transaction]) -> None:
    spans, resources = SpanEncoder(), ResourceEncoder({"host.name": "node1"})
    groups: dict[bytes, list[bytes]] = {}
    for t in ts:
        groups.setdefault(resources.encode(t.process), []).append(spans.encode(t))
    request = ExportTraceServiceRequest.FromString(export_request(groups.items()))
    found = []
    for resource_spans in request.resource_spans:
        assert resource_spans.schema_url == SCHEMA_URL
        (scope_spans,) = resource_spans.scope_spans
        assert scope_spans.schema_url == SCHEMA_URL
        assert (scope_spans.scope.name, scope_spans.scope.version) == ("apisensor", version("apisensor"))
        pids = [pair.value.int_value for pair in resource_spans.resource.attributes if pair.key == "process.pid"]
        for span in scope_spans.spans:
            span.attributes.sort(key=lambda pair: pair.key)
            found.append((pids[0] if pids else None, span.SerializeToString(deterministic=True)))
    expected = [
        (None if t.process is None else t.process.pid, reference.span(t).SerializeToString(deterministic=True))
        for t in ts
    ]
    assert sorted(found, key=repr) == sorted(expected, key=repr)
    distinct = {t.process for t in ts}
    assert len(request.resource_spans) == len({resources.encode(process) for process in distinct})
