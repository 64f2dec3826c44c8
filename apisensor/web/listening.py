"""The listening socket of the page; made by `run`, which hands it over, so that a restarted part keeps the port."""

from __future__ import annotations

import errno
import socket

from apisensor.sections import Settings

BACKLOG = 64
"""Connections that the kernel holds until they are accepted: a browser opens six at once."""


class ListenError(Exception):
    """The page cannot be served there. One line that says what to do."""


def listen(settings: Settings) -> socket.socket:
    """A listening TCP socket at web.address, web.port; close-on-exec.

    Raises:
        ListenError: the port is taken, the address is none of this machine, or the port is not allowed.
    """
    address, port = settings.web.address, settings.web.port
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError):
        raise ListenError(f"web.address = {address!r}: no address of that name is known") from None
    listening = socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(place)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise ListenError(_why_not(address, port, error)) from None
    return listening


def _why_not(address: str, port: int, error: OSError) -> str:
    reasons = {
        errno.EADDRINUSE: f"port {port} is taken: `ss -ltnp` shows by whom; set web.port to another one, or to 0",
        errno.EADDRNOTAVAIL: "no interface of this machine has that address: set web.address",
        errno.EACCES: f"port {port} needs a right that is missing: set web.port to one above 1023",
    }
    reason = reasons.get(error.errno or 0, error.strerror or str(error))
    return f"the page cannot be served on {address}: {reason}"


def place(listening: socket.socket) -> tuple[str, int]:
    """(address, port) that the socket is bound to."""
    name = listening.getsockname()
    return name[0], name[1]


def authority(address: str, port: int) -> str:
    """As a URL has it: an IPv6 address in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
