"""Debian's nginx with a configuration of its own; its access log, written by the workers, is the truth.

Content is read to its end before it is answered (the mirror module does that), so that `$content_length` is what came
even where the request did not say. The answer is a text of the planned size; for `*.bin` it is a file, which nginx
sends with sendfile(2) where `sendfile` is on and the connection is plaintext: then the content never passes through
user memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from string import Template
from typing import Literal
from urllib.parse import quote

import msgspec

from tests.peers.certificates import Certificate
from tests.peers.nginx_process import configure, start
from tests.peers.plan import SIZES, STATUSES
from tests.peers.process import LOGGED_SECONDS, free_port, wait_until
from tests.truth import Call, End

_CONTINUE = len("HTTP/1.1 100 Continue\r\n\r\n")
"""nginx counts the interim response into $body_bytes_sent; it is not content."""
_PIECE = 1000
"""Bytes a text is composed of: a word of the configuration cannot be longer than 4,096."""

LOG_FORMAT = """map $remote_addr $client_port { default $remote_port; "unix:" ""; }
    map $server_addr $own_port { default $server_port; ~^unix: ""; }
    log_format call escape=json '{"time":$msec,"pid":$pid,"method":"$request_method","path":"$request_uri",'
        '"status":$status,"content_length":"$content_length","body_bytes_sent":$body_bytes_sent,'
        '"expect":"$http_expect","remote_addr":"$remote_addr","remote_port":"$client_port",'
        '"server_addr":"$server_addr","server_port":"$own_port","server_protocol":"$server_protocol",'
        '"https":"$https"}';"""
"""One line of JSON for each call; read by `read_log`. Ports of unix sockets, for which nginx writes what lies in memory
there, are left out."""

_HTTP = Template(
    """\
