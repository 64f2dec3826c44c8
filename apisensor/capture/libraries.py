"""Which files with TLS functions there are, and the probes on them: once for each real inode."""

from __future__ import annotations

import contextlib
import glob
import os
import time
from collections.abc import Callable, Iterable

import msgspec

from apisensor.capture import procfs
from apisensor.capture.answers import Answers
from apisensor.capture.blind import LAST, UNKNOWN, by_hint, by_name
from apisensor.capture.library import Library
from apisensor.capture.memory_bio import MemoryBios
from apisensor.capture.probes import PER_PROCESS, Programs
from apisensor.finder.answer import Found, Question
from apisensor.finder.functions import library_named, library_of

MOST_LIBRARIES = 4096
"""Files that are attached to at once; further ones are reported and left alone."""

HOST_LIBRARIES = (
    "/usr/lib/*/libssl.so*",
    "/usr/lib/libssl.so*",
    "/usr/lib64/libssl.so*",
    "/usr/local/lib/libssl.so*",
    "/usr/local/lib64/libssl.so*",
    "/usr/lib/*/libgnutls.so*",
    "/usr/lib64/libgnutls.so*",
    "/usr/bin/node",
    "/usr/local/bin/node",
)
"""Attached before any process maps them, so that the host's first process that does is seen from its first byte."""


def identity_of(descriptor: int) -> str:
    """One name for a real inode, until its ctime changes. On an overlay (device major 0) each mount shows the lower
    file with another device: there the inode number with its size and times names it, so that two containers of one
    image count once."""
    status = os.fstat(descriptor)
    if os.major(status.st_dev):
        return f"{status.st_dev}:{status.st_ino}:{status.st_ctime_ns}"
    return f"overlay:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"


