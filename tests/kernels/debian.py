"""Debian's own kernels, fetched with apt and unpacked beside the machine's files: none is installed.

kernel = debian_kernel("linux-image-amd64")     # of the distribution that this machine runs
"""

from __future__ import annotations

import lzma
import re
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.peers.openssl import KEPT

FETCH_SECONDS = 200
"""70 MB."""
FOLDERS = (
    *("drivers/virtio/", "net/9p/", "fs/9p/", "fs/netfs/", "fs/fscache/"),
    *("net/tls/", "crypto/", "arch/x86/crypto/", "lib/crypto/"),
)
"""Of the modules: where those lie that a machine without disks needs, and TLS in the kernel with its ciphers."""


XZ = b"\xfd7zXZ\0"
"""What the compressed kernel inside an image begins with."""


class KernelError(Exception):
    """No kernel could be had; the text says why."""


@dataclass(frozen=True)
class Kernel:
    """One kernel that can be booted."""

    release: str
    """As `uname -r` says it."""
    image: Path
    types: Path
    """An ELF file with its BTF: the image, unpacked."""
    modules: dict[str, Path]
    """By name, as the kernel says it (with underscores)."""

    @property
    def version(self) -> str:
        """As `uname -v` says it. The boot header has both (Documentation/arch/x86/boot.rst, kernel_version)."""
        content = self.image.read_bytes()
        at = 0x200 + int.from_bytes(content[0x20E:0x210], "little")
        return "#" + content[at : content.index(b"\0", at)].decode().partition("#")[2]

    def needed(self, *names: str) -> list[tuple[str, bytes]]:
        """These modules and what they depend on, each after what it needs. What the kernel has built in is left out."""
        found: dict[str, bytes] = {}

        def visit(name: str) -> None:
            path = self.modules.get(name)
            if path is None or name in found:
                return
            content = path.read_bytes()
            if path.suffix == ".xz":
                content = lzma.decompress(content)
            told = re.search(rb"\0depends=([\w,-]*)\0", content)
            for dependency in told[1].decode().split(",") if told else ():
                visit(dependency.replace("-", "_"))
            found[name] = content

        for name in names:
            visit(name)
        return list(found.items())


def debian_kernel(package: str) -> Kernel:
    """The kernel that a Debian package depends on.

    Raises:
        KernelError: the package index has none, or it could not be fetched.
    """
    told = _command("apt-cache", "depends", package)
    match = re.search(r"Depends: (linux-image-(\d\S+-amd64))$", told, re.MULTILINE)
    if match is None:
        raise KernelError(f"the package index has no kernel for {package}: run apt-get update\n{told}")
    name, release = match[1], match[2]
    folder = KEPT / name
    if not folder.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=KEPT) as directory:
            # apt's own user is to be able to write there.
            Path(directory).chmod(0o777)
            _command("apt-get", "-q", "download", name, where=directory)
            made = Path(directory) / "made"
            _unpack(next(Path(directory).glob("*.deb")), made)
            made.rename(folder)
    modules = {path.name.partition(".ko")[0].replace("-", "_"): path for path in folder.glob("*.ko*")}
    return Kernel(release, folder / "vmlinuz", folder / "vmlinux", modules)


def _unpack(archive: Path, folder: Path) -> None:
    folder.mkdir()
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as files,
    ):
        for file in files:
            content = files.extractfile(file) if file.isfile() else None
            name = Path(file.name).name
            if content is None:
                continue
            if name.startswith("vmlinuz-"):
                (folder / "vmlinuz").write_bytes(content.read())
            elif any(f"/kernel/{place}" in file.name for place in FOLDERS):
                (folder / name).write_bytes(content.read())
    if not (folder / "vmlinuz").exists():
        raise KernelError(f"{archive.name} holds no kernel image")
    packed = (folder / "vmlinuz").read_bytes()
    (folder / "vmlinux").write_bytes(lzma.LZMADecompressor().decompress(packed[packed.index(XZ) :]))


def _command(*command: str, where: str | None = None) -> str:
    try:
        done = subprocess.run(
            command, cwd=where, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False, env=None
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelError(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        raise KernelError(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return done.stdout
