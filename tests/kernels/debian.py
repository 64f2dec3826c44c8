"""Debian's own kernels, fetched with apt and unpacked beside the machine's files: none is installed.

kernel = debian_kernel()                    # of the release that this machine runs
kernel = debian_kernel(backports=True)      # the newer one that Debian offers for it
"""

from __future__ import annotations

import lzma
import platform
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import zstandard

from tests.peers.openssl import KEPT

PACKAGE = "linux-image-amd64"
"""Depends on the kernel that is the latest in its index."""
FETCH_SECONDS = 200
"""70 to 110 MB."""
FOLDERS = (
    *("drivers/virtio/", "net/9p/", "fs/9p/", "fs/netfs/", "fs/fscache/"),
    *("net/tls/", "crypto/", "arch/x86/crypto/", "lib/crypto/"),
)
"""Of the modules: where those lie that a machine without disks needs, and TLS in the kernel with its ciphers."""

UNPACKERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"\xfd7zXZ\0": lambda packed: lzma.LZMADecompressor().decompress(packed),
    b"\x28\xb5\x2f\xfd": lambda packed: zstandard.ZstdDecompressor().decompressobj().decompress(packed),
}
"""By what the kernel inside an image begins with: xz until Linux 6.1, Zstandard after it."""


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


def debian_kernel(*, backports: bool = False) -> Kernel:
    """The release's own kernel, or the one of its backports.

    Raises:
        KernelError: the package index has none, or it could not be fetched.
    """
    KEPT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=KEPT) as made:
        directory = Path(made)
        # apt's own user is to be able to write there.
        directory.chmod(0o777)
        options = _backports(directory) if backports else []
        told = _command("apt-cache", *options, "depends", PACKAGE)
        match = re.search(r"Depends: (linux-image-(\d\S+-amd64))$", told, re.MULTILINE)
        if match is None:
            raise KernelError(f"the package index has no kernel for {PACKAGE}: run apt-get update\n{told}")
        name, release = match[1], match[2]
        folder = KEPT / name
        if not folder.exists():
            _command("apt-get", *options, "-q", "download", name, where=made)
            _unpack(next(directory.glob("*.deb")), directory / "made")
            (directory / "made").rename(folder)
    modules = {path.name.partition(".ko")[0].replace("-", "_"): path for path in folder.glob("*.ko*")}
    return Kernel(release, folder / "vmlinuz", folder / "vmlinux", modules)


def _backports(directory: Path) -> list[str]:
    """Fetches the index of the release's backports into a folder: options of apt with which it reads that and no other.

    They lie beside the release, so this machine's own package source is where they come from.
    """
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    chosen = ("Created-By: Packages", "Component: main", f"Codename: {codename}")
    told = _command("apt-get", "indextargets", "--format", "$(REPO_URI)", *chosen).split()
    if not told:
        raise KernelError(f"no package source of this machine has the release {codename!r}: run apt-get update")
    (directory / "lists" / "partial").mkdir(parents=True)
    (directory / "sources").write_text(f"deb {told[0]} {codename}-backports main\n")
    settings = {
        "Dir::Etc::SourceList": directory / "sources",
        "Dir::Etc::SourceParts": "-",
        "Dir::State::Lists": directory / "lists",
        "Dir::Cache::PkgCache": "",
        "Dir::Cache::SrcPkgCache": "",
        "Acquire::Languages": "none",
    }
    options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
    _command("apt-get", *options, "-q", "-o", "APT::Update::Error-Mode=any", "update")
    return options


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
    (folder / "vmlinux").write_bytes(_vmlinux((folder / "vmlinuz").read_bytes()))


def _vmlinux(image: bytes) -> bytes:
    """The kernel inside an image. The boot header says where it lies (Documentation/arch/x86/boot.rst, setup_sects and
    payload_offset); after it comes its size."""
    start = (image[0x1F1] + 1) * 512 + int.from_bytes(image[0x248:0x24C], "little")
    packed = image[start : start + int.from_bytes(image[0x24C:0x250], "little")]
    for begin, unpack in UNPACKERS.items():
        if packed.startswith(begin):
            return unpack(packed)
    raise KernelError(f"the kernel inside the image is packed in an unknown way: {packed[:8].hex()}")


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
