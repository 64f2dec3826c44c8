"""The stages' records as protobuf messages, and back (protos/recording.proto)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from apisensor.enrich.model import ProcessGone, ProcessSeen, TlsLibrary
from apisensor.events.model import Address, Bind, Binding, Cause, Chunk, Close, Direction, End, Event, Gap, Open
from apisensor.replay import recording_pb2 as pb
from apisensor.replay.model import ClockSample, LossCounters, RecordingHeader

Recorded = RecordingHeader | Event | ProcessSeen | ProcessGone | ClockSample | LossCounters
"""What a recording consists of."""

_CAUSES = [cause.value for cause in Cause]


def _text(value: str) -> str:
    """Text that protobuf accepts: surrogates (undecodable bytes of paths) become U+FFFD."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


# Writing: each fills the one field of an empty record.


def write_header(record: pb.Record, header: RecordingHeader) -> None:
    out = record.header
    out.schema = header.schema
    out.sensor_version = header.sensor_version
    out.run_id = header.run_id
    out.kernel_release = header.kernel_release
    out.architecture = header.architecture
    out.start_monotonic_ns = header.start_monotonic_ns
    out.wall_offset_ns = header.wall_offset_ns
    out.settings.update(header.settings)


def write_process(record: pb.Record, process: ProcessSeen) -> None:
    out = record.process
    out.time_ns = process.time_ns
    out.pid = process.pid
    out.parent_pid = process.parent_pid
    if process.executable is not None:
        out.executable = _text(process.executable)
    out.arguments.extend(process.arguments)
    if process.uid is not None:
        out.uid = process.uid
    out.cgroup = _text(process.cgroup)
    if process.otel_service_name is not None:
        out.otel_service_name = _text(process.otel_service_name)
    if process.otel_resource_attributes is not None:
        out.otel_resource_attributes = _text(process.otel_resource_attributes)
    for library in process.libraries:
        one = out.libraries.add()
        one.path = _text(library.path)
        one.library = _text(library.library)
        if library.version is not None:
            one.version = _text(library.version)


def _write_ends(out: pb.Open | pb.Bind, event: Open | Bind) -> None:
    out.time_ns = event.time_ns
    out.pid = event.pid
    out.flow = event.flow
    out.connection = event.connection
    out.local_address, out.local_port = event.local.address, event.local.port or 0
    out.remote_address, out.remote_port = event.remote.address, event.remote.port or 0
    out.unix = event.local.port is None
    out.unnamed = event.local.unnamed or event.remote.unnamed
    out.binding = pb.Binding.ValueType(event.binding.value)


def _write_open(record: pb.Record, event: Open) -> None:
    _write_ends(record.open, event)
    record.open.from_start = event.from_start


def _write_bind(record: pb.Record, event: Bind) -> None:
    _write_ends(record.bind, event)


def _write_chunk(record: pb.Record, event: Chunk) -> None:
    out = record.chunk
    out.time_ns = event.time_ns
    out.pid = event.pid
    out.flow = event.flow
    out.position = event.position
    out.data = event.data
    if event.direction:
        out.direction = pb.DIRECTION_RECEIVE
    if event.tls:
        out.tls = True
    if not event.call_start:
        out.continued = True


def _write_gap(record: pb.Record, event: Gap) -> None:
    out = record.gap
    out.time_ns = event.time_ns
    out.pid = event.pid
    out.flow = event.flow
    out.direction = pb.Direction.ValueType(event.direction.value)
    out.position = event.position
    if event.length is not None:
        out.length = event.length
    out.cause = pb.Cause.ValueType(event.cause.value)
    out.tls = event.tls


def _write_end(record: pb.Record, event: End) -> None:
    out = record.end
    out.time_ns = event.time_ns
    out.pid = event.pid
    out.flow = event.flow
    out.direction = pb.Direction.ValueType(event.direction.value)


def _write_close(record: pb.Record, event: Close) -> None:
    out = record.close
    out.time_ns = event.time_ns
    out.pid = event.pid
    out.flow = event.flow
    out.reset = event.reset


