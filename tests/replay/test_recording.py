"""Recordings: what is written is what is read, and a file that is cut or damaged keeps what it can."""

from __future__ import annotations

import errno
import functools
import io
import os
import resource
import subprocess
from pathlib import Path

import msgspec
import pytest
from google.protobuf import descriptor_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.enrich.model import ProcessGone, ProcessSeen, TlsLibrary
from apisensor.events.model import Address, Bind, Binding, Cause, Chunk, Close, Direction, End, Event, Gap, Open
from apisensor.replay import recording_pb2 as pb
from apisensor.replay.errors import ReplayError
from apisensor.replay.limits import MAX_RECORD
from apisensor.replay.model import SCHEMA, ClockSample, LossCounters, RecordingHeader
from apisensor.replay.recording import MAX_CHUNK, RecordingWriter, read_recording
from apisensor.replay.records import READ, WRITE_EVENT, Recorded
from apisensor.replay.source import RECORDING_MAGIC, ByteSource, recognise

PROTO = Path(__file__).parents[2] / "protos" / "recording.proto"

HEADER = RecordingHeader(
    run_id=b"\1" * 16,
    sensor_version="0.1.0",
    kernel_release="6.1.0-18-amd64",
    architecture="x86_64",
    start_monotonic_ns=5_000,
    wall_offset_ns=1_700_000_000_000_000_000,
    settings={"capture.call_limit": "1048576"},
)
CLIENT, SERVER = Address("2001:db8::1", 40000), Address("192.0.2.1", 443)

EVENTS: list[Event] = [
    Open(10, 4, 2**63, 7, CLIENT, SERVER, Binding.SOCKET, True),
    Bind(11, 4, 2**63, 7, CLIENT, SERVER, Binding.CIPHERTEXT),
    Open(11, 5, 1, 8, Address("", None, 2**64 - 1), Address("/run/caf\u00e9.socket", None)),
    Bind(11, 5, 1, 8, Address("@abstract", None), Address("", None, 77), Binding.NESTED),
    Chunk(12, 4, 2**63, Direction.SEND, 0, b"GET / HTTP/1.1\r\n\r\n", True),
    Chunk(13, 4, 2**63, Direction.RECEIVE, 2**40, b"\0" * 20_000, False, False),
    Gap(14, 4, 2**63, Direction.SEND, 18, None, Cause.DETACHED),
    Gap(15, 4, 2**63, Direction.RECEIVE, 18, 0, Cause.RING_FULL, True),
    End(16, 4, 2**63, Direction.RECEIVE),
    Close(17, 4, 2**63, True),
]
PROCESSES = [
    ProcessSeen(1, 2),
    ProcessSeen(
        pid=4,
        time_ns=3,
        parent_pid=1,
        executable="/usr/bin/caf\udce9",
        arguments=[b"caf\xe9", b"", b"--key"],
        uid=0,
        cgroup="0::/system.slice/x.service\n",
        otel_service_name="",
        otel_resource_attributes="service.namespace=shop",
        libraries=[TlsLibrary("/lib/libssl.so.3", "openssl", "3.0.15"), TlsLibrary("/usr/bin/node", "node", None)],
    ),
]


def write(*records: Recorded, header: RecordingHeader = HEADER) -> bytes:
    out = io.BytesIO()
    writer = RecordingWriter(out.write, header)
    for record in records:
        match record:
            case ProcessSeen() | ProcessGone():
                writer.process(record)
            case ClockSample():
                writer.clock(record)
            case LossCounters():
                writer.losses(record)
            case RecordingHeader():
                raise AssertionError
            case _:
                writer.event(record)
    writer.flush()
    assert writer.written == len(out.getvalue())
    return out.getvalue()


def read(content: bytes) -> tuple[list[Recorded], ReplayError | None]:
    out: list[Recorded] = []
    try:
        for record in read_recording(ByteSource(io.BytesIO(content).read, "x.rec")):
            out.append(record)
    except ReplayError as error:
        failure = error
    else:
        return out, None
    assert "\n" not in str(failure)
    return out, failure


def test_every_record_comes_back() -> None:
    seen = msgspec.structs.replace(PROCESSES[1], executable="/usr/bin/node")
    gone, clock, losses = ProcessGone(4, 22), ClockSample(20, -5), LossCounters(21, {"ring_full": 2**40, "map_full": 0})
    content = write(*EVENTS, PROCESSES[0], seen, gone, clock, losses)
    assert read(content) == ([HEADER, *EVENTS, PROCESSES[0], seen, gone, clock, losses], None)


