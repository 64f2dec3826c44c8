"""HTTP/1 messages of one direction (RFC 9112), parsed by llhttp (`http1_engine`): what requests and responses share.

A reader is fed the bytes of its direction in order and tells its `Pairing` when a message begins, when its head is
complete and when it ends. It is always in one of these modes:

    mode    bytes are                                      leaves it
    HUNT    looked at only where an application call        a plausible start line
            begins: out of step (joined late, loss)
    PARSE   given to llhttp                                 loss, refusal, large or interrupted body
    COUNT   content of a body whose end is known, counted   the body's end
            without llhttp: after a hole, or when large
    CHUNKS  content in chunks that came in several calls,   the body's end
            or that llhttp does not read (`http1_chunks`)
    HOLD    kept (bounded) after a request that may switch  the response decides
            the protocol
    AWAIT   looked at after a refusal that came before the  its first bytes: content, or a request
            content (Expect: 100-continue)
    STOP    ignored                                         never

                 plausible start            hole in a sized body, or a large one
        HUNT ----------------------> PARSE ----------------------------------------> COUNT
          ^                           | ^ |                                            |
          +--- loss, refusal ---------+ | +--- Upgrade, CONNECT ---> HOLD --declined-->+ PARSE
                                        +--------------- the body's end ---------------+

A head that llhttp refuses and servers accept is put right and parsed again (`http1_repair`), wherever in a call it
begins (`http1_boundary`). Out of step none is: it may be a body's.

A start line found in HUNT may be a body's, so the first message after it is told only once its head is complete, or
is cut by something else than its bytes. If llhttp refuses it, it never was a message ("in doubt" below). In step, a
message is told at its first byte, and a refused one is evidence. Where bytes of the direction passed unseen, several
requests in one call are taken for content too, unless the client is known to pipeline: the body of an upload whose
head has passed may quote whole requests. A single whole request, quoted at a call's beginning, cannot be told apart.

What llhttp cannot be told through httptools is done around it: that a response to HEAD or CONNECT has no content (its
input is cut where heads may end), that content was skipped (COUNT), that the peer went on after `Connection: close`.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Protocol

from apisensor.protocols import anomalies
from apisensor.protocols.http1_boundary import HEAD_END, MisreadError, last_start, plain_value
from apisensor.protocols.http1_chunks import ChunkError, Chunks
from apisensor.protocols.http1_engine import DUPLICATE_LENGTH, Engine
from apisensor.protocols.http1_repair import Repaired, repaired
from apisensor.protocols.identify import Start
from apisensor.protocols.message import Field, Message, add_content, count_unseen
from apisensor.streams.limits import Limits

_MOST_REPAIRS = 32
"""Heads put right in one call: each copies what follows it. No client pipelines that many odd ones."""


class Mode:
    """What a reader does with bytes. Plain integers: they are compared for every chunk, and enumerations are slow."""

    HUNT: Final = 0
    PARSE: Final = 1
    COUNT: Final = 2
    HOLD: Final = 3
    STOP: Final = 4
    AWAIT: Final = 5
    CHUNKS: Final = 6


class Pairing(Protocol):
    """What the two readers of a flow tell."""

    bodiless: int
    """How many of the requests that wait for their response are HEAD or CONNECT."""

    def request_in_doubt(self) -> None:
        """What may be a request begins; `request_begun` follows if it is one."""

    def request_begun(self, message: Message) -> None: ...
    def request_headed(self, message: Message) -> None: ...
    def request_ended(self, message: Message) -> None: ...
    def request_lost(self, message: Message | None, reason: str) -> None: ...
    def response_begun(self, message: Message) -> None: ...
    def response_headed(self, message: Message) -> bool:
        """Returns: whether the response has no content because of its request's method."""

    def response_ended(self, message: Message) -> None: ...
    def response_lost(self, message: Message | None, reason: str) -> None: ...
    def mistaken(self, reader: Reader, size: int) -> None:
        """What began like a message while out of step was none; so many bytes of it were looked at."""

    def rejected(self) -> None:
        """A parser refused what it was given; the reader is out of step."""

    def room(self, message: Message) -> int:
        """Bytes that may be kept of this message's body, which begins now."""

    def switched(self, rest: bytes) -> None:
        """What followed a response that switched the protocol in the same chunk."""

    def unread(self, reader: Reader, size: int) -> None:
        """Bytes passed over while out of step."""

    def ask_skip(self, reader: Reader, length: int) -> None:
        """The next `length` bytes of this direction are content that need not be seen."""


