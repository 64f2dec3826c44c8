"""A worker process: the stages from ring record to redacted transaction, in the sandbox.

python -m apisensor.processes.worker PARAMETERS

ring -> decode -> Analyzer (streams, protocols, pairing) -> inspect -> redact -> link to core
"""

from __future__ import annotations

import functools
import mmap
import os
import select
import signal
import sys
import time
from collections import deque
from collections.abc import MutableSequence
from typing import TYPE_CHECKING, cast

import msgspec

from apisensor.content.described import Descriptions
from apisensor.content.inspector import Inspector
from apisensor.events.decode import GOVERNOR, SKIP, decode
from apisensor.events.model import Direction
from apisensor.events.ring import Ring
from apisensor.processes.finishing import STAGE_BATCH, Finishing
from apisensor.processes.garbage import settle
from apisensor.processes.link import PACKET_BYTES, Link
from apisensor.processes.messages import PartParameters, Ready, encode, parameters_from
from apisensor.processes.pages import Packet, WorkerCount, map_page
from apisensor.processes.privileges import WRITE_FAILED, become, die_with_parent
from apisensor.processes.sandbox import seal
from apisensor.processes.scheduling import give_way
from apisensor.redact.ids import IdSource
from apisensor.redact.redactor import Redactor
from apisensor.streams.limits import limits_of
from apisensor.transactions.analyzer import Analyzer
from apisensor.transactions.counts import Count
from apisensor.transactions.model import Exchange, Transaction

if TYPE_CHECKING:
    from apisensor.replay.recording import RecordingWriter

POLL_S = 0.01
"""How long a busy worker lets records gather; the kernel wakes it earlier when its ring fills."""
IDLE_POLL_S = 0.05
"""The same after a turn without records."""
BATCH = 2000
"""Records worked on before transactions are sent and the time is looked at."""
EXPIRE_S = 0.25
PENDING_BYTES = 32 << 20
"""Encoded transactions kept while core does not read (restarting: half a second); then the newest are dropped."""
PACKET_TARGET = 64 << 10
"""Transactions are gathered into packets of about this size."""
_ENVELOPE = 16
"""Bytes of a packet around its transactions."""


