"""Process -> OTLP Resource, and spans grouped by it -> ExportTraceServiceRequest.

ExportTraceServiceRequest { repeated ResourceSpans resource_spans = 1; }
ResourceSpans { Resource resource = 1; ScopeSpans scope_spans = 2; string schema_url = 3; }
ScopeSpans { InstrumentationScope scope = 1 { name = 1; version = 2 }; repeated Span spans = 2; schema_url = 3; }
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Final

import apisensor
from apisensor.export.semantics import SCHEMA_URL
from apisensor.export.wire import IntAttribute, StringAttribute, length_delimited, utf8, varint
from apisensor.transactions.model import Process

RESOURCES: Final = 4096
"""Processes whose resource stays encoded, some 0.5 KB each; the one that came first goes first."""

VERSION: Final = apisensor.__version__

_SCHEMA: Final = length_delimited(3, utf8(SCHEMA_URL))
_SCOPE: Final = length_delimited(1, length_delimited(1, b"apisensor") + length_delimited(2, utf8(VERSION)))

SERVICE_NAME: Final = StringAttribute("service.name", 1)
PID: Final = IntAttribute("process.pid", 1)

_TEXTS: Final = {
    "executable": StringAttribute("process.executable.path", 1),
    "command_line": StringAttribute("process.command_line", 1),
    "user": StringAttribute("process.owner", 1),
    "container": StringAttribute("container.id", 1),
    "runtime": StringAttribute("container.runtime.name", 1),
    "pod": StringAttribute("k8s.pod.uid", 1),
}
"""Field of Process: its attribute."""
EXECUTABLE_NAME: Final = StringAttribute("process.executable.name", 1)

OBSERVED: Final = frozenset(
    {"service.name", PID.key, EXECUTABLE_NAME.key, *(attribute.key for attribute in _TEXTS.values())}
)
"""What the sensor says about the observed process; the sensor's own environment cannot."""


UNKNOWN_SERVICE: Final = "unknown_service"
"""Where nothing names the service; with ":EXECUTABLE" where that is known (semantic conventions, service.name)."""


def _executable_name(process: Process) -> str:
    return PurePosixPath(process.executable).name if process.executable else ""


def service_name(process: Process | None) -> str:
    """service.name of an observed process."""
    if process is None:
        return UNKNOWN_SERVICE
    if process.service:
        return process.service
    executable = _executable_name(process)
    return f"{UNKNOWN_SERVICE}:{executable}" if executable else UNKNOWN_SERVICE


def described(common: Mapping[str, str]) -> dict[str, str]:
    """Attributes of every resource: common, e.g. host.name, without those in OBSERVED; and the sensor's own name."""
    attributes = {"telemetry.distro.name": "apisensor", "telemetry.distro.version": VERSION, **common}
    return {key: value for key, value in attributes.items() if key not in OBSERVED}


class ResourceEncoder:
    """Encodes processes as resources; holds the cache. One thread uses it."""

    def __init__(self, common: Mapping[str, str]) -> None:
        """common: attributes of every resource, e.g. host.name; those in OBSERVED are left out."""
        self._common = b"".join(StringAttribute(key, 1).of(value) for key, value in described(common).items())
        self._encoded: dict[Process | None, bytes] = {}

    def encode(self, process: Process | None) -> bytes:
        """ResourceSpans.resource, tag and length included."""
        encoded = self._encoded.get(process)
        if encoded is None:
            encoded = length_delimited(1, self._attributes(process) + self._common)
            if len(self._encoded) >= RESOURCES:
                del self._encoded[next(iter(self._encoded))]
            self._encoded[process] = encoded
        return encoded

    def _attributes(self, process: Process | None) -> bytes:
        if process is None:
            return SERVICE_NAME.of(UNKNOWN_SERVICE)
        attributes = [SERVICE_NAME.of(service_name(process)), PID.of(process.pid)]
        if executable := _executable_name(process):
            attributes.append(EXECUTABLE_NAME.of(executable))
        for field, attribute in _TEXTS.items():
            value: str | None = getattr(process, field)
            if value:
                attributes.append(attribute.of(value))
        return b"".join(attributes)


def export_request(groups: Iterable[tuple[bytes, list[bytes]]]) -> bytes:
    """ExportTraceServiceRequest. groups: an encoded resource with its encoded spans."""
    parts: list[bytes] = []
    for resource, spans in groups:
        scope_length = len(_SCOPE) + sum(map(len, spans)) + len(_SCHEMA)
        scope_head = b"\x12" + varint(scope_length) + _SCOPE
        length = len(resource) + len(scope_head) - len(_SCOPE) + scope_length + len(_SCHEMA)
        parts += (b"\x0a", varint(length), resource, scope_head, *spans, _SCHEMA, _SCHEMA)
    return b"".join(parts)
