"""Debian's wget (GnuTLS): one process that fetches all of its addresses over one connection. Its log is the truth.

Its log has no port of its own, which the server's log tells.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from tests.peers.plan import Request
from tests.peers.process import Peer, PeerError, program
from tests.truth import Call, End

_OPTIONS = (
    "--no-config --no-hsts --no-proxy --no-verbose --server-response --tries=1 --max-redirect=0 "
    "--timeout=60 --content-on-error -O /dev/null -i -"
)
_STATUS = re.compile(r"^  HTTP/1\.1 (\d{3}) ?", re.MULTILINE)
_SAVED = re.compile(r"URL:(\S+) \[(\d+)(?:/\d+)?\] -> ")


class Wget:
    """A wget that waits for its addresses."""

    def __init__(self, directory: Path, certificate: Path, base: str, keep: bool) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._base = base
        keeping = [] if keep else ["--no-http-keep-alive"]
        command = [program("wget"), *_OPTIONS.split(), *keeping, f"--ca-certificate={certificate}"]
        self._peer = Peer(["env", "LC_ALL=C", *command], directory / "log")

    @property
    def pids(self) -> list[int]:
        return [self._peer.pid]

    def drive(self, requests: list[Request]) -> list[Call]:
        """The calls, with a port of 0 at this end."""
        self._peer.finish("".join(f"{self._base}{request.path}\n" for request in requests).encode())
        log = self._peer.errors.read_text()
        statuses = [int(status) for status in _STATUS.findall(log)]
        sizes = {url.removeprefix(self._base): int(size) for url, size in _SAVED.findall(log)}
        if len(statuses) != len(requests):
            raise PeerError(f"wget reported {len(statuses)} of {len(requests)} calls: {self._peer.last_words()}")
        return [
            Call(
                role="client",
                method=request.method,
                path=request.path,
                status=status,
                request_size=0,
                response_size=sizes.get(request.path, 0),
                pid=self._peer.pid,
                local=End("", 0),
                remote=End("", 0),
                protocol="http/1.1",
                tls=self._base.startswith("https:"),
                time=time.time(),
            )
            for request, status in zip(requests, statuses, strict=True)
        ]

    def stop(self) -> None:
        self._peer.stop()