$log_format
    access_log $prefix/access.log call;
    log_not_found off;
    client_body_buffer_size 512k;
    keepalive_timeout 3600s;
    sendfile $sendfile;
    default_type application/octet-stream;
    $ktls
    ssl_certificate $certificate;
    ssl_certificate_key $key;
    map $$arg_piece $$piece { default "$piece"; }
    map $$arg_size $$text {
        default "";
        $texts
    }
    server {
        listen 127.0.0.1:$plain;
        listen [::1]:$plain;
        listen 127.0.0.1:$h2c http2;
        listen [::1]:$h2c http2;
        listen 127.0.0.1:$tls ssl http2;
        listen [::1]:$tls ssl http2;
        $unix
        location / {
            root $prefix/none;
            mirror /read;
            mirror_request_body on;
            error_page 403 404 405 = @answer;
        }
        location = /read { internal; return 204; }
        location ~ \\.bin$$ {
            root $prefix/files;
            try_files /$$arg_size =404;
        }
        location @answer {
            $answers
            return 200 $$text;
        }
    }"""
)


class _Entry(msgspec.Struct):
    """A line of the access log."""

    time: float
    pid: int
    method: str
    path: str
    status: int
    content_length: str
    body_bytes_sent: int
    expect: str
    remote_addr: str
    remote_port: int | str
    """"" of a unix socket, as the other port."""
    server_addr: str
    server_port: int | str
    server_protocol: str
    https: str


_PROTOCOLS: dict[str, Literal["http/1.0", "http/1.1", "h2"]] = {
    "HTTP/1.0": "http/1.0",
    "HTTP/1.1": "http/1.1",
    "HTTP/2.0": "h2",
}


def _call(entry: _Entry) -> Call:
    interim = _CONTINUE if entry.expect and entry.server_protocol == "HTTP/1.1" else 0
    return Call(
        role="server",
        method=entry.method,
        path=entry.path,
        status=entry.status,
        request_size=int(entry.content_length or 0),
        response_size=entry.body_bytes_sent - interim,
        pid=entry.pid,
        local=_end(entry.server_addr, entry.server_port),
        remote=_end(entry.remote_addr, entry.remote_port),
        protocol=_PROTOCOLS[entry.server_protocol],
        tls=entry.https == "on",
        time=entry.time,
    )


def _end(address: str, port: int | str) -> End:
    """nginx writes unix:PATH, and unix: for an end without a name."""
    return End(address.removeprefix("unix:"), int(port) if port else None)


def read_log(log: Path) -> list[Call]:
    """The calls in an access log of this configuration; an unfinished last line is left out."""
    lines = log.read_bytes().split(b"\n")[:-1] if log.exists() else []
    return [_call(msgspec.json.decode(line, type=_Entry)) for line in lines]


class Ports(msgspec.Struct, frozen=True):
    """Where one nginx listens, on 127.0.0.1 and ::1 alike."""

    plain: int
    h2c: int
    """HTTP/2 with prior knowledge; nginx 1.22 speaks nothing else there."""
    tls: int
    """HTTP/1.1 and HTTP/2, by ALPN."""

    @classmethod
    def free(cls) -> Ports:
        return cls(*(free_port("127.0.0.1") for _ in range(3)))

    def of(self, protocol: str, tls: bool) -> int:
        return self.tls if tls else self.h2c if protocol == "h2" else self.plain


def write_configuration(
    directory: Path,
    certificate: Certificate,
    ports: Ports,
    *,
    workers: int = 1,
    sendfile: bool = False,
    unix: str = "",
    ktls: bool = False,
) -> Path:
    """Writes nginx.conf, the certificate and the files it serves into `directory`; returns the configuration's path."""
    files = directory / "files"
    files.mkdir(parents=True, exist_ok=True)
    for size in SIZES:
        (files / str(size)).write_bytes((b"%d " % size * (size // 2 + 1))[:size])
    texts = [f'{size} "{"${piece}" * (size // _PIECE)}{"x" * (size % _PIECE)}";' for size in SIZES]
    answers = [
        f"if ($arg_status = {status}) {{ return {status} {'/elsewhere' if status == 301 else '$text'}; }}"
        for status in STATUSES
    ]
    http = _HTTP.substitute(
        prefix=directory,
        log_format=LOG_FORMAT,
        sendfile="on" if sendfile else "off",
        ktls="ssl_conf_command Options KTLS;" if ktls else "",
        certificate=directory / "certificate.pem",
        key=directory / "key.pem",
        plain=ports.plain,
        h2c=ports.h2c,
        tls=ports.tls,
        unix=f"listen unix:{unix};" if unix else "",
        piece="y" * _PIECE,
        texts="\n        ".join(texts),
        answers="\n            ".join(answers),
    )
    (directory / "certificate.pem").write_bytes(certificate.certificate.read_bytes())
    key = directory / "key.pem"
    key.touch(0o600)
    key.write_bytes(certificate.key.read_bytes())
    return configure(directory, http, workers=workers)


class Nginx:
    """A running nginx. `calls()` reads what it has logged so far."""

    def __init__(
        self,
        directory: Path,
        certificate: Certificate,
        *,
        workers: int = 1,
        sendfile: bool = False,
        unix: str = "",
        ktls: bool = False,
    ) -> None:
        """`unix`: path of a unix socket that it listens on besides, with HTTP/1.1 in plaintext."""
        self.directory = directory
        self.ports = Ports.free()
        directory.mkdir(parents=True, exist_ok=True)
        configuration = write_configuration(
            directory, certificate, self.ports, workers=workers, sendfile=sendfile, unix=unix, ktls=ktls
        )
        self._peer = start(configuration, self.ports.tls, workers=workers)

    @property
    def pids(self) -> list[int]:
        """The workers, which serve and log; the master does neither."""
        return self._peer.children()

    def base(self, address: str, protocol: str, tls: bool) -> str:
        """The URL that planned paths are appended to."""
        return url(address, self.ports.of(protocol, tls), tls)

    def calls(self) -> list[Call]:
        return read_log(self.directory / "access.log")

    def calls_to(self, paths: Iterable[str]) -> list[Call]:
        """The calls to these paths, of which each has been answered: waits until all of them are in the log."""
        wanted, found = set(paths), dict[str, Call]()

        def logged() -> bool:
            found.update((call.path, call) for call in self.calls() if call.path in wanted)
            return len(found) == len(wanted)

        wait_until(logged, LOGGED_SECONDS, "nginx to log what it has answered")
        return list(found.values())

    def stop(self) -> None:
        self._peer.stop()


def url(address: str, port: int, tls: bool) -> str:
    """A URL without path for a numeric address, or for the path of a unix socket, where the port says nothing."""
    if address.startswith("/"):
        return f"http+unix://{quote(address, safe='')}"
    host = f"[{address}]" if ":" in address else address
    return f"{'https' if tls else 'http'}://{host}:{port}"
