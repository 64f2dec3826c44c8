"""Which program goes on which function, and the attaching itself."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from apisensor.capture.kernel import attach_uprobe, attach_uprobe_multi, open_raw_tracepoint

ENTRY = {
    "SSL_read": "tls_read_enter",
    "SSL_write": "tls_write_enter",
    "SSL_read_ex": "tls_read_ex_enter",
    "SSL_write_ex": "tls_write_ex_enter",
    "SSL_write_ex2": "tls_write_ex2_enter",
    "SSL_do_handshake": "tls_handshake_enter",
    "SSL_set_fd": "tls_set_fd",
    "SSL_set_rfd": "tls_set_fd",
    "SSL_set_wfd": "tls_set_fd",
    "SSL_set_bio": "tls_set_bio",
    "SSL_free": "tls_free",
    "SSL_clear": "tls_clear",
}
"""Function: program at its entry, in every process that maps the file."""
RETURN = dict.fromkeys(
    ("SSL_read", "SSL_write", "SSL_read_ex", "SSL_write_ex", "SSL_write_ex2", "SSL_do_handshake"), "tls_return"
)
"""Function: program at its return."""
PER_PROCESS = {"BIO_write": "tls_bio_write"}
"""Function: program at its entry, only in processes with memory BIOs: others would pay a trap for each TLS record."""


class Programs:
    """The loaded programs by name, and how uprobes are attached on this kernel."""

    def __init__(self, descriptors: Mapping[str, int], *, uprobe_multi: bool) -> None:
        self._descriptors = descriptors
        self._multi = uprobe_multi

    def attach_tracepoints(self) -> list[int]:
        """Attaches every tracepoint program that was loaded; returns the descriptors that hold the attachments."""
        held = []
        for name, program in self._descriptors.items():
            kind, _, place = name.partition(":")
            if kind == "tracepoint":
                held.append(open_raw_tracepoint(program, place))
        return held

    def attach_library(self, descriptor: int, offsets: Mapping[str, int]) -> list[int]:
        """Attaches entry and return programs to an open file, for all processes.

        Raises OSError; then nothing is held.
        """
        # Returns first: an entry whose return is not observed yet would leave a stale call behind.
        wanted = [(program, function, True) for function, program in RETURN.items()]
        wanted += [(program, function, False) for function, program in ENTRY.items()]
        return self._attach(descriptor, offsets, wanted, 0)

    def attach_process(self, descriptor: int, offsets: Mapping[str, int], pid: int) -> list[int]:
        """Attaches the programs that only processes with memory BIOs need. Raises OSError; then nothing is held."""
        return self._attach(descriptor, offsets, [(p, function, False) for function, p in PER_PROCESS.items()], pid)

    def _attach(
        self, descriptor: int, offsets: Mapping[str, int], wanted: list[tuple[str, str, bool]], pid: int
    ) -> list[int]:
        path = f"/proc/self/fd/{descriptor}"
        places: dict[tuple[str, bool], list[int]] = {}
        for program, function, on_return in wanted:
            if function in offsets and offsets[function] not in places.setdefault((program, on_return), []):
                places[program, on_return].append(offsets[function])
        held: list[int] = []
        try:
            for (name, on_return), where in places.items():
                if not where:
                    continue
                program_descriptor = self._descriptors[f"uprobe:{name}"]
                if self._multi:
                    held.append(attach_uprobe_multi(program_descriptor, path, where, on_return=on_return, pid=pid))
                else:
                    for offset in where:
                        held.append(attach_uprobe(program_descriptor, path, offset, on_return=on_return, pid=pid))
        except OSError as error:
            for link in held:
                os.close(link)
            if error.errno == errno.ESRCH:
                raise ProcessLookupError(f"process {pid} is gone") from error
            raise
        return held