class Reader:
    """What requests and responses have in common."""

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
        "_repaired",
        "_repairs",
        "_resumed",
        "_sent",
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
        self._repaired: Message | None = None
        """The last message that was put right: none is twice."""
        self._repairs = 0
        """How many are put right in this call, one behind the other."""
        self._sent: Repaired | None = None
        """What the message under way was, where the parser was given something else."""

    # Input

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

    def gap(self, length: int | None, reason: str, counted: bool, now: int) -> None:
        """Bytes of this direction are missing here.

        Args:
            length: None where it is unknown.
            reason: An INCOMPLETE_REASONS name.
            counted: They were counted exactly and deliberately not captured: no loss inside a body whose end is known.
        """
        self.now = now
        message = self.message
        if self.mode == Mode.CHUNKS and length is not None and self._gap_in_chunk(length, reason, counted=counted):
            return
        if message is None or message.fields is None or self.mode not in (Mode.PARSE, Mode.COUNT):
            self.lose(reason)
            return
        left = self._length - message.body_size if self._length is not None else None
        if self._until_end:
            left = length or 0  # whatever is missing was content
        elif left is None or length is None:
            self.lose(reason)
            return
        message.end_ns = now
        size = min(left, length or 0)
        if counted and size == length:
            count_unseen(message, size)
        else:
            message.room = 0
            message.body_size += size
            message.reason = message.reason or reason
            if message.counter is not None:
                message.counter.skip(size, reason)
        if self._until_end:
            return
        self._left = left - size
        self.mode = Mode.COUNT
        if not self._left:
            self._end_counted()
        if size != length:
            self.lose(reason)

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

    def start(self) -> None:
        """The next byte is the first of a message."""
        self.mode = Mode.PARSE
        self._doubtful_bytes = 0
        self._open_head = []
        self._suspect = None
        self._parser = self._new_parser()

    # The parser's callbacks; the other ones are in the subclasses

    def on_header(self, name: bytes, value: bytes) -> None:
        if value and value[-1] > 32:
            self._fields.append((name, value))
            return
        self._fields.append((name, plain_value(name, value)))

    def on_body(self, piece: bytes) -> None:
        message = self.message
        if message is not None:
            size = len(piece)
            if message.counter is not None:
                add_content(message, piece)
            elif message.room >= size:
                message.body_size += size
                message.body.append(piece)
                message.room -= size
                message.kept += size
            elif message.room:
                add_content(message, piece)
            else:
                message.body_size += size

    # Modes

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
            self._stopped(stop, data, opened)
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

    def _count(self, data: bytes) -> None:
        message = self.message
        assert message is not None
        left = self._left
        message.end_ns = self.now
        if len(data) < left:
            add_content(message, data)
            self._left = left - len(data)
            return
        add_content(message, data[:left])
        self._end_counted()
        if len(data) > left:
            self.feed(data[left:], self.now, False)

    def _take_chunks(self, data: bytes, opened: Message | None, *, refused: bool = False) -> bool:
        """Whether the chunks of the message under way are read here from now on. Its head ended in `data`.

        Args:
            refused: The parser read no further; else it read everything.
        """
        message = self.message
        assert message is not None
        if opened is None and not refused:
            # Most often the message is the first one in data; if it is not, this does not agree with what was told.
            head_end = data.find(HEAD_END) + len(HEAD_END)
            if head_end >= len(HEAD_END) and self._walk_chunks(message, data[head_end:], refused):
                return True
        head = self._head_so_far(data, opened).lstrip(b"\r\n")
        head_end = head.find(HEAD_END) + len(HEAD_END)
        return head_end >= len(HEAD_END) and self._walk_chunks(message, head[head_end:], refused)

    def _walk_chunks(self, message: Message, content: bytes, refused: bool) -> bool:
        """Whether the content, of which the parser told a part, is in chunks; it is then read."""
        trailers, found = message.trailers[:], message.anomalies[:]
        message.trailers.clear()
        chunks = Chunks(message, self.limits, message.body_size)
        end = len(content)
        try:
            if refused:
                end = chunks.read(content)
                fits = True
            else:
                fits = chunks.locate(content)
        except ChunkError:
            fits = False
        if not fits:
            message.trailers[:], message.anomalies[:] = trailers, found
            return False
        self._chunks = chunks
        self._open_head = []
        self.mode = Mode.CHUNKS
        self._parser = None
        if chunks.ended:
            self._end_counted()
            if end < len(content):
                self.feed(content[end:], self.now, False)
        return True

    def _read_chunks(self, data: bytes) -> None:
        message, chunks = self.message, self._chunks
        assert message is not None
        assert chunks is not None
        message.end_ns = self.now
        try:
            end = chunks.read(data)
        except ChunkError as error:
            if error.limit is not None:
                self._limit(message, error.limit)
                return
            self.lose("parse_error")
            self.pairing.rejected()
            return
        if chunks.ended:
            self._end_counted()
            if end < len(data):
                self.feed(data[end:], self.now, False)

    def _gap_in_chunk(self, length: int, reason: str, *, counted: bool) -> bool:
        """Whether the missing bytes are content of one chunk; then they are dealt with."""
        message, chunks = self.message, self._chunks
        if message is None or chunks is None or not chunks.skip(length):
            return False
        message.end_ns = self.now
        if counted:
            count_unseen(message, length)
        else:
            message.room = 0
            message.body_size += length
            message.reason = message.reason or reason
            if message.counter is not None:
                message.counter.skip(length, reason)
        return True

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

    _of_requests: ClassVar[bool]
    """Whether this direction carries requests."""

    def _keep(self, data: bytes) -> None:
        """HOLD, STOP and AWAIT; only requests are held or awaited."""

    # What differs between requests and responses

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

    # The ends of messages

    def _end_counted(self) -> None:
        """The body that was counted is complete."""
        self.start()
        self.on_message_complete()

    def _stopped(self, stop: Exception, data: bytes, opened: Message | None) -> None:
        """The parser did not read all of the data; `opened` was under way before."""
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

    def _put_right(self, refusal: Exception, data: bytes, opened: Message | None) -> bool:
        """Whether the refused head is one that servers accept; it is then parsed as they read it (`http1_repair`)."""
        message = self.message
        if message is None or message.fields is not None or self.in_doubt:
            return False
        if message is self._repaired or self._repairs == _MOST_REPAIRS:
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
        self._repaired = message
        self._parser = self._new_parser()
        self._resumed = True
        self._fields = []
        self._sent = found
        self._repairs += 1
        try:
            self._parse(found.data)
        finally:
            self._repairs -= 1
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

    def _seal(self, message: Message, reason: str) -> None:
        """No more of this message will be seen."""
        if self.in_doubt:
            self._begun(message)
        message.ended = True
        message.reason = message.reason or reason
        if message.fields is None:
            self._describe(message)
            if self._fields:
                message.fields = self._fields
                _note_framing(message)

    # Bounds

    def _bound_head(self, message: Message, data: bytes, opened: Message | None) -> None:
        """A head is open at the end of a chunk: bound what it may grow to."""
        self._doubtful_bytes += len(data)
        if message is opened:
            self._head_bytes += len(data)
            if self._open_head:
                self._open_head.append(data)
        else:
            head = self._head_so_far(data, opened)
            self._open_head = [head] if head else []
            self._head_bytes = sum(len(name or b"") + len(value or b"") for name, value in self._fields)
        if self._head_bytes > self.limits.header_bytes:
            self._limit(message, anomalies.HEADER_BYTES)
        elif len(self._fields) > self.limits.header_count:
            self._limit(message, anomalies.HEADER_COUNT)

    def _limit(self, message: Message, anomaly: str) -> None:
        message.anomalies.append(anomaly)
        count = self.limits.header_count
        del self._fields[count:], message.trailers[count:]
        self.lose("limit")

    def _cut_fields(self, message: Message) -> None:
        if len(self._fields) > self.limits.header_count:
            del self._fields[self.limits.header_count :]
            message.anomalies.append(anomalies.HEADER_COUNT)
            message.reason = message.reason or "limit"


def _note_framing(message: Message) -> None:
    """Anomalies of a head that was refused."""
    names = [name.lower() for name, _ in message.fields or () if name is not None]
    if b"content-length" in names and b"transfer-encoding" in names:
        message.anomalies.append(anomalies.CONTENT_LENGTH_WITH_TRANSFER_ENCODING)
