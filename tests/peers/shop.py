"""The shop (programs/shop.py) as a peer: its secrets are made anew each time, so that finding one anywhere tells."""

from __future__ import annotations

import secrets
import sys
from collections import Counter
from pathlib import Path

import msgspec

from tests.content.tokens import with_check_digit
from tests.peers.certificates import Certificate
from tests.peers.nginx import url
from tests.peers.process import ROOT, Peer


class Served(msgspec.Struct, frozen=True):
    """A call as the shop's own router saw it."""

    method: str
    route: str | None
    """None: it has no such route."""
    status: int


class Shop:
    """A running shop. `served()` reads what it has logged so far."""

    def __init__(self, directory: Path, certificate: Certificate, *, tls: bool = True, service: str = "shop") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.tls, self.certificate = tls, certificate
        self.password = f"pw-{secrets.token_hex(12)}"
        self.token = f"tok-{secrets.token_hex(16)}"
        self.card = with_check_digit(f"400000{secrets.randbelow(10**9):09}")
        self._log = directory / "served.jsonl"
        options = {
            "log": str(self._log),
            "tls": tls,
            "certificate": str(certificate.certificate),
            "key": str(certificate.key),
            "address": "127.0.0.1",
            "password": self.password,
            "token": self.token,
            "card": self.card,
        }
        # The secrets go by the argument list, which the sensor reads: they must not get further than that.
        program = [sys.executable, "-m", "tests.peers.programs.shop", msgspec.json.encode(options).decode()]
        self._peer = Peer(
            ["/usr/bin/env", f"OTEL_SERVICE_NAME={service}", f"PYTHONPATH={ROOT}", *program], directory / "stderr"
        )
        self.port = int(self._peer.wait_ready()[0])

    @property
    def pid(self) -> int:
        return self._peer.pid

    @property
    def base(self) -> str:
        return url("127.0.0.1", self.port, self.tls)

    @property
    def secrets(self) -> list[str]:
        return [self.password, self.token, self.card]

    def served(self) -> list[Served]:
        return [msgspec.json.decode(line, type=Served) for line in self._log.read_bytes().splitlines()]

    def counted(self) -> Counter[tuple[str, str | None, int]]:
        """(method, route, status): calls."""
        return Counter((call.method, call.route, call.status) for call in self.served())

    def stop(self) -> None:
        self._peer.stop()
