"""A server behind a reverse proxy, both on this node: each request is two calls on two connections, with four views.

Both legs carry the same method and path: only process, side and connection tell them apart.
"""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Protocol

from msgspec.structs import replace

from tests.peers.certificates import Certificate
from tests.peers.nginx import LOG_FORMAT, read_log, url
from tests.peers.nginx_process import configure, start
from tests.peers.process import free_port
from tests.truth import Call

WORKERS = 2
_HTTP = Template(
    """\
$log_format
    access_log $prefix/access.log call;
    ssl_certificate $certificate;
    ssl_certificate_key $key;
    upstream behind {
        server $behind;
        keepalive 64;
    }
    server {
        listen 127.0.0.1:$port ssl http2;
        location / {
            proxy_pass https://behind;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_redirect off;
            proxy_next_upstream off;
        }
    }"""
)


class Behind(Protocol):
    """The server that the proxy hands calls to."""

    @property
    def pids(self) -> list[int]: ...

    def base(self, address: str, protocol: str, tls: bool) -> str: ...

    def calls(self) -> list[Call]: ...

    def stop(self) -> None: ...


class NginxProxy:
    """nginx with two workers in front of a server, TLS on both legs.

    nginx cannot log its own end of the connection behind: that view is the mirror image of what the server there
    logged, by the worker that logged the call in front. Nor does it count content alone where it sends in chunks: what
    it passes on is as long as what it got.
    """

    def __init__(self, directory: Path, certificate: Certificate, behind: Behind) -> None:
        self.directory, self.behind = directory, behind
        self._port = free_port("127.0.0.1")
        http = _HTTP.substitute(
            prefix=directory,
            log_format=LOG_FORMAT,
            certificate=certificate.certificate,
            key=certificate.key,
            behind=behind.base("127.0.0.1", "http/1.1", True).removeprefix("https://"),
            port=self._port,
        )
        try:
            configuration = configure(directory, http, workers=WORKERS)
            self._peer = start(configuration, self._port, "nginx as a proxy", workers=WORKERS)
        except BaseException:
            behind.stop()
            raise

    @property
    def pids(self) -> list[int]:
        return [*self._peer.children(), *self.behind.pids]

    def base(self, address: str, protocol: str, tls: bool) -> str:  # noqa: ARG002 - it listens on one
        return url(address, self._port, tls)

    def calls(self) -> list[Call]:
        front = read_log(self.directory / "access.log")
        workers = {(call.method, call.path): call.pid for call in front}
        behind = self.behind.calls()
        mirrored = [
            replace(call, role="client", pid=workers[call.method, call.path], local=call.remote, remote=call.local)
            for call in behind
            if (call.method, call.path) in workers
        ]
        sizes = {(call.method, call.path): call.response_size for call in behind}
        front = [replace(call, response_size=sizes.get((call.method, call.path), -1)) for call in front]
        return [*front, *mirrored, *behind]

    def stop(self) -> None:
        self._peer.stop()
        self.behind.stop()


class Gateway:
    """`programs/gateway.py` in front of a server."""

    def __init__(self, front: Behind, behind: Behind) -> None:
        self.front, self.behind = front, behind

    @property
    def pids(self) -> list[int]:
        return [*self.front.pids, *self.behind.pids]

    def base(self, address: str, protocol: str, tls: bool) -> str:
        return self.front.base(address, protocol, tls)

    def calls(self) -> list[Call]:
        return [*self.front.calls(), *self.behind.calls()]

    def stop(self) -> None:
        self.front.stop()
        self.behind.stop()
