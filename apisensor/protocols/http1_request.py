"""HTTP/1: the direction that carries requests (`http1` has the theory of operation)."""

from __future__ import annotations

from typing import Any, Final

from apisensor.protocols import anomalies
from apisensor.protocols.counters import PLAIN, counter_of
from apisensor.protocols.http1 import Mode, Pairing
from apisensor.protocols.http1_boundary import HEAD_END
from apisensor.protocols.http1_chunks import Chunks
from apisensor.protocols.http1_engine import Engine
from apisensor.protocols.http1_repair import well_formed
from apisensor.protocols.http1_waiting import WaitingReader
from apisensor.protocols.identify import Start, request_start
from apisensor.protocols.message import Message
from apisensor.streams.limits import Limits

_FRAMING: Final = frozenset((b"host", b"content-length", b"transfer-encoding", b"upgrade", b"content-type"))
"""Fields that say where the request ends, to whom it goes, or what its body holds."""
_LENGTHS: Final = frozenset(map(len, _FRAMING))
"""Comparing lengths first is cheaper than lower() for each name."""


class RequestReader(WaitingReader):
    """The direction that carries requests."""

    __slots__ = (
        "_coded",
        "_switching",
        "_url",
        "pipelines",
    )

    def __init__(self, pairing: Pairing, limits: Limits, engine: Engine) -> None:
        super().__init__(pairing, limits, engine)
        self.pipelines = False
        """The client is known to send requests before earlier ones are answered."""
        self._url = b""
        self._switching = False
        """The message under way asks to switch the protocol, so what follows it is held."""
        self._coded = False
        """The message under way asks to switch the protocol and has a chunked body."""

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
        verdict = request_start(data, first=not self.in_doubt)  # later ones are looked for in doubt only
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
        if authority is None and message.version == "http/1.1":
            message.anomalies.append(anomalies.MISSING_HOST)
        if url[:1] == b"/" and method != b"CONNECT":
            message.target = url
        else:
            _split_target(message, url)
            if not well_formed(url, method):
                message.anomalies.append(anomalies.MALFORMED_TARGET)
        if sent is not None:
            sent.as_sent(fields)
            if b" " in sent.target and anomalies.MALFORMED_TARGET not in message.anomalies:
                message.anomalies.append(anomalies.MALFORMED_TARGET)
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
        if kind is not None and kind not in PLAIN:
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
        if b":" in url or message.authority is None:
            _name_authority(message, url)
        return
    scheme, separator, rest = url.partition(b"://")
    if not separator or url[:1] == b"/" or not scheme.isalpha():
        message.target = url
        return
    cut = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    path = rest[cut:]
    message.scheme = scheme.lower()
    if cut:
        _name_authority(message, rest[:cut])
    message.target = path if path[:1] == b"/" else b"/" + path


def _name_authority(message: Message, named: bytes) -> None:
    """The target names the authority: then Host, which it was until here, does not count (RFC 9112 section 3.2.2)."""
    host = message.authority
    message.authority = named
    if host is not None:
        said, meant = host.lower(), named.rpartition(b"@")[2].lower()
        # Either may leave the port out.
        if said not in (meant, meant.rpartition(b":")[0]) and said.rpartition(b":")[0] != meant:
            message.anomalies.append(anomalies.HOST_DIFFERS)
