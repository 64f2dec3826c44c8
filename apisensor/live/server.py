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
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from apisensor.live import filters
from apisensor.live.connection import Asker, Connection, line_of
from apisensor.live.listening import LiveError
from apisensor.transactions.json_form import json_line
from apisensor.transactions.model import SCHEMA, Transaction

REQUEST_BYTES = 64 * 1024
"""A request line: the largest filter, and no more."""
READ_BYTES = 16 * 1024

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


Reply = Callable[[dict[str, Any]], None]
"""Takes the answer, an object with "kind"; now, or later in core's loop."""

Answer = Callable[[bytes, Asker, Reply], None]
"""Answers a question: (its JSON value, who asks, where the answer goes). What it cannot understand it raises as
msgspec.MsgspecError, what it cannot do as LiveError."""


def error(message: str) -> dict[str, Any]:
    """The answer that says why there is none: one line."""
    return {"kind": "error", "message": message[:500]}


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
        self._clients: dict[int, Connection] = {}
        self._subscribers: list[Connection] = []
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

    def _offer(self, client: Connection, line: bytes) -> None:
        """Queues a line for a subscriber that reads fast enough."""
        watched = client.writing
        if not client.offer(line, self._queue_bytes):
            self._dropped += 1
            return
        self._sent += 1
        if not watched:
            self._watch(client)

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
        client = Connection(sock)
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
                sock.send(line_of(error("too many subscribers (settings live.max_clients)")))
            except OSError:
                return

    def _ready(self, client: Connection, mask: int) -> None:
        try:
            if mask & selectors.EVENT_READ:
                self._read(client)
            if mask & selectors.EVENT_WRITE and client.sock.fileno() >= 0:
                self._write(client)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:  # reset, broken pipe: the client is gone
            self._end(client)

    def _read(self, client: Connection) -> None:
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

    def _answer(self, client: Connection, line: bytes) -> None:
        client.asked = bytearray()
        try:
            asked = _decode(line)
            name = next(iter(asked)) if len(asked) == 1 else ""
            if name == "subscribe":
                client.wanted = filters.compile_filter(filters.decode(bytes(asked[name])))
                self._subscribers.append(client)
                self._queue(client, line_of({"kind": "subscribed", "schema": SCHEMA}))
            elif name in self._answers:
                client.waiting = True
                self._answers[name](bytes(asked[name]), client.asker(), lambda answer: self._leave(client, answer))
                self._watch(client)
            else:
                known = ", ".join(f'{{"{known}": ...}}' for known in ("subscribe", *self._answers))
                self._leave(client, error(f"ask for one of {known}"))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as wrong:
            self._leave(client, error(f"the request is not understood: {wrong}"))
        except (filters.FilterError, LiveError) as wrong:
            self._leave(client, error(str(wrong)))

    def _leave(self, client: Connection, answer: dict[str, Any]) -> None:
        """Answers, which is all that this client gets; it may have gone meanwhile."""
        if client.sock.fileno() < 0 or client.leaving:
            return
        client.leaving = True
        self._queue(client, line_of(answer))

    def _queue(self, client: Connection, line: bytes) -> None:
        client.queue(line)
        self._watch(client)

    def _watch(self, client: Connection) -> None:
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

    def _write(self, client: Connection) -> None:
        if not client.write():
            return
        if client.leaving:
            self._end(client)
        else:
            self._watch(client)

    def _end(self, client: Connection) -> None:
        if self._clients.pop(client.sock.fileno(), None) is None:
            return
        if client.sock in self._selector.get_map():
            self._selector.unregister(client.sock)
        client.close()
        if client in self._subscribers:
            self._subscribers.remove(client)
