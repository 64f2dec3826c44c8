"""What the Python servers answer to a planned path, and how Python peers write their log."""

from __future__ import annotations

import gzip
import hashlib
import time
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import msgspec

from tests.truth import Call, End

_DECOY = "\r\nHTTP/1.1 500 Decoy\r\nContent-Length: 0\r\n\r\n"


class Answer(msgspec.Struct, frozen=True):
    """A response as the query asks for it."""

    status: int
    headers: list[tuple[str, str]]
    content: bytes
    """As it is sent: coded, and empty where the method or the status allow none (RFC 9110 section 6.4.1)."""
    chunked: bool


def answer(method: str, path: str) -> Answer:
    """The response to a planned request; see `tests.peers.programs`."""
    query = parse_qs(urlsplit(path).query)
    status = int(query["status"][0])
    size = int(query["size"][0])
    unit = (path + _DECOY).encode()
    content = (unit * (size // len(unit) + 1))[:size]
    headers = [("Content-Type", "application/octet-stream")]
    if status == 301:
        headers.append(("Location", "/elsewhere"))
    if "gzip" in query:
        content = gzip.compress(content, 1)
        headers.append(("Content-Encoding", "gzip"))
    allowed = method != "HEAD" and status not in (204, 304)
    return Answer(status, headers, content if allowed else b"", "chunked" in query and allowed)


def span_of(path: str) -> str:
    """The span that the gateway makes of a call: known to who knows the path."""
    return hashlib.sha256(path.encode()).hexdigest()[:16]


def _unix(name: str | bytes) -> End:
    """Python has paths as text and abstract names, which begin with a NUL byte, as bytes."""
    return End(name if isinstance(name, str) else name.decode().replace("\0", "@"), None)


class CallLog:
    """Appends calls to a file, one line each, whole lines at once: threads may share it."""

    def __init__(self, file: str) -> None:
        self._file = Path(file).open("ab", buffering=0)  # noqa: SIM115 - open as long as the process runs

    def write(
        self,
        role: Literal["client", "server"],
        method: str,
        path: str,
        status: int,
        sizes: tuple[int, int],
        pid: int,
        ends: tuple[Any, Any],
        tls: bool,
    ) -> None:
        """`sizes`: request and response content; `ends`: getsockname() and getpeername() of the connection, of unix
        sockets the name alone, or None."""
        (local, remote) = (
            End(end[0], end[1]) if end and not isinstance(end, str | bytes) else _unix(end or "") for end in ends
        )
        self.append(Call(role, method, path, status, *sizes, pid, local, remote, "http/1.1", tls, time.time()))

    def append(self, call: Call) -> None:
        self._file.write(msgspec.json.encode(call) + b"\n")
