"""nginx as a proxy: TCP before it, a unix socket behind it, both kept for many calls."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template

from tests.peers.process import START_SECONDS, Peer, free_port, listens, program, wait_until

_CONFIGURATION = Template(
    """\
daemon off;
$user
worker_processes 1;
pid $prefix/nginx.pid;
error_log $prefix/error.log warn;
events { worker_connections 512; }
http {
    access_log off;
    client_body_temp_path $prefix/temporary;
    proxy_temp_path $prefix/temporary;
    fastcgi_temp_path $prefix/temporary;
    uwsgi_temp_path $prefix/temporary;
    scgi_temp_path $prefix/temporary;
    client_max_body_size 16m;
    upstream behind { server unix:$behind; keepalive 16; }
    server {
        listen 127.0.0.1:$port;
        location / {
            proxy_pass http://behind;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }
    }
}
"""
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
    (directory / "temporary").mkdir(parents=True)
    file = directory / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    file.write_text(_CONFIGURATION.substitute(prefix=directory, port=port, behind=behind, user=user))
    executable = program("nginx", "APISENSOR_TEST_NGINX")
    command = [executable, "-p", str(directory), "-c", str(file), "-e", str(directory / "error.log")]
    peer = Peer(command, directory / "nginx.stderr")
    try:
        wait_until(lambda: listens("127.0.0.1", port), START_SECONDS, f"nginx: {peer.last_words()}")
        children = Path(f"/proc/{peer.pid}/task/{peer.pid}/children").read_text()
        yield Proxy(port, [int(pid) for pid in children.split()])
    finally:
        peer.stop()
