"""HTTP/1: the heads of messages: their bounds, and those that are put right (`http1` has the theory of operation)."""

from __future__ import annotations

from apisensor.protocols import anomalies
from apisensor.protocols.http1_boundary import last_start, plain_value
from apisensor.protocols.http1_repair import repaired
from apisensor.protocols.http1_state import State
from apisensor.protocols.message import Message
from apisensor.protocols.pieces import MOST, join


class HeadReader(State):
    """What a reader does with heads."""

    __slots__ = ()

    def on_header(self, name: bytes, value: bytes) -> None:
        if value and value[-1] > 32:
            self._fields.append((name, value))
            return
        self._fields.append((name, plain_value(name, value)))

    def _bound_head(self, message: Message, data: bytes, opened: Message | None) -> None:
        """A head is open at the end of a chunk: bound what it may grow to."""
        self._doubtful_bytes += len(data)
        if message is opened:
            self._head_bytes += len(data)
            if self._open_head:
                self._open_head.append(data)
                if len(self._open_head) == MOST:
                    join(self._open_head)
        else:
            head = self._head_so_far(data, opened)
            self._open_head = [head] if head else []
            self._head_bytes = sum(len(name or b"") + len(value or b"") for name, value in self._fields)
        if self._head_bytes > self.limits.header_bytes:
            self._limit(message, anomalies.HEADER_BYTES)
        elif len(self._fields) > self.limits.header_count:
            self._limit(message, anomalies.HEADER_COUNT)

    def _put_right(self, refusal: Exception, data: bytes, opened: Message | None) -> bool:
        """Whether the refused head is one that servers accept; it is then parsed as they read it (`http1_repair`)."""
        message = self.message
        if message is None or message.fields is not None or self.in_doubt or self._sent is not None:
            return False
        head = self._head_so_far(data, opened)
        self._suspect = None
        self._open_head = []
        found = repaired(head, request=self._of_requests) if head else None
        if found is None:
            return False
        message.end_ns = self.now
        if not found.data:
            self._open_head = [head]
            self._suspect = refusal
            return True
        message.anomalies += found.anomalies
        self._parser = self._new_parser()
        self._resumed = True
        self._fields = []
        self._sent = found._replace(data=b"")
        self._parse(found.data)
        return True

    def _head_so_far(self, data: bytes, opened: Message | None) -> bytes:
        """The message under way, whose head is open, from its first byte on; empty where nobody can tell where it
        begins. `opened` was under way when data came."""
        if opened is not None and opened is self.message:
            return b"".join((*self._open_head, data)) if self._open_head else b""
        if opened is None:
            known = data
        elif self._open_head:
            known = b"".join((*self._open_head, data))
        else:
            known = data[self._left :] if self._left else b""
        if not known:
            return b""
        engine = self._engine
        return known[last_start(known, engine.request if self._of_requests else engine.response, engine) :]
