"""Debian's build of grpcio (python3-grpcio), on the shared OpenSSL; the one on PyPI has a BoringSSL linked in."""

from __future__ import annotations

from pathlib import Path

from tests.peers.openssl import KEPT
from tests.peers.process import PeerError

DEBIAN_GRPCIO = "debian-grpcio"
INSTALLED = Path("/usr/lib/python3/dist-packages/grpc")


def debian_grpcio() -> Path:
    """A folder that has it alone: before the virtual environment's own on a path, and nothing else is another one.

    Raises:
        PeerError: it is not installed.
    """
    if not INSTALLED.is_dir():
        raise PeerError("python3-grpcio is not installed; tests/packages.txt lists what the tests need")
    folder = KEPT / DEBIAN_GRPCIO
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / INSTALLED.name
    if not link.is_symlink():
        link.symlink_to(INSTALLED)
    return folder
