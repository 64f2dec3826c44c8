"""HTTP/1: the direction that carries responses (`http1` has the theory of operation)."""

from __future__ import annotations

from typing import Any, Final

from apisensor.protocols import anomalies
from apisensor.protocols.counters import PLAIN, counter_of
from apisensor.protocols.http1 import Mode, Pairing
from apisensor.protocols.http1_boundary import HEAD_END
from apisensor.protocols.http1_engine import Engine
from apisensor.protocols.http1_reader import Reader
from apisensor.protocols.identify import Start, response_start
from apisensor.protocols.message import Message
from apisensor.streams.limits import Limits

BODILESS: Final = frozenset((b"HEAD", b"CONNECT"))
"""Methods whose (successful) response has no content whatever its fields say (RFC 9112 section 6.3)."""

_FRAMING: Final = frozenset((b"content-length", b"transfer-encoding", b"content-type"))
"""Fields that say where the response ends, or what its body holds."""
_LENGTHS: Final = frozenset(map(len, _FRAMING))


class ResponseReader(Reader):
    """The direction that carries responses."""

    __slots__ = ("_bodiless", "_tail")

    def __init__(self, pairing: Pairing, limits: Limits, engine: Engine) -> None:
        super().__init__(pairing, limits, engine)
        self._bodiless = False
        self._tail = b""
        """The last octets of an open head, in which its end may have begun."""

    _of_requests = False

    def on_message_begin(self) -> None:
        if self._resumed:
            self._resumed = False
            return
        now = self.now
        self.message = message = Message(now, now)
        self._fields = []
        self._bodiless = self._until_end = self._chunked = False
        self._length = self._sent = None
        if not self.in_doubt:
            self.pairing.response_begun(message)

    def _begun(self, message: Message) -> None:
        self.pairing.response_begun(message)

    def on_headers_complete(self) -> None:
        message = self.message
        if message is None:
            return
        if self.in_doubt:
            self.in_doubt = False
            self.pairing.response_begun(message)
        message.status = status = self._parser.get_status_code()
        fields = self._fields
        length = coding = kind = None
        for name, value in fields:
            if len(name) in _LENGTHS and (key := name.lower()) in _FRAMING:  # type: ignore[arg-type, union-attr]
                if key == b"content-length":
                    length = value
                elif key == b"content-type":
                    kind = value
                else:
                    coding = value
        if self._sent is not None:
            self._sent.as_sent(fields)
        if len(fields) > self.limits.header_count:
            self._cut_fields(message)
        message.fields = fields
        self._fields = message.trailers
        if length is not None and coding is not None:
            message.anomalies.append(anomalies.CONTENT_LENGTH_WITH_TRANSFER_ENCODING)
        self._bodiless = self.pairing.response_headed(message)
        if self._bodiless or status < 200 or status in {204, 304}:
            return
        if coding is not None:
            # Without "chunked" as the last coding the body ends with the connection (RFC 9112 section 6.3).
            self._chunked = coding.rpartition(b",")[2].strip().lower() == b"chunked"
            self._until_end = not self._chunked
        elif length is not None:
            self._length = int(length)
            if not self._length:
                return
        else:
            self._until_end = True
        message.room = self.pairing.room(message)
        if kind is not None and kind not in PLAIN:
            message.counter = counter_of(kind)

    def on_message_complete(self) -> None:
        message, self.message = self.message, None
        if message is None:
            return
        message.end_ns = self.now
        message.ended = True
        self.pairing.response_ended(message)

    def _parse(self, data: bytes) -> None:
        if not self.pairing.bodiless:
            Reader._parse(self, data)  # in Python 3.11 super() costs as much as three calls
            message = self.message
            if message is not None and message.fields is None:
                self._tail = (self._tail + data[-3:])[-3:]
            return
        # A response to HEAD may be in here: llhttp would take what follows its head for its content. Cut the input
        # wherever a head may end, so that its end is never passed unseen.
        message = self.message
        begin = 0
        if message is not None and message.fields is None:
            seam = (self._tail + data[:3]).find(HEAD_END)
            if seam >= 0:
                begin = seam + 4 - len(self._tail)
                self._parse_piece(data[:begin])
        while begin < len(data) and self.mode == Mode.PARSE:
            end = data.find(HEAD_END, begin)
            end = len(data) if end < 0 else end + 4
            self._parse_piece(data[begin:end])
            begin = end
        self._tail = (self._tail + data[-3:])[-3:]
        if begin < len(data):
            self.feed(data[begin:], self.now, False)

    def _parse_piece(self, data: bytes) -> None:
        super()._parse(data)
        message = self.message
        if message is not None and self._bodiless and message.fields is not None:
            self.start()
            self.on_message_complete()

    def _starts(self, data: bytes) -> Start:
        return response_start(data)

    def _new_parser(self) -> Any:
        return self._engine.response(self)

    def answered_bodiless(self) -> None:
        """The response under way turned out to answer a HEAD whose bytes came later than the response's."""
        message = self.message
        if message is None or message.fields is None:
            return
        if message.body_size:
            self.lose("parse_error")
            return
        self.start()
        self.on_message_complete()

    def end(self, *, closed: bool = True) -> None:
        """The direction is over.

        Args:
            closed: By the peer or the process, which completes a body that lasts until then. False: the source ended,
                or the connection was reset.
        """
        message = self.message
        self._candidate = b""
        if message is None:
            return
        if closed and self._until_end and message.fields is not None:
            self.mode = Mode.HUNT
            message.ended = True
            self.message = None
            self.pairing.response_ended(message)
            return
        self.message = None
        self.mode = Mode.HUNT
        self._seal(message, "response_not_finished")
        self.pairing.response_lost(message, "response_not_finished")

    def _upgraded(self, rest: bytes) -> None:
        if rest:
            self.pairing.switched(rest)

    def _keep(self, data: bytes) -> None:
        self.pairing.switched(data)

    def _lost(self, message: Message | None, reason: str) -> None:
        self.pairing.response_lost(message, reason)

    def _describe(self, message: Message) -> None:
        """llhttp has the status only once the head is complete."""
