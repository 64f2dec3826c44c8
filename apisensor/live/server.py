"""Core's Unix socket: live transactions and findings, and what else core is asked, as JSON lines.

A client sends one line, an object of one name:

    {"subscribe": {"status": ["5xx"]}}      an object of filters.Filter; {} for everything
    {"status": true}                        or another question that core has an `Answer` for

and is answered with JSON lines: {"kind": "subscribed"}, then {"kind": "transaction"} and {"kind": "finding"} as they
happen and {"kind": "dropped", "count": n} where the client read too slowly; or one object that is the answer; or one
{"kind": "error", "message": ...}. A filter is for transactions: findings come to every subscriber. A subscriber keeps
its end open: closing it ends the subscription.

Clients are not trusted. None can make core wait, or hold more of its memory than `queue_bytes`.

    states of a client    asking --subscribe--> subscribed --its end closed, an error--> gone
                          asking --a question, anything wrong--> waiting --answered--> leaving --all written--> gone
"""

from __future__ import annotations

import errno
import functools
import os
import selectors
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec

from apisensor.live import filters
from apisensor.live.listening import LiveError
from apisensor.transactions.json_form import json_line
from apisensor.transactions.model import SCHEMA, Transaction

REQUEST_BYTES = 64 * 1024
"""A request line: the largest filter, and no more."""
READ_BYTES = 16 * 1024
SEND_BUFFERS = 64
"""Lines handed to the kernel at once."""
SEND_ROUNDS = 8
"""sendmsg calls for one client before the others have their turn."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_UCRED = struct.Struct("iII")
"""struct ucred: pid, uid, gid."""


class Asker(msgspec.Struct, frozen=True):
    """Who asks, as the kernel says (SO_PEERCRED, unix(7))."""

    pid: int
    uid: int


Reply = Callable[[dict[str, Any]], None]
"""Takes the answer, an object with "kind"; now, or later in core's loop."""

Answer = Callable[[bytes, Asker, Reply], None]
"""Answers a question: (its JSON value, who asks, where the answer goes). What it cannot understand it raises as
msgspec.MsgspecError, what it cannot do as LiveError."""


def error(message: str) -> dict[str, Any]:
    """The answer that says why there is none: one line."""
    return {"kind": "error", "message": message[:500]}


class _Client:
    """One connection: what it asked for and what waits for it."""

    __slots__ = (
        "asked",
        "dropped",
        "leaving",
        "offset",
        "queue",
        "queued",
        "ready",
        "sock",
        "waiting",
        "wanted",
        "writing",
    )

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.asked = bytearray()
        self.wanted: filters.Predicate | None = None
        """Set once it has subscribed."""
        self.waiting = False
        """Has asked; its answer may come later."""
        self.leaving = False
        """Answered; goes when the answer is written."""
        self.writing = False
        """Registered for writing."""
        self.queue: deque[bytes] = deque()
        self.queued = 0
        """Bytes in queue, those already sent of its first line included."""
        self.offset = 0
        """Bytes of queue[0] that are sent."""
        self.dropped = 0
        """Lines dropped and not yet told."""
        self.ready: Callable[[int], None]
        """What the selector calls."""