def test_text_that_is_not_utf_8_is_kept_as_far_as_it_can_be() -> None:
    records, _ = read(write(PROCESSES[1]))
    seen = records[1]
    assert isinstance(seen, ProcessSeen)
    assert seen.executable == "/usr/bin/caf\N{REPLACEMENT CHARACTER}"
    assert (seen.arguments, seen.uid, seen.libraries) == (
        PROCESSES[1].arguments,
        PROCESSES[1].uid,
        PROCESSES[1].libraries,
    )
    assert (seen.otel_service_name, seen.otel_resource_attributes) == ("", "service.namespace=shop")


addresses = st.builds(Address, st.sampled_from(["192.0.2.1", "::", "2001:db8::1"]), st.integers(0, 65535))
u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
events = st.one_of(
    st.builds(Open, u64, u32, u64, u64, addresses, addresses, st.sampled_from(Binding), st.booleans()),
    st.builds(Bind, u64, u32, u64, u64, addresses, addresses, st.sampled_from(Binding)),
    st.builds(Chunk, u64, u32, u64, st.sampled_from(Direction), u64, st.binary(), st.booleans(), st.booleans()),
    st.builds(
        Gap, u64, u32, u64, st.sampled_from(Direction), u64, st.none() | u64, st.sampled_from(Cause), st.booleans()
    ),
    st.builds(End, u64, u32, u64, st.sampled_from(Direction)),
    st.builds(Close, u64, u32, u64, st.booleans()),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(events, max_size=10))
def test_any_events_come_back(told: list[Event]) -> None:
    assert read(write(*told)) == ([HEADER, *told], None)


def test_a_long_chunk_becomes_several() -> None:
    data = os.urandom(2 * MAX_CHUNK + 5)
    records, error = read(write(Chunk(1, 2, 3, Direction.SEND, 100, data, True, True)))
    assert error is None
    parts = [record for record in records if isinstance(record, Chunk)]
    assert [(part.position, len(part.data), part.call_start) for part in parts] == [
        (100, MAX_CHUNK, True),
        (100 + MAX_CHUNK, MAX_CHUNK, False),
        (100 + 2 * MAX_CHUNK, 5, False),
    ]
    assert b"".join(part.data for part in parts) == data


def test_a_recording_is_recognised_and_is_a_sequence_of_protobuf_messages() -> None:
    content = write(*EVENTS)
    assert recognise(ByteSource(io.BytesIO(content).read)) == "recording"
    first = pb.Record.FromString(content[1 : 1 + content[0]])
    assert first.magic == b"APISREC1"


def test_an_empty_recording_has_a_header() -> None:
    out = io.BytesIO()
    RecordingWriter(out.write, HEADER)  # nothing flushed: the header is there at once
    assert read(out.getvalue()) == ([HEADER], None)


def test_recordings_one_after_the_other_are_a_recording() -> None:
    assert read(write(EVENTS[0]) + write(EVENTS[1])) == ([HEADER, EVENTS[0], HEADER, EVENTS[1]], None)


def test_writers_that_share_a_descriptor_do_not_cut_each_other_s_records(tmp_path: Path) -> None:
    path = tmp_path / "x.rec"
    descriptors = [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) for _ in range(2)]
    writers = [RecordingWriter(functools.partial(os.write, descriptor), HEADER) for descriptor in descriptors]
    chunk = Chunk(1, 2, 3, Direction.SEND, 0, bytes(999), False)
    for _ in range(500):
        for writer in writers:
            writer.event(chunk)
    for writer, descriptor in zip(writers, descriptors, strict=True):
        writer.flush()
        os.close(descriptor)
    records, error = read(path.read_bytes())
    assert error is None
    assert records.count(HEADER) == 2
    assert records.count(chunk) == 1000


def test_a_short_write_is_continued() -> None:
    out = bytearray()

    def write_some(data: bytes) -> int:
        out.extend(data[:7])
        return min(len(data), 7)

    writer = RecordingWriter(write_some, HEADER)
    for event in EVENTS:
        writer.event(event)
    writer.flush()
    assert read(bytes(out)) == ([HEADER, *EVENTS], None)
    assert writer.written == len(out)


