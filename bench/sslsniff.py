"""bcc's sslsniff, from the distribution's bpfcc-tools, on one process; what it prints goes to /dev/null.

As it is it does not compile where `min` is no macro of the kernel's headers, and where there are none at all: the one
use of it is written out when it is started, and the headers are those that the sensor's loader makes.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

from apisensor.loader.headers import make_headers
from tests.peers.process import program, wait_until

START_SECONDS = 60.0
_PATCHES = {
    "min((size_t)MAX_BUF_SIZE, (size_t)len)": "(size_t)len < (size_t)MAX_BUF_SIZE ? (size_t)len : (size_t)MAX_BUF_SIZE",
    # Of a header that is none of the user-space API's.
    "b = BPF(text=prog)": 'b = BPF(text=prog, cflags=["-DTASK_COMM_LEN=16"])',
    # Its heading tells that all is attached.
    "\nprint(header)\n": "\nimport sys\nprint(header, file=sys.stderr, flush=True)\n",
}


_EVERYWHERE = ("pid=args.pid or -1", "pid=-1")
"""Attached to one process bcc's probes are refused here. Its program looks at the process by itself, and what makes the
load has another file."""


def find(given: str | None) -> str:
    """Where it lies. Raises PeerError: nowhere."""
    return given or program("sslsniff-bpfcc")


def patched(text: str) -> str:
    """The program as it can be run here. Raises ValueError: it is another version."""
    for old, new in _PATCHES.items():
        if text.count(old) != 1:
            raise ValueError(f"this sslsniff is not bcc 0.26's: it has not one {old.strip()!r}")
        text = text.replace(old, new)
    return text.replace(*_EVERYWHERE)


class SslSniff:
    """A context manager: attached when it is entered, gone when it is left."""

    def __init__(self, script: str, pid: int) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="apisensor-sslsniff-"))
        (self._directory / "sslsniff.py").write_text(patched(Path(script).read_text(encoding="utf-8")))
        make_headers(str(self._directory / "headers"))
        self._observed = pid

    def __enter__(self) -> SslSniff:
        log = self._directory / "stderr"
        command = ["/usr/bin/python3", str(self._directory / "sslsniff.py"), "-p", str(self._observed), "-g", "-n"]
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                command,
                env={"PATH": "/usr/sbin:/usr/bin:/bin", "BCC_KERNEL_SOURCE": str(self._directory / "headers")},
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )

        def attached() -> bool:
            if self._process.poll() is not None:
                raise RuntimeError(f"sslsniff: {log.read_text()[-2000:]}")
            return "FUNC" in log.read_text()

        wait_until(attached, START_SECONDS, "sslsniff")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(30)
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def pid(self) -> int:
        return self._process.pid
