"""HTTP/1: requests whose response decides what follows them (`http1` has the theory of operation)."""

from __future__ import annotations

from typing import Final

from apisensor.protocols.http1 import Mode, Pairing
from apisensor.protocols.http1_engine import Engine
from apisensor.protocols.http1_reader import Reader
from apisensor.protocols.identify import Start, request_start
from apisensor.protocols.message import Message
from apisensor.streams.limits import Limits

_CALL: Final = 150
"""Bytes of memory that what one call brought takes beyond its bytes, while it is held."""


class WaitingReader(Reader):
    """HOLD: another protocol may follow. AWAIT: the content, or the next request. And how requests are given up."""

    __slots__ = ("_awaited", "_held", "_held_bytes", "_held_lost", "late")

    def __init__(self, pairing: Pairing, limits: Limits, engine: Engine) -> None:
        super().__init__(pairing, limits, engine)
        self.late = True
        """Bytes of this direction have passed unseen, so that the middle of a body may come next."""
        self._held: list[tuple[bytes, int, bool]] = []
        self._held_bytes = 0
        self._held_lost: str | None = None
        self._awaited: int = Mode.PARSE
        """AWAIT: the mode in which the content is read, if it comes."""

    def _keep(self, data: bytes) -> None:
        if self.mode == Mode.AWAIT:
            self._await(data)
            return
        if self.mode != Mode.HOLD or self._held_lost:
            self.pairing.unread(self, len(data))
            return
        self._held_bytes += len(data) + _CALL
        if self._held_bytes > self.limits.header_bytes:
            self._held_lost = "limit"
            self._held.clear()
            return
        self._held.append((data, self.now, True))

    def refused(self) -> None:
        """The request under way is answered, and the client that waits for leave to send its content has none."""
        message = self.message
        if message is None or message.fields is None or message.body_size:
            return
        if self.mode == Mode.PARSE or (self.mode == Mode.CHUNKS and self._chunks is not None and self._chunks.fresh):
            expected = (value for name, value in message.fields if name is not None and name.lower() == b"expect")
            if any(value is not None and value.lower() == b"100-continue" for value in expected):
                self._awaited = self.mode
                self._candidate_ns = 0
                self.mode = Mode.AWAIT

    def _await(self, data: bytes) -> None:
        """Behind a refusal: the content all the same, or the next request."""
        message = self.message
        assert message is not None
        data = self._candidate + data
        verdict = request_start(data)
        if verdict is Start.MORE and len(data) <= self.limits.start_line:
            self._candidate = data
            self._candidate_ns = self._candidate_ns or self.now
            return
        self._candidate = b""
        self.mode = self._awaited
        if verdict is Start.REQUEST:
            self._end_unsent(message)
            self.start()
        now, self._candidate_ns = self._candidate_ns or self.now, 0
        self.feed(data, now, False)

    def _end_unsent(self, message: Message) -> None:
        """The content was never sent, so nothing of this request is missing."""
        self.message = None
        message.ended = True
        self.pairing.request_ended(message)

    def lose(self, reason: str) -> None:
        if self.mode == Mode.HOLD:
            self._held_lost = reason
            self._held.clear()
            return
        self.late = True
        super().lose(reason)

    def forget(self) -> None:
        super().forget()
        self.take_held()
        self._held_lost = None

    def held(self) -> int:
        return super().held() + self._held_bytes

    def take_held(self) -> list[tuple[bytes, int, bool]]:
        """What was held, as arguments of `feed`; nothing is held any more."""
        held, self._held, self._held_bytes = self._held, [], 0
        return held

    def held_lost(self) -> str | None:
        """Why what was held is not all that came."""
        return self._held_lost

    def resume(self) -> None:
        """The switch was declined: what follows is HTTP/1 still."""
        if self.mode != Mode.HOLD:
            return
        lost, self._held_lost = self._held_lost, None
        self.start()
        for data, now, call_start in self.take_held():
            self.feed(data, now, call_start)
        if lost:
            self.lose(lost)

    def end(self, *, closed: bool = True) -> None:
        """The direction is over.

        Args:
            closed: By the peer or the process. False: the source ended.
        """
        message, self.message = self.message, None
        candidate, self._candidate = self._candidate, b""
        if message is not None:
            awaiting = self.mode == Mode.AWAIT and closed and not candidate
            self.mode = Mode.HUNT
            if awaiting:
                self._end_unsent(message)
                return
            self._seal(message, "request_not_finished")
            self.pairing.request_ended(message)
