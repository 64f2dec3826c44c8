"""Programs that carry bytes between standard input and a TLS connection, with HTTP/1.1 spoken through them by h11:
gnutls-cli, and one with OpenSSL 1.1.1 linked in statically, symbols and all."""

from __future__ import annotations

import hashlib
import os
import select
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import h11

from tests.peers.openssl import KEPT, openssl_1_1_1
from tests.peers.plan import Request
from tests.peers.process import Peer, PeerError, program, wait_until
from tests.truth import Call, End

SOURCE = Path(__file__).parent / "programs" / "pipe.c"
_ESTABLISHED = "01"
READ_SECONDS = 20.0


def static_pipe() -> Path:
    """The program with OpenSSL in it.

    Raises:
        PeerError: it could not be built.
    """
    openssl = openssl_1_1_1()
    built = KEPT / f"pipe-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}"
    if not built.exists():
        fresh = built.with_suffix(f".{os.getpid()}")
        libraries = [str(openssl / "libssl.a"), str(openssl / "libcrypto.a"), "-ldl", "-lpthread"]
        command = [program("cc"), "-I", str(openssl / "include"), "-o", str(fresh), str(SOURCE), *libraries]
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        if done.returncode:
            raise PeerError(f"{SOURCE.name} could not be built: {done.stderr.decode(errors='replace')[-2000:]}")
        fresh.rename(built)
    return built


@dataclass
class Pipe:
    """One connection, all calls one after another."""

    kind: Literal["static", "gnutls-cli"]
    directory: Path
    certificate: Path
    base: str
    pids: list[int] = field(default_factory=list)
    _peer: Peer | None = None

    def drive(self, requests: list[Request]) -> list[Call]:
        self.directory.mkdir(parents=True, exist_ok=True)
        peer = self._peer = Peer(self._command(), self.directory / "stderr")
        self.pids.append(peer.pid)
        to = urlsplit(self.base)
        ends: list[tuple[End, End]] = []

        def connected() -> bool:
            ends[:] = _connections(peer.pid)
            return bool(ends)

        wait_until(connected, 20, "the connection of a pipe")
        http = h11.Connection(h11.CLIENT)
        return [self._call(peer, http, request, to.netloc, ends[0]) for request in requests]

    def stop(self) -> None:
        if self._peer is not None:
            self._peer.stop()

    def _command(self) -> list[str]:
        to = urlsplit(self.base)
        if self.kind == "static":
            return [str(static_pipe()), str(to.hostname), str(to.port)]
        options = ["--logfile=/dev/null", f"--x509cafile={self.certificate}", "-p", str(to.port), str(to.hostname)]
        return [program("gnutls-cli"), *options]

    def _call(self, peer: Peer, http: h11.Connection, request: Request, host: str, ends: tuple[End, End]) -> Call:
        stdin, stdout = peer.process.stdin, peer.process.stdout
        if stdin is None or stdout is None:
            raise PeerError("not a pipe")
        if http.our_state is h11.DONE:
            http.start_next_cycle()
        headers = [("Host", host), *request.headers]
        if request.size:
            length = ("Content-Length", str(request.size))
            headers.append(("Transfer-Encoding", "chunked") if request.chunked else length)
        sent = [http.send(h11.Request(method=request.method, target=request.path, headers=headers))]
        sent += [http.send(h11.Data(data=request.content))] if request.size else []
        sent.append(http.send(h11.EndOfMessage()))
        stdin.write(b"".join(part or b"" for part in sent))
        stdin.flush()
        status = size = 0
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                if not select.select([stdout], [], [], READ_SECONDS)[0]:
                    raise PeerError(f"{self.kind}: no answer in {READ_SECONDS:g} s: {peer.last_words()}")
                http.receive_data(os.read(stdout.fileno(), 65_536))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                size += len(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                raise PeerError(f"{self.kind}: {event!r}: {peer.last_words()}")
        sizes = (request.size, size)
        method, path = request.method, request.path
        return Call("client", method, path, status, *sizes, peer.pid, *ends, "http/1.1", True, time.time())


def _connections(pid: int) -> list[tuple[End, End]]:
    """The process's established TCP connections, as (local, remote) end; IPv4."""
    try:
        links = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
        rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    except OSError:
        return []
    inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
    return [(_end(row[1]), _end(row[2])) for row in rows if row[9] in inodes and row[3] == _ESTABLISHED]


def _end(text: str) -> End:
    address, port = text.split(":")
    return End(".".join(str(byte) for byte in reversed(bytes.fromhex(address))), int(port, 16))
