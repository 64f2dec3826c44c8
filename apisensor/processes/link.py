"""Messages between processes: msgpack over a Unix SOCK_SEQPACKET pair, descriptors beside them.

One packet is one message, so a part that dies takes at most whole messages with it and its successor goes on with the
next one. `run` keeps both ends of every pair: what was sent to a dead part is still there for its successor.
"""

from __future__ import annotations

import socket

BUFFER_BYTES = 8 << 20
"""Socket buffer of each end: about two seconds of transactions at 1,000 a second while core restarts."""
PACKET_BYTES = 512 << 10
"""Largest message; batches are cut to it. A transaction fits whose heads have the 64 KiB that servers take at most,
whatever they hold: JSON writes an octet as six at most."""
MOST_DESCRIPTORS = 64
"""Descriptors beside one message: more than the links of one library (kernel limit 253)."""

_SO_SNDBUFFORCE = 32  # include/uapi/asm-generic/socket.h; Python's socket module has no name for it


def pair() -> tuple[socket.socket, socket.socket]:
    """A connected pair. Without CAP_NET_ADMIN its buffers are only as large as net.core.wmem_max allows."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        try:
            end.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, BUFFER_BYTES)
        except PermissionError:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    return ends


class Link:
    """One end of a pair."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        end.setblocking(False)

    @classmethod
    def of(cls, descriptor: int) -> Link:
        """The end that was inherited as this descriptor."""
        return cls(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=descriptor))

    def fileno(self) -> int:
        return self._end.fileno()

    def send(self, message: bytes, descriptors: tuple[int, ...] | list[int] = ()) -> bool:
        """Sends without waiting. False: the other side is behind and the buffer is full; nothing was sent."""
        try:
            if descriptors:
                socket.send_fds(self._end, [message], descriptors)
            else:
                self._end.send(message)
        except BlockingIOError:
            return False
        return True

    def receive(self) -> tuple[bytes, list[int]] | None:
        """One message with its descriptors; None where there is none now. Raises EOFError when the peer is gone."""
        try:
            message, descriptors, _, _ = socket.recv_fds(
                self._end, PACKET_BYTES, MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return None
        except ConnectionResetError as error:
            raise EOFError from error
        if not message:
            raise EOFError
        return message, descriptors
