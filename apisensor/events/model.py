"""The records every later stage is fed with, whatever their source: ring buffer, recording or packet capture.

A *flow* is one plaintext duplex byte stream as one process sees it: either a socket whose bytes are plaintext, or the
TLS session (an `SSL` object) that a socket carries. A *connection* is the socket. `Open` introduces a plaintext flow
with its socket; a TLS flow is introduced by its first `Chunk` and learns its socket from `Bind`, which may come before
or after its first bytes, or never.

Positions count the plaintext bytes of one direction of one flow from the moment the sensor first saw the flow. A
position that jumps ahead is a loss, with or without a `Gap` that explains it.
"""

from __future__ import annotations

import enum

import msgspec


class Direction(enum.IntEnum):
    """Which way bytes went, seen from the observed process."""

    SEND = 0
    RECEIVE = 1


class Cause(enum.IntEnum):
    """Why bytes of a flow are missing. The names are the `incomplete_reason` and the counter label (`lower()`)."""

    UNKNOWN = 0
    """A position jumped and nothing said why."""
    RING_FULL = 1
    """The ring buffer had no room for a record."""
    COPY_FAULT = 2
    """The kernel could not read the user's memory (`bpf_probe_read_user` failed)."""
    CALL_LIMIT = 3
    """One call carried more than the kernel side copies of a call (settings `capture.call_limit`)."""
    NOT_IN_USER_MEMORY = 4
    """The bytes never passed through user memory (sendfile, splice), or it is not known where they lie there
    (io_uring)."""
    SKIPPED = 5
    """The worker asked the kernel not to copy below a position (body beyond its limit, not HTTP)."""
    DETACHED = 6
    """Probes were off for a while; the length is unknown."""
    SEGMENT_MISSING = 7
    """A packet capture lacks segments that the receiver acknowledged or that later segments imply."""
    MAP_FULL = 8
    """A kernel map had no room for the call or the connection."""
    UNSEEN_PATH = 9
    """The bytes passed by a path that the back end does not see: the kernel's own account of the stream says how many.
    The gap's time is when they had passed, at the latest."""


class Binding(enum.IntEnum):
    """How a flow's peer is known. The public name is `lower()`."""

    SOCKET = 0
    """The bytes passed through the socket itself."""
    SET_FD = 1
    """The application called SSL_set_fd (rfd, wfd)."""
    NESTED = 2
    """The TLS library read or wrote a TLS record on the socket inside the SSL call."""
    CIPHERTEXT = 3
    """The ciphertext that the library wrote to its memory BIO left through the socket."""
    PACKET = 4
    """A packet capture; addresses are the packets'."""


class Address(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One end of a connection. IPv4-mapped IPv6 addresses are written as IPv4."""

    address: str
    """IPv4 dotted or IPv6 compressed (RFC 5952). Of a unix socket the name it is bound to: a path, @ and an abstract
    name, or "" where it has none, as clients mostly have."""
    port: int | None
    """None of a unix socket."""
    unnamed: int = 0
    """Tells ends without a name apart: a number that both ends of their connection know. 0: the end has a name."""

    @property
    def text(self) -> str:
        """With its port, IPv6 in brackets; unix:NAME of a unix socket."""
        if self.port is None:
            return f"unix:{self.address}"
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class Open(msgspec.Struct, frozen=True, gc=False, tag="open"):
    """A plaintext flow and its socket. Sent before the flow's first chunk, once per flow unless it was lost."""

    time_ns: int
    """Event clock, ns: CLOCK_MONOTONIC for live capture, Unix time for packet captures."""
    pid: int
    """Thread group id of the process, 0 for packets."""
    flow: int
    connection: int
    local: Address
    """The observed process's end. For packets: the end whose bytes are Direction.SEND."""
    remote: Address
    binding: Binding = Binding.SOCKET
    from_start: bool = False
    """The connection was seen being made (connect, accept, SYN): position 0 of both directions is its first byte."""


class Bind(msgspec.Struct, frozen=True, gc=False, tag="bind"):
    """A TLS flow is carried by this socket. A later Bind of the same flow replaces the earlier one."""

    time_ns: int
    pid: int
    flow: int
    connection: int
    local: Address
    remote: Address
    binding: Binding


class Chunk(msgspec.Struct, frozen=True, gc=False, tag="chunk"):
    """Plaintext bytes of one direction of a flow, in the order of the calls that moved them."""

    time_ns: int
    """When the call that moved the bytes returned (for packets: when the segment was captured)."""
    pid: int
    flow: int
    direction: Direction
    position: int
    """Offset of data[0] in this direction of the flow, bytes."""
    data: bytes
    tls: bool
    """The bytes came from a TLS library's read or write call."""
    call_start: bool = True
    """data[0] was the first byte of an application call (False: a later chunk of a large call, or unknown)."""


class Gap(msgspec.Struct, frozen=True, gc=False, tag="gap"):
    """Bytes of one direction that passed and were not captured."""

    time_ns: int
    """Not later than it was told; earlier where they are known to have passed before (UNSEEN_PATH)."""
    pid: int
    flow: int
    direction: Direction
    position: int
    length: int | None
    """Bytes missing from `position` on; None where it is unknown (then positions restart at the next chunk)."""
    cause: Cause
    tls: bool = False


class End(msgspec.Struct, frozen=True, gc=False, tag="end"):
    """One direction is over: a FIN was sent, or the process read the end of the stream. The other may go on."""

    time_ns: int
    pid: int
    flow: int
    direction: Direction


class Close(msgspec.Struct, frozen=True, gc=False, tag="close"):
    """The flow is over in both directions; its id is not used again."""

    time_ns: int
    pid: int
    flow: int
    reset: bool = False
    """Not by both ends: by a RST, or given up. Content that lasts until the connection ends is not whole then (RFC 9112
    section 8)."""


Event = Open | Bind | Chunk | Gap | End | Close
"""What a source yields and `streams` takes."""
