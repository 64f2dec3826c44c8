"""HTTP/2: where a direction stands, and what its readers tell (`http2` has the theory of operation)."""

from __future__ import annotations

from typing import Final, Protocol

from apisensor.protocols.frames import HEADER_SIZE
from apisensor.protocols.hpack_codec import HeaderDecoder
from apisensor.protocols.message import Field
from apisensor.streams.limits import Limits

STREAM_ID: Final = 0x7FFFFFFF
"""The bits of a frame header's last word that are the stream."""


class Streams(Protocol):
    """What the two readers of a connection tell. `direction` is the reader's."""

    def preface(self, direction: int) -> None:
        """This direction is the client's, and it is seen from its beginning."""

    def opening(self, direction: int, stream: int, now: int) -> None:
        """The first octets of a HEADERS frame; its fields follow."""

    def headed(
        self, direction: int, stream: int, fields: list[Field] | None, end: bool, now: int, reason: str | None
    ) -> None:
        """A header block is complete; fields None: it could not be read, for this reason."""

    def content(self, direction: int, stream: int, data: bytes, begin: int, end: int, now: int) -> None:
        """data[begin:end] is content of this stream."""

    def content_missing(self, direction: int, stream: int, length: int, reason: str | None, now: int) -> None:
        """So much content is missing; reason None: it was counted exactly and deliberately not captured."""

    def ended(self, direction: int, stream: int, now: int) -> None:
        """The last frame of this direction of the stream (END_STREAM)."""

    def reset(self, direction: int, stream: int, now: int) -> None:
        """RST_STREAM."""

    def going_away(self, direction: int, last_stream: int, now: int) -> None:
        """GOAWAY: streams above last_stream that the other end opened will not be answered."""

    def lost(self, direction: int, reason: str) -> None:
        """Frames may be missing, nobody knows of which streams."""

    def rejected(self) -> None:
        """Nonsense where a frame was due."""

    def undecodable(self) -> None:
        """A header block was refused."""

    def unread(self, size: int) -> None:
        """Bytes passed over while out of step."""


class State:
    """What is known of a direction, and how it is given up."""

    __deletable__ = ["streams"]
    __slots__ = (
        "_block",
        "_block_end",
        "_block_ns",
        "_block_size",
        "_block_stream",
        "_blocks",
        "_candidate",
        "_content",
        "_data_end",
        "_data_stream",
        "_dead",
        "_decoder",
        "_have",
        "_need",
        "_pad",
        "_pieces",
        "_promise",
        "_skip",
        "_unpadded",
        "direction",
        "hunting",
        "largest_entry",
        "late",
        "limits",
        "now",
        "streams",
    )

    def __init__(self, streams: Streams, direction: int, limits: Limits) -> None:
        self.streams = streams
        self.direction = direction
        self.limits = limits
        self.now = 0
        self.hunting = True
        self.late = True
        """Frames may have passed before the first one seen."""
        self._decoder: HeaderDecoder | None = None
        self._candidate: list[bytes] = []
        # A frame other than DATA that is not complete: its pieces from its header on, and the size they are to reach.
        self._pieces: list[bytes] = []
        self._have = 0
        self._need = HEADER_SIZE
        # The payload under way: content and padding of a DATA frame, or octets of no interest.
        self._content = 0
        self._pad = 0
        self._unpadded = 0
        """Octets of a padded DATA frame of which not even the pad length was seen."""
        self._data_stream = 0
        self._data_end = False
        self._skip = 0
        # The header block under way.
        self._block: list[bytes] | None = None
        self._block_stream = 0
        self._block_size = 0
        self._block_end = False
        self._block_ns = 0
        self._promise = False
        self._dead: str | None = None
        """Part of the block is missing: why."""
        self._blocks = 0
        """Octets of header blocks that may be in the table."""
        self.largest_entry = 0
        """Octets that no entry of the table exceeds: coded strings grow by 8/5 at most."""

    def start(self, *, late: bool) -> None:
        """The next byte is the first of a frame (or of the preface)."""
        self.hunting = False
        if self._decoder is None:
            self.late = late
            self._decoder = HeaderDecoder(self.limits.header_bytes, self.limits.hpack_table, joined_late=late)

    def lose(self, reason: str) -> None:
        """Out of step: header blocks may be missing, and frames of any stream."""
        self.hunting = True
        self._candidate = []
        self._pieces, self._have, self._need = [], 0, HEADER_SIZE
        self._content = self._pad = self._skip = self._unpadded = 0
        if self._block is not None or self._dead is not None:
            self._block, self._dead = None, None
            if not self._promise:
                self.streams.headed(self.direction, self._block_stream, None, False, self._block_ns, reason)
        if self._decoder is not None:
            self._decoder.forget()
        self.late = True
        self.streams.lost(self.direction, reason)

    def release(self) -> None:
        """Nothing more comes: refer to nothing that refers to this, so that memory is free at once."""
        del self.streams

    def held(self) -> int:
        """Bytes of memory that the table and what is under way take, roughly: coded strings grow by 8/5 at most."""
        limits = self.limits
        table = min(2 * self._blocks, limits.hpack_table + limits.header_bytes)
        block = self._block_size if self._block is not None else 0
        return table + block + self._have * bool(self._pieces) + sum(map(len, self._candidate))

    def _nonsense(self) -> None:
        self.lose("parse_error")
        self.streams.rejected()
