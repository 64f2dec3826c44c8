"""Captures that others made: those of tcpdump's and tcpflow's own tests, in the sources of Debian's packages, which
apt's mirror has beside them. Fetched once, checked, and kept for later runs.
"""

from __future__ import annotations

import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

from tests.peers.openssl import KEPT

SOURCES = {
    "tcpdump": (
        "tcpdump_4.99.3.orig.tar.gz",
        "ad75a6ed3dc0d9732945b2e5483cb41dc8b4b528a169315e499c6861952e73b3",
    ),
    "tcpflow": (
        "tcpflow_1.6.1.orig.tar.gz",
        "c1c88513473e12011c0c00bba88dd02013ea3b813b08088f250cbf82b8f42358",
    ),
}
"""Package: its source in Debian 12, and the SHA-256 of that."""
ENDINGS = (".pcap", ".pcapng", ".cap", ".pcap.gz", ".pcapng.gz", ".cap.gz", ".ntar")
FETCH_SECONDS = 60
"""2 MB and 1 MB."""
_FETCH = "/usr/lib/apt/apt-helper"


def below(folder: Path) -> list[Path]:
    """The files below a folder that are captures by their names."""
    return sorted(path for path in folder.rglob("*") if path.name.endswith(ENDINGS) and path.is_file())


def of_package(package: str) -> list[Path]:
    """The captures in a package's source."""
    name, digest = SOURCES[package]
    folder = KEPT / name.removesuffix(".orig.tar.gz")
    if not folder.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=KEPT) as directory:
            Path(directory).chmod(0o777)  # apt's own user is to be able to write there
            told = _said("apt-get", "--print-uris", "download", package)
            uri = re.search(r"'(\S+/)[^/']+'", told)
            assert uri, f"apt knows no place to fetch {package} from: run apt-get update\n{told}"
            archive = Path(directory) / "archive"
            _said(_FETCH, "download-file", uri[1] + name, str(archive), f"SHA256:{digest}")
            _unpack(archive, Path(directory) / "made").rename(folder)
    return below(folder)


def _unpack(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as files:
        for file in files:
            content = files.extractfile(file) if file.name.endswith(ENDINGS) else None
            if content is not None:
                path = folder / file.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())
    return folder


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr[-2000:]}"
    return done.stdout