class Libraries:
    """Attaches to files as processes map them. The callbacks tell the other parts."""

    def __init__(
        self,
        programs: Programs,
        ask: Callable[[int, Question], Found | None],
        keep: Callable[[str, Library | None, list[int]], None],
        drop: Callable[[str], None],
        report: Callable[[Library], None],
        hazard: str | None = None,
    ) -> None:
        """
        Args:
            ask: sends an open file to the finder, and waits for the answer; None where none came.
            keep: hands the descriptors that hold an attachment over under a label.
            drop: lets a label go.
            report: tells core what is known of a file.
            hazard: why nothing may be attached on this kernel.
        """
        self._hazard = hazard
        self._programs, self._keep, self._report = programs, keep, report
        self._answers = Answers(ask)
        self.known: dict[str, Library] = {}
        self._executables: dict[tuple[int, int, int], str | None] = {}
        self._linked_in: set[tuple[tuple[int, int], int]] = set()
        """Device and inode of files that have TLS linked in and are not named for it; of known ones only."""
        self._identities: dict[tuple[int, int, int, int], str] = {}
        """Device, inode, size and mtime of a file: what it was called when it was first seen."""
        self._memory_bios = MemoryBios(programs, keep, drop)

    def restore(self, label: str, library: Library | None) -> None:
        """Takes over what a predecessor had attached."""
        if library is not None:
            self.known[label] = library
        else:
            self._memory_bios.restore(label)

    def _identity(self, descriptor: int) -> str:
        """The file's name. An upgrade that renames another one over it changes its ctime and nothing else: it is the
        same inode, which its probes hold, and must not get them twice."""
        status = os.fstat(descriptor)
        place = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if place not in self._identities:
            if len(self._identities) >= 4 * MOST_LIBRARIES:  # each container has places of its own
                self._identities.clear()
            self._identities[place] = identity_of(descriptor)
        return self._identities[place]

    def attach_host(self) -> None:
        """Attaches to the distribution's libraries ahead of time."""
        for pattern in HOST_LIBRARIES:
            for path in glob.glob(pattern):
                try:
                    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                except OSError:
                    continue
                self._consider(descriptor, os.path.realpath(path), None, time.monotonic_ns())
        for pattern in HOST_LIBRARIES:
            # Known ahead too: when a process turns out to need probes on it, its first call is under way.
            for path in glob.glob(pattern.replace("libssl", "libcrypto")):
                with contextlib.suppress(OSError), open(path, "rb") as file:
                    self._functions_of(file.fileno())

    def look_at(self, pid: int, seen_ns: int) -> None:
        """Looks over everything that a process has mapped, its own program included."""
        for file in procfs.mapped_files(pid):
            if procfs.is_tls_library(file.path):
                self.mapped(pid, file, seen_ns)
        self.executed(pid, seen_ns)

    def search(self, pid: int, seen_ns: int) -> None:
        """Looks into every file that a process has mapped as code: TLS may be linked into any of them."""
        for file in procfs.mapped_files(pid):
            if self.mapped(pid, file, seen_ns) is not None and not procfs.is_tls_library(file.path):
                self._linked_in.add((file.device, file.inode))

    def explain(self, pid: int) -> str | None:
        """Why TLS of this process is not seen, and what would help; one line. None: it has ended."""
        for library in self.of_process(pid):
            if not library.attached:
                return f"{library.library} in {library.path} is not attached: {library.reason}"
        files = list(procfs.mapped_files(pid))
        if not files:
            return None
        paths = [file.path for file in files]
        return by_name(paths) or self.explain_another(pid, files) or by_name(paths, LAST) or UNKNOWN

    def explain_another(self, pid: int, files: Iterable[procfs.MappedFile] | None = None) -> str | None:
        """The same of TLS that is linked into one of its files and is not attached to; None where there is none."""
        for file in procfs.mapped_files(pid) if files is None else files:
            descriptor = procfs.open_mapped(pid, file)
            if descriptor is None:
                continue
            try:
                # libcrypto without libssl is no TLS, and has the same texts.
                if self._identity(descriptor) in self.known or procfs.is_crypto_library(file.path):
                    continue
                functions = self._functions_of(descriptor)
                if functions is not None and functions.error is not None:
                    return f"{file.path}: {functions.error}"
                found = self._answers.of(self._identity(descriptor), descriptor, Question.HINT)
            finally:
                os.close(descriptor)
            if found is not None and found.hint is not None:
                return by_hint(found.hint, file.path)
        return None

    def mapped(self, pid: int, file: procfs.MappedFile, seen_ns: int) -> Library | None:
        """A process has mapped a file that is named like a TLS library. Returns what is known of it."""
        descriptor = procfs.open_mapped(pid, file)
        identity, _ = self._consider(descriptor, file.path, pid, seen_ns) if descriptor is not None else (None, False)
        return self.known[identity] if identity is not None else None

    def executed(self, pid: int, seen_ns: int) -> Library | None:
        """A process runs a program; it may have TLS built in (Node.js, Go). Returns what is known of it."""
        try:
            status = os.stat(f"/proc/{pid}/exe")
        except OSError:
            return None
        key = (status.st_dev, status.st_ino, status.st_ctime_ns)
        if key in self._executables:
            identity = self._executables[key]
            return self.known[identity] if identity is not None else None
        if len(self._executables) >= MOST_LIBRARIES:
            self._executables.clear()
        try:
            descriptor = os.open(f"/proc/{pid}/exe", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        path = procfs.executable(pid) or "?"
        identity, answered = self._consider(descriptor, path, pid, seen_ns)
        if answered:
            self._executables[key] = identity
        return self.known[identity] if identity is not None else None

    def of_process(self, pid: int) -> list[Library]:
        """The known files with TLS functions that a process has mapped."""
        found = []
        for file in procfs.mapped_files(pid):
            if procfs.is_tls_library(file.path) or (file.device, file.inode) in self._linked_in:
                descriptor = procfs.open_mapped(pid, file)
                if descriptor is not None:
                    library = self.known.get(self._identity(descriptor))
                    os.close(descriptor)
                    if library is not None:
                        found.append(library)
        try:
            status = os.stat(f"/proc/{pid}/exe")
        except OSError:
            return found
        built_in = self._executables.get((status.st_dev, status.st_ino, status.st_ctime_ns))
        if built_in is not None and all(library.identity != built_in for library in found):
            found.append(self.known[built_in])
        return found

    def _consider(self, descriptor: int, path: str, pid: int | None, seen_ns: int) -> tuple[str | None, bool]:
        """Attaches to an open file if it has TLS functions and is new; closes it.

        Returns:
            Its identity if it has such functions, and whether that is known: without an answer of the finder it is
            asked about again when the next process maps or runs it.
        """
        try:
            identity = self._identity(descriptor)
            if identity in self.known:
                return identity, True
            found = self._functions_of(descriptor)
            if found is None:
                return None, False
            offsets = found.offsets
            kind = library_of(offsets.keys())
            if kind is None:
                if named := library_named(path):
                    why = found.error or f"none of the functions of {named} in it"
                    self._learn(Library(identity, path, named, {}, None, False, why, 0.0))
                return None, True
            reason = self._hazard
            links: list[int] = []
            if reason is not None:
                pass
            elif len(self.known) >= MOST_LIBRARIES:
                reason = f"more than {MOST_LIBRARIES} libraries"
            else:
                try:
                    links = self._programs.attach_library(descriptor, found)
                except OSError as error:
                    reason = str(error)
            delay = (time.monotonic_ns() - seen_ns) / 1e6
            # Probes first; the version, for which the whole file is read, after them.
            library = Library(identity, path, kind, offsets, None, reason is None, reason, delay)
            if reason is None:
                self._keep(identity, library, links)
            version = self._version_of(descriptor) or self._version_beside(pid, path)
            self._learn(msgspec.structs.replace(library, version=version))
            return identity, True
        finally:
            os.close(descriptor)

    def _learn(self, library: Library) -> None:
        self.known[library.identity] = library
        self._report(library)

    def _version_beside(self, pid: int | None, path: str) -> str | None:
        """OpenSSL's version text is in libcrypto: the one of the same process, else the one in the same folder."""
        if pid is not None:
            for file in procfs.mapped_files(pid):
                if procfs.is_crypto_library(file.path):
                    return self._version_of(procfs.open_mapped(pid, file), close=True)
            return None
        beside = os.path.join(os.path.dirname(path), os.path.basename(path).replace("libssl", "libcrypto"))
        try:
            return self._version_of(os.open(beside, os.O_RDONLY | os.O_CLOEXEC), close=True)
        except OSError:
            return None

    def _version_of(self, descriptor: int | None, *, close: bool = False) -> str | None:
        """The version that an open file states."""
        if descriptor is None:
            return None
        try:
            found = self._answers.of(self._identity(descriptor), descriptor, Question.VERSION)
            return found.version if found is not None else None
        finally:
            if close:
                os.close(descriptor)

    def _functions_of(self, descriptor: int) -> Found | None:
        """What the finder says of an open file; None where it did not answer."""
        return self._answers.of(self._identity(descriptor), descriptor, Question.FUNCTIONS)

    def memory_bio(self, pid: int) -> bool:
        """A process has TLS sessions that make no socket calls: observe what they write. False: not possible."""
        if pid in self._memory_bios:
            return True
        program = procfs.executable_inode(pid)
        for file in procfs.mapped_files(pid):
            if not procfs.is_crypto_library(file.path) and (program is None or file.inode != program[0]):
                continue
            descriptor = procfs.open_mapped(pid, file)
            if descriptor is None:
                continue
            try:
                found = self._functions_of(descriptor)
                if found is None or not any(name in PER_PROCESS for name in found.offsets):
                    continue
                return self._memory_bios.observe(pid, self._identity(descriptor), descriptor, found.offsets)
            except OSError:
                continue
            finally:
                os.close(descriptor)
        return False

    def gone(self, pid: int) -> None:
        """A process has ended."""
        self._memory_bios.gone(pid)
