"""Debian's nginx as a process of a peer: what every configuration begins with, how it is started, and its workers."""

from __future__ import annotations

import os
from pathlib import Path
from string import Template

from tests.peers.process import Peer, listens, program

_CONFIGURATION = Template(
    """\
daemon off;
$user
worker_processes $workers;
pid $prefix/nginx.pid;
error_log $prefix/error.log warn;
events { worker_connections 512; }
http {
    client_body_temp_path $prefix/temporary;
    proxy_temp_path $prefix/temporary;
    fastcgi_temp_path $prefix/temporary;
    uwsgi_temp_path $prefix/temporary;
    scgi_temp_path $prefix/temporary;
    client_max_body_size 16m;
    keepalive_requests 1000000;
    $http
}
"""
)


def configure(directory: Path, http: str, *, workers: int = 1) -> Path:
    """Writes a configuration with these directives in its `http` block, all files in `directory`; returns its path."""
    (directory / "temporary").mkdir(parents=True, exist_ok=True)
    file = directory / "nginx.conf"
    # Started by root, workers would lose the right to read what the tests keep for root.
    user = "user root;" if os.geteuid() == 0 else ""
    file.write_text(_CONFIGURATION.substitute(user=user, workers=workers, prefix=directory, http=http))
    return file


def command(executable: str, configuration: Path) -> list[str]:
    """Starts nginx with what `configure` has written."""
    directory = configuration.parent
    return [executable, "-p", str(directory), "-c", str(configuration), "-e", str(directory / "error.log")]


def start(configuration: Path, port: int, what: str = "nginx", *, workers: int = 1) -> Peer:
    """Runs it, and waits until it listens on the port of 127.0.0.1 and has its workers.

    It opens all its ports before it accepts on any, and only then starts its children, the workers, which serve and
    log; the master does neither.

    Raises:
        PeerError: it is not installed, or does not start.
    """
    peer = Peer(command(program("nginx", "APISENSOR_TEST_NGINX"), configuration), configuration.parent / "nginx.stderr")
    peer.wait_until(lambda: len(peer.children()) >= workers and listens("127.0.0.1", port), what)
    return peer