class LiveServer:
    """Serves the live socket from core's own loop: registers callables `(mask) -> None` as its selector's data."""

    def __init__(
        self,
        listening: socket.socket,
        selector: selectors.BaseSelector,
        answers: Mapping[str, Answer],
        *,
        queue_bytes: int = 4 << 20,
        max_clients: int = 32,
    ) -> None:
        """
        Args:
            listening: from `listen`, or any listening stream socket.
            selector: of the loop that calls `key.data(mask)`.
            answers: name of a question: what answers it.
            queue_bytes: that wait for one client (settings live.subscriber_queue).
            max_clients: connections at once (settings live.max_clients).
        """
        self._listening = listening
        self._selector = selector
        self._answers = answers
        self._queue_bytes = queue_bytes
        self._max_clients = max_clients
        self._clients: dict[int, _Client] = {}
        self._subscribers: list[_Client] = []
        self._sent = self._dropped = self._refused = 0
        self._spare: int | None = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        listening.setblocking(False)
        selector.register(listening, selectors.EVENT_READ, self._accept)

    def publish(self, t: Transaction) -> None:
        """Queues the transaction for each subscriber that wants it. Costs nothing where there is none."""
        if not self._subscribers:
            return
        line = None
        for client in tuple(self._subscribers):
            if client.wanted is None or not client.wanted(t):
                continue
            line = line or json_line(t)
            self._offer(client, line)

    def publish_finding(self, line: bytes) -> None:
        """Queues a finding, a line of JSON, for each subscriber."""
        for client in tuple(self._subscribers):
            self._offer(client, line)

    def _offer(self, client: _Client, line: bytes) -> None:
        """Queues a line for a subscriber that reads fast enough."""
        if client.queued + len(line) > self._queue_bytes:
            client.dropped += 1
            self._dropped += 1
            return
        self._tell_dropped(client)
        self._queue(client, line)
        self._sent += 1

    def counters(self) -> dict[str, int]:
        """For the status and the metrics: what is served, dropped and refused since the start."""
        return {
            "live.clients": len(self._clients),
            "live.subscribers": len(self._subscribers),
            "live.sent": self._sent,
            "live.dropped": self._dropped,
            "live.refused": self._refused,
        }

    def close(self) -> None:
        """Ends every connection and stops listening. The socket's path stays: whoever made it removes it."""
        for client in tuple(self._clients.values()):
            self._end(client)
        self._selector.unregister(self._listening)
        self._listening.close()
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    def _accept(self, _: int) -> None:
        try:
            sock, _address = self._listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                raise
            self._refused += 1
            self._turn_away()
            return
        if len(self._clients) >= self._max_clients and not self._give_up_asking():
            self._refused += 1
            self._refuse(sock)
            return
        sock.setblocking(False)
        client = _Client(sock)
        self._clients[sock.fileno()] = client
        client.ready = functools.partial(self._ready, client)
        self._watch(client)

    def _give_up_asking(self) -> bool:
        """Ends the oldest connection that has not asked for anything: idlers cannot keep others out."""
        for client in self._clients.values():
            if client.wanted is None and not client.waiting:
                self._refused += 1
                self._end(client)
                return True
        return False

    def _turn_away(self) -> None:
        """Out of descriptors: frees one, takes the connection and closes it. Else the loop would be woken for ever."""
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
        try:
            sock, _address = self._listening.accept()
            sock.close()
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._give_up_asking()

    @staticmethod
    def _refuse(sock: socket.socket) -> None:
        with sock:
            sock.setblocking(False)
            try:
                sock.send(_line(error("too many subscribers (settings live.max_clients)")))
            except OSError:
                return

    def _ready(self, client: _Client, mask: int) -> None:
        try:
            if mask & selectors.EVENT_READ:
                self._read(client)
            if mask & selectors.EVENT_WRITE and client.sock.fileno() >= 0:
                self._write(client)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:  # reset, broken pipe: the client is gone
            self._end(client)

    def _read(self, client: _Client) -> None:
        received = client.sock.recv(READ_BYTES)
        if client.wanted is not None:
            if not received:
                self._end(client)
            return  # what a subscriber says is of no interest
        client.asked += received
        line, newline, _rest = client.asked.partition(b"\n")
        if newline or (not received and line):
            self._answer(client, bytes(line))
        elif not received:
            self._end(client)
        elif len(client.asked) > REQUEST_BYTES:
            self._leave(client, error(f"the request is longer than {REQUEST_BYTES} bytes"))

    def _answer(self, client: _Client, line: bytes) -> None:
        client.asked = bytearray()
        try:
            asked = _decode(line)
            name = next(iter(asked)) if len(asked) == 1 else ""
            if name == "subscribe":
                client.wanted = filters.compile_filter(filters.decode(bytes(asked[name])))
                self._subscribers.append(client)
                self._queue(client, _line({"kind": "subscribed", "schema": SCHEMA}))
            elif name in self._answers:
                client.waiting = True
                self._answers[name](bytes(asked[name]), _asker(client.sock), lambda answer: self._leave(client, answer))
                self._watch(client)
            else:
                known = ", ".join(f'{{"{known}": ...}}' for known in ("subscribe", *self._answers))
                self._leave(client, error(f"ask for one of {known}"))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as wrong:
            self._leave(client, error(f"the request is not understood: {wrong}"))
        except (filters.FilterError, LiveError) as wrong:
            self._leave(client, error(str(wrong)))

    def _leave(self, client: _Client, answer: dict[str, Any]) -> None:
        """Answers, which is all that this client gets; it may have gone meanwhile."""
        if client.sock.fileno() < 0 or client.leaving:
            return
        client.leaving = True
        self._queue(client, _line(answer))

    def _tell_dropped(self, client: _Client) -> None:
        if client.dropped:
            count, client.dropped = client.dropped, 0
            self._queue(client, _line({"kind": "dropped", "count": count}))

    def _queue(self, client: _Client, line: bytes) -> None:
        client.queue.append(line)
        client.queued += len(line)
        if not client.writing:
            client.writing = True
            self._watch(client)

    def _watch(self, client: _Client) -> None:
        """Registers for what there is to wait for.

        One that has asked is not read any more: a half-closed end is common (echo ... | nc -U), its answer still goes
        out.
        """
        reading = 0 if client.leaving or client.waiting else selectors.EVENT_READ
        events = reading | (selectors.EVENT_WRITE if client.writing else 0)
        watched = client.sock in self._selector.get_map()
        if not events:
            if watched:
                self._selector.unregister(client.sock)
        elif watched:
            self._selector.modify(client.sock, events, client.ready)
        else:
            self._selector.register(client.sock, events, client.ready)

    def _write(self, client: _Client) -> None:
        for _ in range(SEND_ROUNDS):
            sent = client.sock.sendmsg(self._buffers(client), (), socket.MSG_NOSIGNAL)
            client.offset += sent
            while client.queue and client.offset >= len(client.queue[0]):
                line = client.queue.popleft()
                client.offset -= len(line)
                client.queued -= len(line)
            if not client.queue:
                break
        if client.queue:
            return
        self._tell_dropped(client)
        if client.queue:
            return
        if client.leaving:
            self._end(client)
            return
        client.writing = False
        self._watch(client)

    @staticmethod
    def _buffers(client: _Client) -> Iterator[bytes | memoryview]:
        yield memoryview(client.queue[0])[client.offset :]
        yield from islice(client.queue, 1, SEND_BUFFERS)

    def _end(self, client: _Client) -> None:
        if self._clients.pop(client.sock.fileno(), None) is None:
            return
        if client.sock in self._selector.get_map():
            self._selector.unregister(client.sock)
        client.sock.close()
        if client in self._subscribers:
            self._subscribers.remove(client)
        client.queue.clear()


def _line(document: dict[str, Any]) -> bytes:
    return _encode(document) + b"\n"


def _asker(sock: socket.socket) -> Asker:
    pid, uid, _gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Asker(pid, uid)
