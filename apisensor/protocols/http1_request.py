"""HTTP/1: the direction that carries requests (`http1` has the theory of operation)."""

from __future__ import annotations

from typing import Any

from apisensor.protocols import anomalies
from apisensor.protocols.counters import counter_of
from apisensor.protocols.http1 import Mode, Pairing, Reader
from apisensor.protocols.http1_boundary import HEAD_END
from apisensor.protocols.http1_chunks import Chunks
from apisensor.protocols.http1_engine import Engine
from apisensor.protocols.identify import Start, request_start
from apisensor.protocols.message import Message
from apisensor.streams.limits import Limits

_FRAMING = frozenset((b"host", b"content-length", b"transfer-encoding", b"upgrade", b"content-type"))
"""Fields that say where the request ends, to whom it goes, or what its body holds."""
_LENGTHS = frozenset(map(len, _FRAMING))
"""Comparing lengths first is cheaper than lower() for each name."""


class RequestReader(Reader):
    """The direction that carries requests."""

    __slots__ = (
        "_awaited",
        "_coded",
        "_held",
        "_held_bytes",
        "_held_lost",
        "_switching",
        "_url",
        "late",
        "pipelines",
    )

    def __init__(self, pairing: Pairing, limits: Limits, engine: Engine) -> None:
        super().__init__(pairing, limits, engine)
        self.late = True
        """Bytes of this direction have passed unseen, so that the middle of a body may come next."""
        self.pipelines = False
        """The client is known to send requests before earlier ones are answered."""
        self._url = b""
        self._switching = False
        """The message under way asks to switch the protocol, so what follows it is held."""
        self._coded = False
        """The message under way asks to switch the protocol and has a chunked body."""
        self._held: list[tuple[bytes, int, bool]] = []
        self._held_bytes = 0
        self._held_lost: str | None = None
        self._awaited: int = Mode.PARSE
        """AWAIT: the mode in which the content is read, if it comes."""

    _of_requests = True

    def on_message_begin(self) -> None:
        if self._resumed:
            self._resumed = False
            self._url = b""
            return
        now = self.now
        self.message = message = Message(now, now)
        self._fields = []
        self._url = b""
        self._sent = None
        self._switching = self._coded = self._chunked = False
        if self.in_doubt:
            self.pairing.request_in_doubt()
        else:
            self.pairing.request_begun(message)

    def _begun(self, message: Message) -> None:
        self.pairing.request_begun(message)

    def _starts(self, data: bytes) -> Start:
        verdict = request_start(data)
        if verdict is Start.REQUEST and self.late and not self.pipelines:
            # One call with several requests: few clients do that, and bodies that quote HTTP look the same.
            head, _, rest = data.partition(HEAD_END)
            if rest and request_start(rest) is not Start.OTHER and not _has_content(head):
                return Start.OTHER
        return verdict

    def _new_parser(self) -> Any:
        return self._engine.request(self)

    def on_url(self, piece: bytes) -> None:
        self._url = self._url + piece if self._url else piece

    def on_headers_complete(self) -> None:
        message = self.message
        if message is None:
            return
        if self.in_doubt:
            self.in_doubt = False
            self.pairing.request_begun(message)
        parser = self._parser
        url = self._url
        fields = self._fields
        sent = self._sent
        if sent is None:
            message.method = method = parser.get_method()
        else:
            message.method = method = sent.method or parser.get_method()
            url = sent.target or url
        version = parser.get_http_version()
        if version != "1.1":
            if version == "1.0":
                message.version = "http/1.0"
            else:
                message.reason = "parse_error"
        length = authority = coding = kind = None
        upgrade = False
        for name, value in fields:
            if len(name) in _LENGTHS and (key := name.lower()) in _FRAMING:  # type: ignore[arg-type, union-attr]
                if key == b"host":
                    if authority is None:
                        authority = value
                    else:
                        message.anomalies.append(anomalies.REPEATED_HOST)
                elif key == b"content-length":
                    length = value
                elif key == b"transfer-encoding":
                    coding = value
                elif key == b"content-type":
                    kind = value
                else:
                    upgrade = True
        message.authority = authority
        if url[:1] == b"/" and method != b"CONNECT":
            message.target = url
        else:
            _split_target(message, url)
        if sent is not None:
            sent.as_sent(fields)
        if len(fields) > self.limits.header_count:
            self._cut_fields(message)
        message.fields = fields
        self._fields = message.trailers
        self._length = None
        if coding is not None:
            self._chunked = coding.rpartition(b",")[2].strip().lower() == b"chunked"
            if length is not None:
                message.anomalies.append(anomalies.CONTENT_LENGTH_WITH_TRANSFER_ENCODING)
            message.room = self.pairing.room(message)
        elif length is not None:
            self._length = int(length)
            if self._length:
                message.room = self.pairing.room(message)
        if kind is not None:
            message.counter = counter_of(kind)
        if method == b"CONNECT":
            self._length = None  # RFC 9110 section 9.3.6: no content, what follows is the tunnel
            self._switching = True
        elif upgrade and parser.should_upgrade():
            self._switching = coding is None
            self._coded = coding is not None
        self.pairing.request_headed(message)

    def on_message_complete(self) -> None:
        message = self.message
        if message is None:
            return
        if self._coded or (self._switching and self._length and message.body_size < self._length):
            return  # httptools passes over the body of a request with Upgrade; _upgraded reads it
        self.message = None
        message.end_ns = self.now
        message.ended = True
        if self._switching:
            self._switching = False
            self.mode = Mode.HOLD
        self.pairing.request_ended(message)

    def _upgraded(self, rest: bytes) -> None:
        message = self.message
        if message is not None and self._coded:
            # What follows the body is taken for HTTP/1 until the response says otherwise.
            self._coded = False
            self._chunks = Chunks(message, self.limits)
            self.mode = Mode.CHUNKS
        elif message is not None and self._length is not None:
            self._left = self._length
            self.mode = Mode.COUNT
        if rest:
            self.feed(rest, self.now, False)

    def _end_counted(self) -> None:
        switching = self._switching
        self.start()
        self._switching = switching
        self.on_message_complete()

    def _keep(self, data: bytes) -> None:
        if self.mode == Mode.AWAIT:
            self._await(data)
            return
        if self.mode != Mode.HOLD or self._held_lost:
            self.pairing.unread(self, len(data))
            return
        self._held_bytes += len(data)
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

    def _lost(self, message: Message | None, reason: str) -> None:
        self.pairing.request_lost(message, reason)

    def _describe(self, message: Message) -> None:
        if self._url and self._parser is not None:
            sent = self._sent
            message.method = (sent is not None and sent.method) or self._parser.get_method()
            # llhttp does not say when a target is complete: a field line, or the version, must have followed.
            if self._fields or self._url + b" HTTP/1." in self._refused_data:
                _split_target(message, self._url)


def _has_content(head: bytes) -> bool:
    """Whether what follows this head may be its own content (RFC 9112 section 6.3)."""
    folded = head.lower()
    return b"\r\ncontent-length:" in folded or b"\r\ntransfer-encoding:" in folded


def _split_target(message: Message, url: bytes) -> None:
    """The parts of a request target that is not simply a path (RFC 9112 section 3.2)."""
    if message.method == b"CONNECT":
        message.authority = message.authority or url
        return
    scheme, separator, rest = url.partition(b"://")
    if not separator or url[:1] == b"/" or not scheme.isalpha():
        message.target = url
        return
    cut = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    path = rest[cut:]
    message.scheme = scheme.lower()
    message.authority = message.authority or rest[:cut]
    message.target = path if path[:1] == b"/" else b"/" + path
