"""OpenSSL 1.1.1, built once from the source that the Rust crate openssl-src brings, and kept for later runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.peers.process import PeerError, program

CRATE = "=111.28.2"
"""OpenSSL 1.1.1w, the last of that branch."""
KEPT = Path(os.environ.get("XDG_CACHE_HOME") or "/var/cache") / "apisensor-tests"
BUILD_SECONDS = 280
"""It takes 25 s on two idle cores."""
_LEFT_OUT = (
    "tests engine aria bf blake2 camellia cast cms comp dtls gost idea md4 mdc2 ocb rc2 rc4 rmd160 scrypt seed siphash "
    "sm2 sm3 sm4 srp ts whirlpool ec2m"
)
"""What no test needs and would take longer to build."""


def openssl_1_1_1() -> Path:
    """The folder with libssl.so.1.1, libcrypto.so.1.1, and both as static libraries.

    Raises:
        PeerError: it could not be built.
    """
    folder = KEPT / f"openssl-src-{CRATE.strip('=')}"
    if (folder / "libssl.so.1.1").exists():
        return folder
    KEPT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=KEPT) as directory:
        log = Path(directory) / "log"
        try:
            built = _build(Path(directory), log)
        except (subprocess.SubprocessError, OSError, IndexError) as error:
            said = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise PeerError(f"OpenSSL 1.1.1 could not be built: {error}\n{said}") from error
        made = Path(directory) / "made"
        made.mkdir()
        for name in ("libssl.so.1.1", "libcrypto.so.1.1", "libssl.a", "libcrypto.a"):
            shutil.copy(built / name, made)
        shutil.copytree(built / "include", made / "include")
        made.rename(folder)
    return folder


def _build(directory: Path, log: Path) -> Path:
    cargo = program("cargo")
    project = directory / "fetch"
    (project / "src").mkdir(parents=True)
    (project / "src" / "lib.rs").touch()
    manifest = f'[package]\nname = "fetch"\nversion = "0.0.0"\n[dependencies]\nopenssl-src = "{CRATE}"\n'
    (project / "Cargo.toml").write_text(manifest)
    environment = dict(os.environ)
    if bundle := environment.get("SSL_CERT_FILE"):
        environment.setdefault("CARGO_HTTP_CAINFO", bundle)  # cargo's curl does not know OpenSSL's variable
    with log.open("wb") as output:

        def run(*command: str, where: Path) -> None:
            subprocess.run(
                command, cwd=where, env=environment, stdout=output, stderr=output, check=True, timeout=BUILD_SECONDS
            )

        run(cargo, "vendor", "vendored", where=project)
        source = project / "vendored" / "openssl-src" / "openssl"
        left_out = [f"no-{name}" for name in _LEFT_OUT.split()]
        run(program("perl"), "Configure", "linux-x86_64", "shared", *left_out, where=source)
        # Not in one: the library would not wait for the headers.
        for target in (["build_generated"], ["-j2", "libssl.so", "libcrypto.a", "libssl.a"]):
            run(program("make"), "CFLAGS=-O1", *target, where=source)
    return source
