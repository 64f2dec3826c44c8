"""The login token of the page and the REST API: a file that root and the sensor's group can read."""

from __future__ import annotations

import re
import secrets
import socket

from apisensor.secret_file import SecretFile
from apisensor.sections import Settings
from apisensor.web.listening import authority, place

TOKEN_BYTES = 32
"""Of randomness: nobody guesses 256 bits."""

_FORM = re.compile(rb"[A-Za-z0-9_-]{43}")
"""URL-safe base64 of TOKEN_BYTES (RFC 4648 section 5), without padding."""


def login_token(path: str, group: int) -> SecretFile:
    """The token in the file `path`, a line of text; `group`: numeric id of the sensor's group."""
    return SecretFile(
        what="login token",
        path=path,
        make=lambda: secrets.token_urlsafe(TOKEN_BYTES).encode() + b"\n",
        wrong=lambda content: None if _FORM.fullmatch(content.strip()) else "holds no token",
        largest=256,
        remedy="remove it to get a new one (it may be known)",
        group=group,
    )


def link(settings: Settings, listening: socket.socket, token: str) -> str:
    """The address that logs a browser in: for the terminal of who started the sensor, and for nothing that is kept.

    On an unspecified address (0.0.0.0, ::) it names the first of web.hosts, else the loopback address.
    """
    address, port = place(listening)
    if address in ("0.0.0.0", "::"):
        address = settings.web.hosts[0] if settings.web.hosts else {"0.0.0.0": "127.0.0.1", "::": "::1"}[address]
        if settings.web.hosts and re.search(r":\d+$|\]$", address):
            return f"http://{address}/login?token={token}"
    return f"http://{authority(address, port)}/login?token={token}"
