"""curl as a client: one process for hundreds of calls, or a process a call. Its --write-out is the truth.

A curl with a configuration on standard input has mapped its libraries and waits for us: that is how a sensor gets to
know the process before its first call.

curl 7.88 (Debian 12) cannot make a second call over a kept plaintext HTTP/2 connection ("Error in the HTTP2 framing
layer"): there, a process makes one call.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

import msgspec

from tests.peers.plan import Request
from tests.peers.process import Peer, PeerError, program
from tests.truth import Call, End


class _WriteOut(msgspec.Struct):
    """What is read of `--write-out %{json}`."""

    method: str
    url: str
    http_code: int
    http_version: str
    local_ip: str
    local_port: int
    remote_ip: str
    remote_port: int
    scheme: str
    size_download: int
    size_upload: int


_PROTOCOLS: dict[str, Literal["http/1.0", "http/1.1", "h2"]] = {"1.0": "http/1.0", "1.1": "http/1.1", "2": "h2"}


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Curl:
    """Asks one server for planned paths.

    Args:
        directory: of this client alone; contents to send and standard error go there.
        keep: False adds `Connection: close` to every request (HTTP/1.1).
    """

    def __init__(
        self,
        directory: Path,
        base: str,
        certificate: Path,
        protocol: str,
        *,
        concurrency: int = 1,
        keep: bool = True,
    ) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._unix = unquote(base.removeprefix("http+unix://")) if base.startswith("http+unix:") else ""
        self._base = "http://localhost" if self._unix else base
        self._certificate = certificate
        self._protocol = protocol
        self._concurrency = concurrency
        self._keep = keep

    def configuration(self, requests: Sequence[Request]) -> str:
        """A curl configuration of one operation a request; writes the contents they send."""
        return "next\n".join(self._operation(request) for request in requests)

    def _operation(self, request: Request) -> str:
        tls = self._base.startswith("https:")
        version = {"http/1.1": "http1.1", "h2": "http2" if tls else "http2-prior-knowledge"}[self._protocol]
        headers = [f"{name}: {value}" for name, value in request.headers]
        if not self._keep:
            headers.append("Connection: close")
        lines = [
            f"url = {_quoted(self._base + request.path)}",
            "head" if request.method == "HEAD" else f"request = {request.method}",
            version,
            "silent",
            "show-error",
            "path-as-is",
            'output = "/dev/null"',
            'write-out = "%{json}\\n"',
            f"cacert = {_quoted(str(self._certificate))}",
            "max-time = 60",
        ]
        if self._unix:
            lines.append(f"unix-socket = {_quoted(self._unix)}")
        if request.size:
            content = self.directory / f"content-{request.n}"
            content.write_bytes(request.content)
            lines.append(f"data-binary = {_quoted(f'@{content}')}")
            # An empty Expect: stops curl from asking on its own for contents above a version-dependent size.
            expect = request.expect and self._protocol == "http/1.1"  # nginx sends no interim response in HTTP/2
            headers.append("Expect: 100-continue" if expect else "Expect:")
            if request.chunked and self._protocol == "http/1.1":
                headers.append("Transfer-Encoding: chunked")
        lines += [f"header = {_quoted(header)}" for header in headers]
        return "\n".join(lines) + "\n"

    def calls_of(self, output: bytes, pid: int, requests: Sequence[Request]) -> list[Call]:
        """The calls that a curl process reported about itself."""
        planned = {request.path: request for request in requests}
        done = time.time()
        calls = []
        for line in output.splitlines():
            said = msgspec.json.decode(line, type=_WriteOut)
            path = said.url.removeprefix(self._base)
            request = planned[path]
            chunked = request.chunked and self._protocol == "http/1.1"
            calls.append(
                Call(
                    role="client",
                    method=said.method,
                    path=path,
                    status=said.http_code,
                    # With chunked coding curl counts the coding into size_upload.
                    request_size=request.size if chunked else said.size_upload,
                    response_size=said.size_download,
                    pid=pid,
                    local=End("", None) if self._unix else End(said.local_ip, said.local_port),
                    remote=End(self._unix, None) if self._unix else End(said.remote_ip, said.remote_port),
                    protocol=_PROTOCOLS[said.http_version],
                    tls=said.scheme == "HTTPS",
                    time=done,
                )
            )
        if len(calls) != len(requests):
            raise PeerError(f"curl reported {len(calls)} of {len(requests)} calls")
        return calls

    @property
    def arguments(self) -> list[str]:
        """Of a curl that waits for its configuration."""
        parallel = ["--parallel", "--parallel-max", str(self._concurrency)] if self._concurrency > 1 else []
        return ["-q", "-sS", *parallel, "-K", "-"]

    def start(self) -> Peer:
        """A curl that waits for its configuration."""
        return Peer([program("curl"), *self.arguments], self.directory / "curl.stderr")

    def drive(self, peer: Peer, requests: Sequence[Request], pid: int | None = None) -> list[Call]:
        """Gives a waiting curl its configuration; returns the calls it made. `pid`: of curl, where `peer` runs it in
        a container."""
        output = peer.finish(self.configuration(requests).encode())
        return self.calls_of(output, pid or peer.pid, requests)

    def each(self, requests: Sequence[Request]) -> list[Call]:
        """A process a call, `concurrency` at once."""

        def one(request: Request) -> list[Call]:
            peer = Peer([program("curl"), "-q", "-K", "-"], self.directory / "curl.stderr")
            try:
                return self.drive(peer, [request])
            finally:
                peer.stop()

        with ThreadPoolExecutor(self._concurrency) as pool:
            return [call for calls in pool.map(one, requests) for call in calls]
