"""The peers in Go, built once for each state of their source, with and without symbols, and kept for later runs."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.peers.openssl import KEPT
from tests.peers.process import PeerError, program

SOURCE = Path(__file__).parent / "programs" / "go"
BUILD_SECONDS = 200
TRIES = 3
FORMS = {
    "go": ["./http"],
    "go-stripped": ["-ldflags=-s -w", "./http"],
    "go-pie": ["-buildmode=pie", "-ldflags=-s -w", "./http"],
    "grpc-go": ["-ldflags=-s -w", "./rpc"],
}
"""Which program, and how it is built: with symbols, without, and at an address that is chosen when it starts."""
GOFLAGS = "-trimpath"
"""Of all builds, Jaeger's too: with the same flags Go's standard library is compiled once."""


def go_peers(form: str) -> Path:
    """The program in one of `FORMS`.

    Raises:
        PeerError: it could not be built.
    """
    go = program("go")
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": GOFLAGS, "GOWORK": "off", "CGO_ENABLED": "0"}
    told = subprocess.run([go, "version"], env=environment, capture_output=True, check=True, timeout=30).stdout
    files = sorted(file for file in SOURCE.rglob("*") if file.is_file())
    state = hashlib.sha256(b"\0".join([told, *(file.read_bytes() for file in files)])).hexdigest()[:16]
    built = KEPT / f"{form}-{state}"
    if not built.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        fresh = built.with_suffix(f".{os.getpid()}")
        said = build([go, "build", "-o", str(fresh), *FORMS[form]], SOURCE, environment, BUILD_SECONDS)
        if said is not None:
            raise PeerError(f"the Go peers could not be built: {said}")
        fresh.rename(built)
    return built


def build(command: Sequence[str], folder: Path, environment: Mapping[str, str], seconds: float) -> str | None:
    """Runs a build in a folder, once more where it fails: Go does not ask again for a module that it did not get, and
    keeps what it has got and compiled. Returns None, or the last words of one that fails each time.

    Raises:
        subprocess.TimeoutExpired: a try took longer than so many seconds.
    """
    said = None
    for _ in range(TRIES):
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=seconds, check=False)
        if done.returncode == 0:
            return None
        said = done.stderr.decode(errors="replace")[-2000:]
    return said
