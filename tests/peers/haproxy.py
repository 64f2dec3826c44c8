"""HAProxy in front of nginx: TLS to its clients, plaintext behind. The log of each is the truth about itself.

HAProxy's log has no size of a content; it passes contents on as they are, so their sizes are those of nginx's log.
"""

from __future__ import annotations

import re
from pathlib import Path
from string import Template
from typing import Literal

import msgspec

from tests.peers.certificates import Certificate
from tests.peers.nginx import Nginx
from tests.peers.process import Peer, free_port, listens, program
from tests.truth import Call, End

_CONFIGURATION = Template(
    """\
global
    nbthread 2
    log stderr len 8192 format raw local0 info
    ssl-default-bind-options no-sslv3
defaults
    mode http
    log global
    timeout connect 20s
    timeout client 120s
    timeout server 120s
frontend front
    bind 127.0.0.1:$port ssl crt $files alpn h2,http/1.1
    log-format '{"pid":%pid,"method":"%HM","path":"%HPO%HQ","version":"%HV","status":%ST,"client":["%ci",%cp],\
"front":["%fi",%fp],"back":["%bi",%bp],"server":["%si",%sp],"time":%Ts}'
    default_backend behind
backend behind
    server nginx 127.0.0.1:$behind
"""
)
_PROTOCOLS: dict[str, Literal["http/1.0", "http/1.1", "h2"]] = {"HTTP/1.1": "http/1.1", "HTTP/2.0": "h2"}


class _Entry(msgspec.Struct):
    """A line of the log."""

    pid: int
    method: str
    path: str
    version: str
    status: int
    client: tuple[str, int]
    front: tuple[str, int]
    back: tuple[str, int]
    server: tuple[str, int]
    time: int


def _calls(entry: _Entry, behind: Call) -> list[Call]:
    """Both of its views: the call that it served, and the one that it made for that."""
    common = {
        "method": entry.method,
        "path": entry.path,
        "status": entry.status,
        "request_size": behind.request_size,
        "response_size": behind.response_size,
        "pid": entry.pid,
        "time": float(entry.time),
    }
    front = {"local": End(*entry.front), "remote": End(*entry.client), "protocol": _PROTOCOLS[entry.version]}
    back = {"local": End(*entry.back), "remote": End(*entry.server), "protocol": "http/1.1"}
    return [
        msgspec.convert({"role": "server", "tls": True, **front, **common}, Call),
        msgspec.convert({"role": "client", "tls": False, **back, **common}, Call),
    ]


class Haproxy:
    """A running HAProxy with an nginx behind it."""

    def __init__(self, directory: Path, certificate: Certificate) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._behind = Nginx(directory / "nginx", certificate)
        try:
            self._port = free_port("127.0.0.1")
            both = directory / "both.pem"
            both.touch(0o600)
            both.write_bytes(certificate.certificate.read_bytes() + certificate.key.read_bytes())
            configuration = directory / "haproxy.cfg"
            behind = self._behind.ports.plain
            configuration.write_text(_CONFIGURATION.substitute(port=self._port, files=both, behind=behind))
            self._peer = Peer([program("haproxy"), "-db", "-f", str(configuration)], directory / "haproxy.stderr")
            self._peer.wait_until(lambda: listens("127.0.0.1", self._port), "haproxy")
        except BaseException:
            self._behind.stop()
            raise

    @property
    def pids(self) -> list[int]:
        return [self._peer.pid, *self._behind.pids]

    def base(self, address: str, protocol: str, tls: bool) -> str:  # noqa: ARG002 - TLS, both protocols by ALPN
        return f"https://{address}:{self._port}"

    def calls(self) -> list[Call]:
        """Three of each: HAProxy's two, and that of nginx."""
        behind = {(call.method, call.path): call for call in self._behind.calls()}
        found = list(behind.values())
        for line in re.findall(r"^{.*}\n", self._peer.errors.read_text(), re.MULTILINE):
            entry = msgspec.json.decode(line, type=_Entry)
            if served := behind.get((entry.method, entry.path)):
                found += _calls(entry, served)
        return found

    def stop(self) -> None:
        self._peer.stop()
        self._behind.stop()
