"""Recordings: the sensor's own file of what it captured, written while it runs and read by `apisensor replay`.

The format is protos/recording.proto; docs/recording.md explains it. A recording holds raw payloads.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator

import msgspec
from google.protobuf.message import DecodeError

from apisensor.enrich.model import ProcessGone, ProcessSeen
from apisensor.events.model import Chunk, Event
from apisensor.replay import recording_pb2 as pb
from apisensor.replay.errors import ReplayError
from apisensor.replay.limits import MAX_RECORD
from apisensor.replay.model import SCHEMA, ClockSample, LossCounters, RecordingHeader
from apisensor.replay.records import READ, WRITE_EVENT, Recorded, write_header, write_process
from apisensor.replay.source import RECORDING_MAGIC, ByteSource

FLUSH_BYTES = 64 << 10
"""Records are gathered up to this many bytes before they are written: a system call costs more than a record."""

MAX_CHUNK = 1 << 20
"""Bytes of payload in one record; a longer chunk becomes several. Far above what a source yields at once."""


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_VARINTS = [_varint(value) for value in range(1 << 14)]
"""Almost every record is shorter than 16 KiB."""


class RecordingWriter:
    """Writes one recording. Opens nothing and calls nothing but `write`, so it works inside the sandbox.

    Args:
        write: Takes bytes, e.g. `functools.partial(os.write, descriptor)`. Where it returns a smaller number than the
            bytes it was given, it is called again with the rest. Otherwise it is only ever given whole records, so
            that several writers may share a descriptor opened with O_APPEND.
        header: Written at once.

    Raises:
        OSError: From `write`, in any method. The writer is of no use afterwards and raises it again.
    """

    def __init__(self, write: Callable[[bytes], object], header: RecordingHeader) -> None:
        self._write = write
        self._parts: list[bytes] = []
        self._gathered = 0
        self._failure: OSError | None = None
        self.written = 0
        """Bytes given to `write` so far."""
        self._parts.append(RECORDING_MAGIC)
        record = pb.Record()
        write_header(record, header)
        self._append(record)
        self.flush()

    def event(self, event: Event) -> None:
        """Adds an event."""
        if type(event) is Chunk and len(event.data) > MAX_CHUNK:
            self._split(event)
            return
        # A new message each time: the memory of one that is cleared and filled again only ever grows.
        record = pb.Record()
        WRITE_EVENT[type(event)](record, event)
        self._append(record)

    def process(self, process: ProcessSeen | ProcessGone) -> None:
        """Adds what is known of a process, or that it is gone."""
        record = pb.Record()
        if isinstance(process, ProcessGone):
            record.process_gone.time_ns = process.time_ns
            record.process_gone.pid = process.pid
        else:
            write_process(record, process)
        self._append(record)

    def clock(self, sample: ClockSample) -> None:
        """Adds a sample of the clocks; once a second."""
        record = pb.Record()
        record.clock.time_ns = sample.time_ns
        record.clock.wall_offset_ns = sample.wall_offset_ns
        self._append(record)

    def losses(self, losses: LossCounters) -> None:
        """Adds the loss counters; once a second where they changed, and at the end."""
        record = pb.Record()
        record.losses.time_ns = losses.time_ns
        record.losses.counters.update(losses.counters)
        self._append(record)

    def flush(self) -> None:
        """Writes what was gathered. To be called about once a second, and at the end."""
        if self._failure is not None:
            raise self._failure
        rest = b"".join(self._parts)
        self._parts.clear()
        self._gathered = 0
        try:
            while rest:
                count = self._write(rest)
                if count == 0:
                    raise OSError(errno.EIO, "nothing could be written")
                done = count if isinstance(count, int) and count < len(rest) else len(rest)
                self.written += done
                rest = rest[done:]
        except OSError as error:
            self._failure = error
            raise

    def _split(self, chunk: Chunk) -> None:
        """Adds a chunk that is too long for a record as several."""
        for at in range(0, len(chunk.data), MAX_CHUNK):
            self.event(
                msgspec.structs.replace(
                    chunk,
                    position=chunk.position + at,
                    data=chunk.data[at : at + MAX_CHUNK],
                    call_start=chunk.call_start and at == 0,
                )
            )

    def _append(self, record: pb.Record) -> None:
        if self._failure is not None:
            raise self._failure
        message = record.SerializeToString()
        size = len(message)
        self._parts.append(_VARINTS[size] if size < 1 << 14 else _varint(size))
        self._parts.append(message)
        self._gathered += size
        if self._gathered >= FLUSH_BYTES:
            self.flush()


def read_recording(source: ByteSource) -> Iterator[Recorded]:
    """What a recording holds, in the order it was written.

    Records and fields of a later version that this one does not know are passed over.

    Raises:
        ReplayError: The file is cut, corrupt, or of a later schema; what was yielded before is good.
    """
    parse = pb.Record.FromString
    header_expected = False
    while (size := _size(source)) is not None:
        start = source.offset
        if size > MAX_RECORD:
            raise source.corrupt(start, f"a record claims {size} bytes, more than any has")
        message = source.take(size, "a record")
        try:
            record = parse(message)
            kind = record.WhichOneof("kind")
            if kind == "magic":
                if message != RECORDING_MAGIC[1:]:
                    raise source.corrupt(start, "another format starts here")
                header_expected = True
                continue
            if header_expected and kind != "header":
                raise source.corrupt(start, "a recording starts without a header")
            header_expected = False
            if kind is None:
                continue
            recorded = READ[kind](record)
        except (DecodeError, ValueError) as error:
            reason = " ".join(str(error).split()) or "it cannot be decoded"
            raise source.corrupt(start, f"a record is not valid: {reason}") from None
        if isinstance(recorded, RecordingHeader) and recorded.schema > SCHEMA:
            raise ReplayError(
                f"{source.name} was recorded by apisensor {recorded.sensor_version} in format {recorded.schema}, this "
                f"version reads up to format {SCHEMA}: replay it with that version"
            )
        yield recorded


def _size(source: ByteSource) -> int | None:
    """A record's length; None at the end of the file."""
    first = source.take_or_end(1, "a record's length")
    if first is None:
        return None
    byte = first[0]
    value = byte & 0x7F
    shift = 7
    while byte & 0x80:
        byte = source.take(1, "a record's length")[0]
        value |= (byte & 0x7F) << shift
        shift += 7
        if shift > 35:
            raise source.corrupt(source.offset, "a record's length is not a number")
    return value
