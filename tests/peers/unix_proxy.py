"""nginx as a proxy: TCP before it, a unix socket behind it, both kept for many calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template

from tests.peers.nginx_process import configure, start
from tests.peers.process import free_port

_HTTP = Template(
    """\
access_log off;
    upstream behind { server unix:$behind; keepalive 16; }
    server {
        listen 127.0.0.1:$port;
        location / {
            proxy_pass http://behind;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }
    }"""
)


@dataclass(frozen=True)
class Proxy:
    """Where it listens, and the worker that passes calls on."""

    port: int
    pids: list[int]

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def unix_proxy(directory: Path, behind: str) -> Iterator[Proxy]:
    """Runs it before the server on the unix socket `behind`."""
    port = free_port("127.0.0.1")
    peer = start(configure(directory, _HTTP.substitute(port=port, behind=behind)), port)
    try:
        yield Proxy(port, peer.children())
    finally:
        peer.stop()