def test_memory_does_not_grow_with_what_was_written() -> None:
    writer = RecordingWriter(lambda _: None, HEADER)
    chunk = Chunk(1, 2, 3, Direction.SEND, 0, bytes(64 << 10), False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(4000):
        writer.event(chunk)
    assert writer.written > 4000 * 64 << 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def test_a_write_that_writes_nothing_is_an_error() -> None:
    with pytest.raises(OSError, match="nothing could be written"):
        RecordingWriter(lambda _: 0, HEADER)


def test_a_full_disk_is_said_each_time_and_leaves_a_readable_file() -> None:
    out = bytearray()

    def write_until_full(data: bytes) -> int:
        if len(out) >= 100_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        part = data[: 100_000 - len(out)]
        out.extend(part)
        return len(part)

    writer = RecordingWriter(write_until_full, HEADER)
    chunk = Chunk(1, 2, 3, Direction.SEND, 0, bytes(999), False)

    def fill() -> None:
        for _ in range(1000):
            writer.event(chunk)

    with pytest.raises(OSError, match="No space left"):
        fill()
    with pytest.raises(OSError, match="No space left"):
        writer.flush()
    records, error = read(bytes(out))
    assert records.count(chunk) > 90
    assert "truncated" in str(error)


def test_a_recording_cut_anywhere_keeps_what_came_before() -> None:
    content = write(*EVENTS[:3], *EVENTS[4:], PROCESSES[0])
    whole, _ = read(content)
    for size in range(len(content)):
        records, error = read(content[:size])
        assert records == whole[: len(records)]
        if error is not None:
            assert "is truncated" in str(error)
            assert "offset" in str(error)
        elif size:
            assert read(content[size:])[1] is None  # cut between two records


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_any_damage_is_an_error_or_other_records_never_a_crash(data: st.DataObject) -> None:
    content = bytearray(write(*EVENTS[:3], *EVENTS[4:], PROCESSES[0], ClockSample(1, 2)))
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    read(bytes(content))


def framed(record: pb.Record) -> bytes:
    message = record.SerializeToString()
    assert len(message) < 128
    return bytes([len(message)]) + message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff\xff\xff\xff\x0f", "more than any has"),
        (b"\x80" * 9, "not a number"),
        (b"\x81\x80\x80\x08", f"{MAX_RECORD + 1} bytes"),
        (b"\x02\xff\xff", "not valid"),
        (framed(pb.Record(magic=b"other")), "another format"),
        (RECORDING_MAGIC + framed(pb.Record(close=pb.Close(flow=1))), "without a header"),
        (framed(pb.Record(open=pb.Open(binding=pb.Binding.ValueType(99)))), "99 is not a valid Binding"),
        (framed(pb.Record(end=pb.End(direction=pb.Direction.ValueType(2)))), "2 is not a valid Direction"),
    ],
)
def test_a_corrupt_record_is_named_with_its_offset(content: bytes, says: str) -> None:
    before = write(EVENTS[0])
    records, error = read(before + content)
    assert records == [HEADER, EVENTS[0]]
    assert says in str(error)
    assert "corrupt at offset" in str(error)


def test_what_a_later_version_adds_is_passed_over() -> None:
    unknown_field = b"\xfa\x7f\x03abc"  # field 2047, of bytes
    assert pb.Record.FromString(unknown_field).WhichOneof("kind") is None
    content = write(EVENTS[0]) + bytes([len(unknown_field)]) + unknown_field
    content += framed(pb.Record(gap=pb.Gap(flow=1, cause=pb.Cause.ValueType(99))))
    records, error = read(content)
    assert error is None
    assert records[2:] == [Gap(0, 0, 1, Direction.SEND, 0, None, Cause.UNKNOWN)]


def test_a_later_schema_is_refused_with_the_version_that_wrote_it() -> None:
    header = RecordingHeader(b"", "9.9", "", "", 0, 0, {}, SCHEMA + 1)
    records, error = read(write(EVENTS[0], header=header))
    assert records == []
    assert "apisensor 9.9" in str(error)


# The .proto file, the generated module and the Python records say the same.


def test_generated_code_is_of_today_s_proto(tmp_path: Path) -> None:
    out = tmp_path / "descriptor"
    command = ["protoc", f"--proto_path={PROTO.parent}", f"--descriptor_set_out={out}", PROTO.name]
    subprocess.run(command, check=True)
    (expected,) = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    generated = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(generated)
    for proto in (expected, generated):
        _clear_json_names(list(proto.message_type))
    assert generated == expected


def _clear_json_names(messages: list[descriptor_pb2.DescriptorProto]) -> None:
    """They follow from the names; only one of the two ways to a descriptor fills them in."""
    for message in messages:
        for field in message.field:
            field.ClearField("json_name")
        _clear_json_names(list(message.nested_type))


def test_enumerations_have_the_same_numbers() -> None:
    for python, proto in ((Direction, pb.Direction), (Cause, pb.Cause), (Binding, pb.Binding)):
        prefix = python.__name__.upper()
        assert {f"{prefix}_{member.name}": member.value for member in python} == dict(proto.items())


def test_every_kind_of_record_can_be_read() -> None:
    kinds = {field.name for field in pb.Record.DESCRIPTOR.fields}
    assert kinds - set(READ) == {"magic"}
    assert set(WRITE_EVENT) == set(Event.__args__)
