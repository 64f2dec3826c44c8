"""HTTP/1: what the readers of requests and of responses have in common (`http1` has the theory of operation)."""

from __future__ import annotations

from typing import Final

from apisensor.protocols import anomalies
from apisensor.protocols.http1 import Mode
from apisensor.protocols.http1_boundary import MisreadError
from apisensor.protocols.http1_content import ContentReader
from apisensor.protocols.http1_engine import DUPLICATE_LENGTH
from apisensor.protocols.identify import Start
from apisensor.protocols.message import Message

_MOST_STOPS: Final = 32
"""Messages of one call, one behind the other, at which the parser stops: odd ones, or with Upgrade. Each copies what
follows it, and no client pipelines that many."""


class Reader(ContentReader):
    """The messages of one direction."""

    __slots__ = ()

    def feed(self, data: bytes, now: int, call_start: bool) -> None:
        """The next bytes of this direction, seen at event time `now`.

        Args:
            call_start: data[0] began an application call.
        """
        self.now = now
        mode = self.mode
        if mode == Mode.PARSE:
            self._parse(data)
        elif mode == Mode.COUNT:
            self._count(data)
        elif mode == Mode.CHUNKS:
            self._read_chunks(data)
        elif mode == Mode.HUNT:
            self._hunt(data, call_start)
        else:
            self._keep(data)

    def _parse(self, data: bytes) -> None:
        opened = self.message
        if opened is None:
            if self._open_head:
                self._open_head = []
        elif self._resumed:
            opened = None
        elif self._suspect is not None:
            self._refused(self._suspect, data, opened)
            return
        stop: Exception | None = None
        try:
            self._parser.feed_data(data)
        except (self._engine.switched, self._engine.refused) as error:
            stop = error
        if stop is not None:
            try:
                self._stopped(stop, data, opened)
            finally:
                del stop  # its traceback holds this frame, and with it the whole flow
            return
        message = self.message
        if message is not None:
            message.end_ns = self.now
            if message.fields is None:
                self._bound_head(message, data, opened)
                return
            if self._length is not None:
                if self._open_head:
                    self._open_head = []
                self._left = self._length - message.body_size
                if self._left > self.limits.skip_beyond and not message.room and message.counter is None:
                    self.mode = Mode.COUNT
                    self.pairing.ask_skip(self, self._left)
                return
            self._left = 0
            if self._chunked and self._take_chunks(data, opened):
                return
            if self._open_head:
                self._open_head = []
            if len(message.trailers) > self.limits.header_count:
                self._limit(message, anomalies.HEADER_COUNT)

    def _stopped(self, stop: Exception, data: bytes, opened: Message | None) -> None:
        """The parser did not read all of the data; `opened` was under way before."""
        if self._stops == _MOST_STOPS:
            self.lose("parse_error")
            self.pairing.rejected()
            return
        self._stops += 1
        try:
            self._go_on(stop, data, opened)
        finally:
            self._stops -= 1

    def _go_on(self, stop: Exception, data: bytes, opened: Message | None) -> None:
        if isinstance(stop, self._engine.switched):
            self._upgraded(data[stop.args[0] :])
            return
        if isinstance(stop, self._engine.failed) and not isinstance(stop.__context__, MisreadError):
            raise stop  # an error in this program, not in the bytes
        self._refused(stop, data, opened)

    def _refused(self, refusal: Exception, data: bytes, opened: Message | None) -> None:
        """llhttp does not accept what it was given; `opened` was under way before."""
        if self.mode != Mode.PARSE:
            return  # the pairing has turned away from this flow during the call
        if self._put_right(refusal, data, opened):
            return
        if self.message is not None and self.message.fields is not None and self._chunked:
            self.message.end_ns = self.now
            if self._take_chunks(data, opened, refused=True):
                return
        if self.message is not None and str(refusal) == DUPLICATE_LENGTH:
            self.message.anomalies.append(anomalies.REPEATED_CONTENT_LENGTH)
        elif self.in_doubt:
            size = self._doubtful_bytes + len(data)
            self.forget()
            self.pairing.mistaken(self, size)
            return
        self._refused_data = data
        self.lose("parse_error")
        self._refused_data = b""
        self.pairing.rejected()

    def _hunt(self, data: bytes, call_start: bool) -> None:
        candidate = self._candidate
        if candidate:
            verdict = self._starts(candidate + data)
            if verdict is Start.MORE and len(candidate) + len(data) <= self.limits.start_line:
                self._candidate = candidate + data
                return
            self._candidate = b""
            if verdict is not Start.OTHER and verdict is not Start.MORE:
                now = self.now
                self.start()
                self.feed(candidate, self._candidate_ns, False)
                self.feed(data, now, False)
                return
            self.pairing.unread(self, len(candidate))
        if call_start:
            verdict = self._starts(data)
            if verdict is Start.MORE and len(data) <= self.limits.start_line:
                self._candidate = data
                self._candidate_ns = self.now
                return
            if verdict is not Start.OTHER and verdict is not Start.MORE:
                self.start()
                self._parse(data)
                return
        self.pairing.unread(self, len(data))
