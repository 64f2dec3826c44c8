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

A reader is built in layers, each of which knows those before it: where a direction stands (`http1_state`), heads
(`http1_heads`), content (`http1_content`), the modes (`http1_reader`); then for requests those that wait
(`http1_waiting`) and the rest (`http1_request`), and for responses `http1_response`.

What llhttp cannot be told through httptools is done around it: that a response to HEAD or CONNECT has no content (its
input is cut where heads may end), that content was skipped (COUNT), that the peer went on after `Connection: close`.
"""

from __future__ import annotations

from typing import Final, Protocol

from apisensor.protocols.message import Message


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
    def mistaken(self, reader: object, size: int) -> None:
        """What began like a message while out of step was none; so many bytes of it were looked at."""

    def rejected(self) -> None:
        """A parser refused what it was given; the reader is out of step."""

    def room(self, message: Message) -> int:
        """Bytes that may be kept of this message's body, which begins now."""

    def switched(self, rest: bytes) -> None:
        """What followed a response that switched the protocol in the same chunk."""

    def unread(self, reader: object, size: int) -> None:
        """Bytes passed over while out of step."""

    def ask_skip(self, reader: object, length: int) -> None:
        """The next `length` bytes of this direction are content that need not be seen."""
