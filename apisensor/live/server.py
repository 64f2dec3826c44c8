"""Core's Unix socket: live transactions and the status, as JSON lines.

A client sends one line:

    {"subscribe": {"status": ["5xx"]}}      an object of filters.Filter; {} for everything
    {"status": true}

and is answered with JSON lines: {"kind": "subscribed"}, then {"kind": "transaction"} as they happen and
{"kind": "dropped", "count": n} where the client read too slowly; or one {"kind": "status"}; or one {"kind": "error",
"message": ...}. A subscriber keeps its end open: closing it ends the subscription.

Clients are not trusted. None can make core wait, or hold more of its memory than `queue_bytes`.

    states of a client    asking --subscribe--> subscribed --its end closed, an error--> gone
                          asking --status, anything wrong--> leaving --all written--> gone
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import stat
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice

import msgspec

from apisensor.live import filters
from apisensor.live.status import Status
from apisensor.transactions.json_form import json_line
from apisensor.transactions.model import SCHEMA, Transaction

REQUEST_BYTES = 64 * 1024
"""A request line: the largest filter, and no more."""
READ_BYTES = 16 * 1024
SEND_BUFFERS = 64
"""Lines handed to the kernel at once."""
SEND_ROUNDS = 8
"""sendmsg calls for one client before the others have their turn."""
BACKLOG = 16

_encode = msgspec.json.Encoder().encode


class LiveError(Exception):
    """The live socket cannot be had. Its text is one line that says what to do."""


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    subscribe: msgspec.Raw = msgspec.Raw(b"")
    status: bool = False


def listen(path: str, group: int | None = None) -> socket.socket:
    """The listening socket at `path`, mode 0660; what a dead sensor left there goes.

    Args:
        path: absolute; its directory exists.
        group: numeric id of the group that may connect; None: the caller's.

    Raises:
        LiveError: another sensor listens there, something else lies there, or the directory is not writable.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        _remove_stale(path)
        before = os.umask(0o117)
        try:
            listening.bind(path)
        finally:
            os.umask(before)
        if group is not None:
            os.chown(path, -1, group)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise LiveError(f"{path}: another sensor is starting on this node") from None
        raise LiveError(f"{path}: the live socket cannot be made: {error.strerror or error}") from None
    except LiveError:
        listening.close()
        raise
    return listening


def _remove_stale(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise LiveError(f"{path}: is not a socket; remove it, or set general.runtime_directory")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            pass
        except BlockingIOError:
            raise LiveError(f"{path}: a sensor is already running on this node") from None
        else:
            raise LiveError(f"{path}: a sensor is already running on this node")
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


class _Client:
    """One connection: what it asked for and what waits for it."""

    __slots__ = ("asked", "dropped", "leaving", "offset", "queue", "queued", "sock", "wanted", "writing")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.asked = bytearray()
        self.wanted: filters.Predicate | None = None
        """Set once it has subscribed."""
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
        """Transactions dropped and not yet told."""


class LiveServer:
    """Serves the live socket from core's own loop: registers callables `(mask) -> None` as its selector's data."""

    def __init__(
        self,
        listening: socket.socket,
        selector: selectors.BaseSelector,
        status: Callable[[], Status],
        *,
        queue_bytes: int = 4 << 20,
        max_clients: int = 32,
    ) -> None:
        """
        Args:
            listening: from `listen`, or any listening stream socket.
            selector: of the loop that calls `key.data(mask)`.
            status: makes the status document; called for each request of it.
            queue_bytes: that wait for one client (settings live.subscriber_queue).
            max_clients: connections at once (settings live.max_clients).
        """
        self._listening = listening
        self._selector = selector
        self._status = status
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
            if client.queued + len(line) > self._queue_bytes:
                client.dropped += 1
                self._dropped += 1
                continue
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
        self._selector.register(sock, selectors.EVENT_READ, lambda mask: self._ready(client, mask))

    def _give_up_asking(self) -> bool:
        """Ends the oldest connection that has not asked for anything: idlers cannot keep others out."""
        for client in self._clients.values():
            if client.wanted is None:
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
                sock.send(_error("too many subscribers (settings live.max_clients)"))
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
            self._leave(client, _error(f"the request is longer than {REQUEST_BYTES} bytes"))

    def _answer(self, client: _Client, line: bytes) -> None:
        client.asked = bytearray()
        try:
            request = msgspec.json.decode(line, type=_Request)
            if wanted := bytes(request.subscribe):
                client.wanted = filters.compile_filter(filters.decode(wanted))
                self._subscribers.append(client)
                self._queue(client, _encode({"kind": "subscribed", "schema": SCHEMA}) + b"\n")
            elif request.status:
                document = {"kind": "status", **msgspec.to_builtins(self._status())}
                self._leave(client, _encode(document) + b"\n")
            else:
                self._leave(client, _error('ask for {"subscribe": {}} or {"status": true}'))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._leave(client, _error(f"the request is not understood: {error}"))
        except filters.FilterError as error:
            self._leave(client, _error(str(error)))

    def _leave(self, client: _Client, line: bytes) -> None:
        client.leaving = True
        self._queue(client, line)

    def _tell_dropped(self, client: _Client) -> None:
        if client.dropped:
            count, client.dropped = client.dropped, 0
            self._queue(client, _encode({"kind": "dropped", "count": count}) + b"\n")

    def _queue(self, client: _Client, line: bytes) -> None:
        client.queue.append(line)
        client.queued += len(line)
        if not client.writing:
            client.writing = True
            self._watch(client)

    def _watch(self, client: _Client) -> None:
        """Registers for what there is to wait for.

        One that leaves is not read any more: a half-closed end is common (echo ... | nc -U), its answer still goes out.
        """
        reading = 0 if client.leaving else selectors.EVENT_READ
        writing = selectors.EVENT_WRITE if client.writing else 0
        self._selector.modify(client.sock, reading | writing, self._selector.get_key(client.sock).data)

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
        self._selector.unregister(client.sock)
        client.sock.close()
        if client in self._subscribers:
            self._subscribers.remove(client)
        client.queue.clear()


def _error(message: str) -> bytes:
    return _encode({"kind": "error", "message": message[:500]}) + b"\n"
