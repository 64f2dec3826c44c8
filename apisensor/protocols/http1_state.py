"""HTTP/1: where a direction stands (`http1` has the theory of operation)."""

from __future__ import annotations

from typing import Any, ClassVar

from apisensor.protocols import anomalies
from apisensor.protocols.http1 import Mode, Pairing
from apisensor.protocols.http1_chunks import Chunks
from apisensor.protocols.http1_engine import Engine
from apisensor.protocols.http1_repair import Repaired
from apisensor.protocols.identify import Start
from apisensor.protocols.message import Field, Message, held_by
from apisensor.streams.limits import Limits


class State:
    """What is known of a direction, and how it is given up; what the rest of a reader is built on."""

    __deletable__ = ["pairing"]
    __slots__ = (
        "_candidate",
        "_candidate_ns",
        "_chunked",
        "_chunks",
        "_doubtful_bytes",
        "_engine",
        "_fields",
        "_head_bytes",
        "_left",
        "_length",
        "_open_head",
        "_parser",
        "_refused_data",
        "_resumed",
        "_sent",
        "_stops",
        "_suspect",
        "_until_end",
        "in_doubt",
        "limits",
        "message",
        "mode",
        "now",
        "pairing",
    )

    def __init__(self, pairing: Pairing, limits: Limits, engine: Engine) -> None:
        self._engine = engine
        self.pairing = pairing
        self.limits = limits
        self.mode: int = Mode.HUNT
        self.message: Message | None = None
        """The message under way; None between messages."""
        self.now = 0
        self.in_doubt = True
        """The message under way, or the next one, was found in HUNT and its head is not complete: it may be none."""
        self._doubtful_bytes = 0
        """Bytes of it that llhttp took in earlier calls."""
        self._parser: Any = None
        self._fields: list[Field] = []
        self._length: int | None = None
        """Content-Length, where it frames the body of the message under way."""
        self._left = 0
        """Content to come: of what is counted, and behind a call that ended inside a body whose length is known."""
        self._chunked = False
        """The content of the message under way comes in chunks."""
        self._chunks: Chunks | None = None
        """CHUNKS: what reads them."""
        self._until_end = False
        """The message under way ends with its direction."""
        self._candidate = b""
        self._candidate_ns = 0
        self._head_bytes = 0
        self._refused_data = b""
        """What llhttp was given when it refused."""
        self._open_head: list[bytes] = []
        """What earlier calls brought of a head that is not complete in them; empty where that is not known."""
        self._suspect: Exception | None = None
        """The head under way was refused, for this reason, and may be put right when all of it is there."""
        self._resumed = False
        """What the parser is given next is the message under way once more, put right."""
        self._stops = 0
        """How often the parser stopped in this call and what follows was taken up again."""
        self._sent: Repaired | None = None
        """What the message under way was, where it was put right; none is twice."""

    def start(self) -> None:
        """The next byte is the first of a message."""
        self.mode = Mode.PARSE
        self._doubtful_bytes = 0
        self._open_head = []
        self._suspect = None
        self._parser = self._new_parser()

    def lose(self, reason: str) -> None:
        """This direction is out of step: give up the message under way and look for the next one."""
        message, self.message = self.message, None
        if self.mode != Mode.STOP:
            self.mode = Mode.HUNT
        self._candidate = b""
        if message is not None:
            if message.counter is not None:
                message.counter.lose(reason)
            self._seal(message, reason)
        self._parser = None
        self.in_doubt = True
        self._lost(message, reason)

    def forget(self) -> None:
        """Out of step without a loss: what is under way belongs to nothing, and what comes next is a new message."""
        self.message = None
        self.mode = Mode.HUNT
        self.in_doubt = True
        self._parser = None
        self._candidate = b""

    def _end_counted(self) -> None:
        """The body that was counted is complete."""
        self.start()
        self.on_message_complete()

    def _seal(self, message: Message, reason: str) -> None:
        """No more of this message will be seen."""
        if self.in_doubt:
            self._begun(message)
        message.ended = True
        message.reason = message.reason or reason
        if message.fields is None:
            self._describe(message)
            if self._fields:
                self._cut_fields(message)
                message.fields = self._fields
                _note_framing(message)

    def _cut_fields(self, message: Message) -> None:
        if len(self._fields) > self.limits.header_count:
            del self._fields[self.limits.header_count :]
            message.anomalies.append(anomalies.HEADER_COUNT)
            message.reason = message.reason or "limit"

    def _limit(self, message: Message, anomaly: str) -> None:
        message.anomalies.append(anomaly)
        count = self.limits.header_count
        del self._fields[count:], message.trailers[count:]
        self.lose("limit")

    def release(self) -> None:
        """Nothing more comes: refer to nothing that refers to this, so that memory is free at once."""
        self._parser = None
        del self.pairing

    def held(self) -> int:
        """Bytes of memory that what is under way takes, roughly."""
        message = self.message
        fields = held_by(self._fields) if message is not None and message.fields is None else 0
        whole = 0 if message is None else message.held()
        return whole + fields + len(self._candidate) + sum(map(len, self._open_head))

    # What a reader does with bytes

    def feed(self, data: bytes, now: int, call_start: bool) -> None:
        """The next bytes of this direction, seen at event time `now`.

        Args:
            call_start: data[0] began an application call.
        """
        raise NotImplementedError

    def _parse(self, data: bytes) -> None:
        """PARSE: give the data to the parser."""
        raise NotImplementedError

    # What differs between requests and responses

    _of_requests: ClassVar[bool]
    """Whether this direction carries requests."""

    def _keep(self, data: bytes) -> None:
        """HOLD, STOP and AWAIT; only requests are held or awaited."""

    def _starts(self, data: bytes) -> Start:
        """Whether a message begins here."""
        raise NotImplementedError

    def _new_parser(self) -> Any:
        raise NotImplementedError

    def on_message_complete(self) -> None:
        raise NotImplementedError

    def _begun(self, message: Message) -> None:
        """Tell the pairing of a message."""
        raise NotImplementedError

    def _lost(self, message: Message | None, reason: str) -> None:
        raise NotImplementedError

    def _upgraded(self, rest: bytes) -> None:
        raise NotImplementedError

    def _describe(self, message: Message) -> None:
        """Fill in what is known of a head that will not be complete."""
        raise NotImplementedError


def _note_framing(message: Message) -> None:
    """Anomalies of a head that was refused."""
    names = [name.lower() for name, _ in message.fields or () if name is not None]
    if b"content-length" in names and b"transfer-encoding" in names:
        message.anomalies.append(anomalies.CONTENT_LENGTH_WITH_TRANSFER_ENCODING)
