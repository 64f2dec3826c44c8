"""A self-signed certificate for loopback, made by openssl once a session."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """PEM files. The certificate is its own authority: clients trust exactly it."""

    certificate: Path
    key: Path


def make(directory: Path) -> Certificate:
    """Makes `certificate.pem` and `key.pem` for 127.0.0.1, ::1 and localhost, or returns those that are there."""
    made = Certificate(directory / "certificate.pem", directory / "key.pem")
    if not made.certificate.exists():
        directory.mkdir(parents=True, exist_ok=True)
        command = "openssl req -x509 -nodes -days 30 -subj /CN=localhost -newkey ec -pkeyopt ec_paramgen_curve:P-256"
        names = "subjectAltName=IP:127.0.0.1,IP:::1,DNS:localhost"
        files = ["-addext", names, "-keyout", str(made.key), "-out", str(made.certificate)]
        subprocess.run([*command.split(), *files], check=True, capture_output=True, timeout=30)
        made.key.chmod(0o600)
    return made