WRITE_EVENT: dict[type, Callable[[pb.Record, Any], None]] = {
    Open: _write_open,
    Bind: _write_bind,
    Chunk: _write_chunk,
    Gap: _write_gap,
    End: _write_end,
    Close: _write_close,
}
"""By the event's type."""


# Reading


def _read_header(record: pb.Record) -> RecordingHeader:
    header = record.header
    return RecordingHeader(
        run_id=header.run_id,
        sensor_version=header.sensor_version,
        kernel_release=header.kernel_release,
        architecture=header.architecture,
        start_monotonic_ns=header.start_monotonic_ns,
        wall_offset_ns=header.wall_offset_ns,
        settings=dict(header.settings),
        schema=header.schema,
    )


def _ends(read: pb.Open | pb.Bind) -> tuple[Address, Address]:
    """Local and remote."""
    if read.unix:
        local, remote = (
            Address(name, None, 0 if name else read.unnamed) for name in (read.local_address, read.remote_address)
        )
        return local, remote
    return Address(read.local_address, read.local_port), Address(read.remote_address, read.remote_port)


def _read_open(record: pb.Record) -> Open:
    read = record.open
    return Open(
        read.time_ns,
        read.pid,
        read.flow,
        read.connection,
        *_ends(read),
        Binding(read.binding),
        read.from_start,
    )


def _read_bind(record: pb.Record) -> Bind:
    read = record.bind
    return Bind(
        read.time_ns,
        read.pid,
        read.flow,
        read.connection,
        *_ends(read),
        Binding(read.binding),
    )


def _read_chunk(record: pb.Record) -> Chunk:
    read = record.chunk
    return Chunk(
        read.time_ns,
        read.pid,
        read.flow,
        Direction(read.direction),
        read.position,
        read.data,
        read.tls,
        not read.continued,
    )


def _read_gap(record: pb.Record) -> Gap:
    read = record.gap
    return Gap(
        read.time_ns,
        read.pid,
        read.flow,
        Direction(read.direction),
        read.position,
        read.length if read.HasField("length") else None,
        Cause(read.cause) if read.cause in _CAUSES else Cause.UNKNOWN,  # a later version may know more causes
        read.tls,
    )


def _read_end(record: pb.Record) -> End:
    read = record.end
    return End(read.time_ns, read.pid, read.flow, Direction(read.direction))


def _read_close(record: pb.Record) -> Close:
    return Close(record.close.time_ns, record.close.pid, record.close.flow, record.close.reset)


def _read_process(record: pb.Record) -> ProcessSeen:
    read = record.process
    return ProcessSeen(
        pid=read.pid,
        time_ns=read.time_ns,
        parent_pid=read.parent_pid,
        executable=read.executable if read.HasField("executable") else None,
        arguments=list(read.arguments),
        uid=read.uid if read.HasField("uid") else None,
        cgroup=read.cgroup,
        otel_service_name=read.otel_service_name if read.HasField("otel_service_name") else None,
        otel_resource_attributes=(read.otel_resource_attributes if read.HasField("otel_resource_attributes") else None),
        libraries=[
            TlsLibrary(path=one.path, library=one.library, version=one.version if one.HasField("version") else None)
            for one in read.libraries
        ],
    )


def _read_process_gone(record: pb.Record) -> ProcessGone:
    return ProcessGone(pid=record.process_gone.pid, time_ns=record.process_gone.time_ns)


def _read_clock(record: pb.Record) -> ClockSample:
    return ClockSample(record.clock.time_ns, record.clock.wall_offset_ns)


def _read_losses(record: pb.Record) -> LossCounters:
    return LossCounters(record.losses.time_ns, dict(record.losses.counters))


READ: dict[str, Callable[[pb.Record], Recorded]] = {
    "header": _read_header,
    "open": _read_open,
    "bind": _read_bind,
    "chunk": _read_chunk,
    "gap": _read_gap,
    "end": _read_end,
    "close": _read_close,
    "process": _read_process,
    "process_gone": _read_process_gone,
    "clock": _read_clock,
    "losses": _read_losses,
}
"""By the name of the record's field."""