class Skips:
    """Tells the kernel below which position a flow's payload need not be copied (struct skip in bpf/maps.h)."""

    def __init__(self, descriptor: int, slots: int) -> None:
        size = -(-slots * SKIP.size // mmap.PAGESIZE) * mmap.PAGESIZE
        self._cells = memoryview(mmap.mmap(descriptor, size, mmap.MAP_SHARED)).cast("Q")
        self._mask = slots - 1

    def __call__(self, flow: int, direction: Direction, position: int) -> None:
        cells, at = self._cells, ((flow ^ (flow >> 24)) & self._mask) * 4
        if cells[at] != flow:
            # The slot is another flow's, or free. Never may the old flow's name stand above the new one's positions.
            cells[at] = 0
            cells[at + 1] = cells[at + 2] = 0
        cells[at + 1 + direction] = position
        cells[at] = flow


class Governed:
    """What the governor has the workers leave out (struct governor in bpf/maps.h)."""

    def __init__(self, descriptor: int) -> None:
        self._page = mmap.mmap(descriptor, mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ)
        self._now = bytes(GOVERNOR.size)

    def changed(self) -> tuple[int, bool] | None:
        """(parts of 256 of the flows, whether bodies are left out), where that is another than before."""
        now = self._page[: GOVERNOR.size]
        if now == self._now:
            return None
        self._now = now
        share, bodies = GOVERNOR.unpack(now)
        return share, bool(bodies)


class Outbox:
    """Transactions on their way to core: encoded, in packets, bounded, never waiting."""

    def __init__(self, link: Link, page: memoryview) -> None:
        self._link, self._page = link, page
        self._encode = msgspec.msgpack.Encoder().encode
        self._open: list[bytes] = []
        self._open_bytes = 0
        self._packets: deque[bytes] = deque()
        self._pending = 0
        # Nothing is open in a new worker: whatever was begun and not sent is lost with its predecessor.
        if page[WorkerCount.EVENTS] or page[Count.REQUESTS_BEGUN]:
            page[WorkerCount.RECORDS_IN_HAND] += 1
        dropped = page[WorkerCount.DROPPED_CORE_BEHIND] + page[WorkerCount.FAILED]
        self._sent = self._told = page[Count.REQUESTS_BEGUN] - dropped
        page[WorkerCount.SENT] = self._sent
        self._queue(self._encode(Packet(self._sent, [], self._sent)))

    def put(self, transaction: Transaction) -> None:
        encoded = self._encode(transaction)
        if self._open_bytes + len(encoded) > PACKET_TARGET:
            self._close()
        if len(encoded) + _ENVELOPE > PACKET_BYTES or self._pending > PENDING_BYTES:
            self._page[WorkerCount.DROPPED_CORE_BEHIND] += 1
            return
        self._open.append(encoded)
        self._open_bytes += len(encoded)

    def _close(self) -> None:
        """Ends the open packet: msgpack of `Packet`, around transactions that are encoded already."""
        if not self._open:
            return
        count = len(self._open)
        self._sent += count
        self._page[WorkerCount.SENT] = self._sent
        # fixarray of 3; uint64; array32; nil
        head = b"\x93\xcf" + self._sent.to_bytes(8, "big") + b"\xdd" + count.to_bytes(4, "big")
        self._queue(b"".join((head, *self._open, b"\xc0")))
        self._open, self._open_bytes = [], 0

    def _queue(self, packet: bytes) -> None:
        self._packets.append(packet)
        self._pending += len(packet)

    def flush(self) -> None:
        """Sends what the link takes."""
        self._close()
        while self._packets:
            if not self._link.send(self._packets[0]):
                return
            self._pending -= len(self._packets.popleft())

    def tell(self) -> None:
        """Sends the running total alone, so that core sees a loss even where nothing follows it."""
        if self._told != self._sent and not self._packets and not self._open:
            self._told = self._sent
            self._queue(self._encode(Packet(self._sent, [])))


class Worker:
    """The stages, wired up."""

    def __init__(
        self, parameters: PartParameters, key: bytes, described: Descriptions | None, recording: RecordingWriter | None
    ) -> None:
        descriptors = parameters.descriptors
        self._ring_descriptor = descriptors["ring"]
        self._ring = Ring(self._ring_descriptor, parameters.ring_bytes)
        self._ready = select.epoll()
        self._ready.register(self._ring_descriptor, select.EPOLLIN)
        self._page = map_page(descriptors["page"], write=True)
        skips = Skips(descriptors["map:skips"], parameters.skip_slots)
        self._analyzer = Analyzer(
            limits_of(parameters.settings.worker), counts=cast(MutableSequence[int], self._page), skip=skips
        )
        inspect, redact = Inspector(described).inspect, Redactor(key, IdSource()).transaction
        self._governed = Governed(descriptors["map:governor"])
        self._outbox = Outbox(Link.of(descriptors["core"]), self._page)
        self._finishing = Finishing(inspect, redact, self._outbox.put, self._failed, self._analyzer.counts)
        self._recording = recording
        self.stopping = False

    def loop(self) -> None:
        """Works until it is told to stop, then hands on what is open. The sandbox is closed by now."""
        page, feed, finish = self._page, self._analyzer.feed, self._finishing.finish
        next_expiry = time.monotonic() + EXPIRE_S
        wait = IDLE_POLL_S
        event_ns = 0
        finished: list[Exchange] = []
        while True:
            stopping = self.stopping
            if not stopping:
                self._ready.poll(wait)
            taken = 0
            for event in self._ring.take(decode, BATCH):
                taken += 1
                event_ns = event.time_ns
                if self._recording is not None:
                    self._recording.event(event)
                    continue
                found = feed(event)
                if found:
                    finished += found
                    if len(finished) >= STAGE_BATCH:
                        finish(finished)
                        finished = []
            finish(finished)
            finished = []
            page[WorkerCount.EVENTS] += taken
            if stopping and taken < BATCH:
                break
            now = time.monotonic()
            if now >= next_expiry:
                next_expiry = now + EXPIRE_S
                word = self._governed.changed()
                if word is not None:
                    self._analyzer.govern(word[0], bodies=word[1], now=event_ns)
                # With records still waiting, the time is theirs: what an exchange waits for may be among them.
                finish(self._analyzer.expire(event_ns if taken == BATCH else time.monotonic_ns()))
                self._outbox.tell()
                if self._recording is not None:
                    self._recording.flush()
            self._outbox.flush()
            wait = 0.0 if taken == BATCH else POLL_S if taken else IDLE_POLL_S
        finish(self._analyzer.finish(time.monotonic_ns()))
        self._outbox.flush()
        if self._recording is not None:
            self._recording.flush()

    def _failed(self) -> None:
        self._page[WorkerCount.FAILED] += 1


def _descriptions(descriptor: int | None) -> Descriptions | None:
    """What run's describer made of the descriptor sets; None: there are none."""
    if descriptor is None:
        return None
    content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    os.close(descriptor)
    return msgspec.msgpack.decode(content, type=Descriptions)


def _recording(parameters: PartParameters) -> RecordingWriter | None:
    """What writes the recording; None: there is none. Made before this becomes a user who may not be able to read the
    sensor's files: protobuf takes memory, and only a recording needs it."""
    if parameters.recording is None:
        return None
    from apisensor.replay.recording import RecordingWriter  # noqa: PLC0415

    return RecordingWriter(functools.partial(os.write, parameters.descriptors["recording"]), parameters.recording)


def main() -> int:
    """Works until its parent ends."""
    parameters = parameters_from(sys.argv[1])
    parent = os.getppid()
    run = Link.of(parameters.run)
    key = os.pread(parameters.descriptors["key"], 32, 0)
    os.close(parameters.descriptors["key"])
    recording = _recording(parameters)
    become(parameters.settings.general.sandbox_user)
    die_with_parent(parent)
    give_way()
    worker = Worker(parameters, key, _descriptions(parameters.descriptors.get("descriptions")), recording)
    settle()

    def stop(_signal: int, _frame: object) -> None:
        worker.stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    seal()
    run.send(encode(Ready()))
    try:
        worker.loop()
    except OSError as error:
        # Only the recording's file can fail: the links never block and never break while run lives.
        return WRITE_FAILED + (error.errno or 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
