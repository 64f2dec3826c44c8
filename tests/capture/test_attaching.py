"""What is attached, once for each real file: real files, mounts and mappings; attaching itself in memory."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from apisensor.capture import procfs
from apisensor.capture.answers import MOST_TRIES
from apisensor.capture.kernel import possible_processors
from apisensor.capture.libraries import Libraries, identity_of
from apisensor.capture.library import Library
from apisensor.capture.mappings import MappingWatch
from apisensor.capture.probes import ENTRY, RETURN, Places, Programs
from apisensor.finder.answer import Found, Question
from apisensor.finder.functions import LIBRARIES, ROLES, Role
from apisensor.loader.source import UPROBES


class Attaching(Programs):
    def __init__(self, error: OSError | None = None) -> None:
        self.found: list[Found] = []
        self._error = error

    def attach_library(self, descriptor: int, found: Found) -> list[int]:
        os.fstat(descriptor)
        if self._error:
            raise self._error
        self.found.append(found)
        return []


class Room:
    """The files that are known, and everything around that is asked or told."""

    def __init__(self, found: Found | None, *, error: OSError | None = None, hazard: str | None = None) -> None:
        self.found = found
        self.questions = self.hints = 0
        """For functions, and for hints; those for a version apart."""
        self.kept: list[str] = []
        self.reported: list[Library] = []
        self.programs = Attaching(error)
        self.libraries = Libraries(
            self.programs,
            self._ask,
            lambda label, _library, _links: self.kept.append(label),
            lambda _label: None,
            self.reported.append,
            hazard,
        )

    def _ask(self, descriptor: int, question: Question) -> Found | None:
        os.fstat(descriptor)
        self.questions += question is Question.FUNCTIONS
        self.hints += question is Question.HINT
        return self.found

    def map(self, path: Path) -> None:
        """This process has mapped the file, as far as the library table is concerned."""
        status = path.stat()
        device = (os.major(status.st_dev), os.minor(status.st_dev))
        file = procfs.MappedFile(device, status.st_ino, str(path), "1000-2000")
        self.libraries.mapped(os.getpid(), file, time.monotonic_ns())


FOUND = Found({"SSL_read": 64, "SSL_write": 128}, version="3.0.1")


@pytest.fixture
def library(tmp_path: Path) -> Path:
    path = tmp_path / "libssl.so.3"
    path.write_bytes(bytes(4096))
    return path


def test_a_file_is_attached_once_whatever_it_is_called(library: Path) -> None:
    room = Room(FOUND)
    other = library.with_name("libssl-again.so")
    os.link(library, other)
    before = len(os.listdir("/proc/self/fd"))
    for path in (library, other, library):
        room.map(path)
    assert len(os.listdir("/proc/self/fd")) == before
    assert room.questions == 1
    (known,) = room.reported
    assert (known.path, known.version, known.attached, known.reason) == (str(library), "3.0.1", True, None)
    assert room.kept == [known.identity]
    copied = library.with_name("libssl-copy.so")
    shutil.copy(library, copied)
    room.map(copied)
    assert room.questions == 2
    assert len(room.libraries.known) == 2


@pytest.mark.kernel
def test_a_file_that_is_replaced_stays_the_one_that_it_is(library: Path) -> None:
    """Whoever runs it has it mapped still. What changes with its name is its ctime."""
    room = Room(FOUND)
    with library.open("rb") as file:
        mapping = mmap.mmap(file.fileno(), 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)

    def look() -> None:
        (found,) = [mapped for mapped in procfs.mapped_files(os.getpid()) if mapped.path == str(library)]
        assert room.libraries.mapped(os.getpid(), found, time.monotonic_ns()) == room.reported[0]

    look()
    library.chmod(0o600)
    look()
    new = library.with_name("new")
    shutil.copy(library, new)
    new.rename(library)
    look()
    assert room.questions == len(room.kept) == len(room.reported) == 1
    mapping.close()
    room.map(library)  # the new file
    assert room.questions == len(room.kept) == len(room.reported) == 2
    library.write_bytes(bytes(8192))  # in its place: its functions may be others
    room.map(library)
    assert room.questions == len(room.kept) == len(room.reported) == 3


@pytest.mark.parametrize(
    ("found", "error", "hazard", "reason"),
    [
        (Found({}), None, None, "none of the functions of openssl in it"),
        (FOUND, PermissionError(1, "not permitted"), None, "not permitted"),
        (FOUND, None, "this kernel would end it", "this kernel would end it"),
    ],
)
def test_what_is_not_attached_says_why(
    library: Path, found: Found, error: OSError | None, hazard: str | None, reason: str
) -> None:
    room = Room(found, error=error, hazard=hazard)
    room.map(library)
    room.map(library)
    (known,) = room.reported
    assert not known.attached
    assert reason in (known.reason or "")
    assert room.kept == []
    assert room.programs.found == []


def test_without_an_answer_it_is_asked_again(library: Path) -> None:
    room = Room(None)
    room.map(library)
    assert room.reported == []
    room.found = FOUND
    room.map(library)
    assert [known.attached for known in room.reported] == [True]


def test_a_file_that_never_has_an_answer_is_named_and_left_alone(library: Path) -> None:
    """Each question that it ends or holds up the finder with would be waited for."""
    room = Room(None)
    for _ in range(10):
        room.map(library)
    assert room.questions == MOST_TRIES
    (known,) = room.reported
    assert not known.attached
    assert "the finder gave no answer" in (known.reason or "")


def test_a_program_is_asked_about_again_too() -> None:
    """It is executed while the finder is being started again, as this one is."""
    room = Room(None)
    assert room.libraries.executed(os.getpid(), time.monotonic_ns()) is None
    room.found = FOUND
    found = room.libraries.executed(os.getpid(), time.monotonic_ns())
    assert found is not None
    assert found.attached
    assert room.questions == 2
    assert room.libraries.executed(os.getpid(), time.monotonic_ns()) == found
    assert room.questions == 2


def test_a_hint_is_asked_for_once() -> None:
    """Each process of a program is explained, and the program is read to its end for it."""
    room = Room(Found({}, hint="rustls"))
    texts = {room.libraries.explain_another(os.getpid()) for _ in range(3)}
    assert len(texts) == 1
    assert room.hints == 1


@pytest.mark.kernel
def test_two_overlays_of_one_folder_show_one_file(tmp_path: Path) -> None:
    """As two containers of one image: two device numbers, one inode. A file of the upper layer is another."""
    lower = tmp_path / "lower"
    lower.mkdir()
    (lower / "libssl.so.3").write_bytes(b"one")
    mounted: list[Path] = []
    # An overlay's upper layer must not lie on an overlay, as a container's /tmp does.
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(disk)], check=True)
    mounted.append(disk)
    try:
        for name in ("a", "b"):
            for folder in ("upper", "work", "merged"):
                (disk / name / folder).mkdir(parents=True)
            merged = disk / name / "merged"
            where = f"lowerdir={lower},upperdir={disk}/{name}/upper,workdir={disk}/{name}/work"
            subprocess.run(["mount", "-t", "overlay", "overlay", "-o", where, str(merged)], check=True)
            mounted.append(merged)

        def identity(name: str) -> str:
            descriptor = os.open(disk / name / "merged" / "libssl.so.3", os.O_RDONLY)
            try:
                return identity_of(descriptor)
            finally:
                os.close(descriptor)

        devices = {os.stat(disk / name / "merged" / "libssl.so.3").st_dev for name in ("a", "b")}
        assert len(devices) == 2
        assert identity("a") == identity("b")
        (disk / "b" / "merged" / "libssl.so.3").write_bytes(b"two")
        assert identity("a") != identity("b")
    finally:
        for path in reversed(mounted):
            subprocess.run(["umount", str(path)], check=True)


def test_every_function_has_a_program_and_is_looked_for() -> None:
    assert set(ENTRY) == set(ROLES)
    assert set(RETURN) <= set(ENTRY)
    assert {*ENTRY.values(), *RETURN.values()} == set(UPROBES)


def test_tls_built_into_another_file_is_named() -> None:
    assert (Room(Found({}, hint="boringssl")).libraries.explain_another(os.getpid()) or "").startswith("boringssl in /")
    assert Room(Found({})).libraries.explain_another(os.getpid()) is None


def test_what_makes_a_session_is_attached_last() -> None:
    """A call that is missed after one that was seen would shift all answers behind it."""
    places = Places()
    for offset, function in enumerate(sorted(ROLES), 1):
        places.entry(function, offset)
        places.return_(function, offset, probe=True)
    order = [(name, probe) for name, probe, _ in places.in_order()]
    assert len(order) == len(set(order)) == len(UPROBES)
    returned = order.index(("tls_return", True))
    for library in LIBRARIES:
        turns = {role: order.index((f"{library.name}_{role}", False)) for role in set(library.functions.values())}
        reads = [turns[role] for role in turns if "read" in role]
        writes = [turns[role] for role in turns if "write" in role and role is not Role.BIO_WRITE]
        makers = [turns[role] for role in turns if role in (Role.QUIET, Role.SET_FD, Role.SET_BIO)]
        assert max(returned, turns[Role.FREE]) < min(writes)
        assert max(writes) < min(reads)
        assert max(reads) < min(makers)


@pytest.mark.kernel
def test_mappings_are_told_as_they_happen(tmp_path: Path) -> None:
    name = tmp_path / "libssl odd name.so"
    name.write_bytes(bytes(4096))
    watch = MappingWatch(possible_processors())
    try:
        list(watch.read())
        before = time.monotonic_ns()
        code = (
            "import mmap, sys; f = open(sys.argv[1], 'rb')\n"
            "mmap.mmap(f.fileno(), 4096, prot=mmap.PROT_READ)\n"
            "mmap.mmap(f.fileno(), 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)"
        )
        child = subprocess.Popen([sys.executable, "-c", code, str(name)])
        assert child.wait(20) == 0
        (found,) = [mapping for mapping in watch.read() if mapping.path == str(name)]
        status = name.stat()
        assert (found.pid, found.inode) == (child.pid, status.st_ino)
        assert found.device == (os.major(status.st_dev), os.minor(status.st_dev))
        assert before < found.time_ns < time.monotonic_ns()
        assert watch.lost == 0
        assert [mapping for mapping in watch.read() if mapping.path == str(name)] == []
    finally:
        watch.close()


@pytest.mark.kernel
def test_a_burst_of_mappings_is_told_or_counted_as_lost(tmp_path: Path) -> None:
    """Far more than the buffers hold, and none is read meanwhile."""
    name = tmp_path / "x.so"
    name.write_bytes(bytes(4096))
    count = 20_000
    code = (
        "import mmap, sys; f = open(sys.argv[1], 'rb')\n"
        f"for _ in range({count}): mmap.mmap(f.fileno(), 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC).close()"
    )
    watch = MappingWatch(possible_processors())
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})  # a buffer is a processor's
    try:
        subprocess.run([sys.executable, "-c", code, str(name)], check=True, timeout=60)
        told = sum(mapping.path == str(name) for mapping in watch.read())
        # The kernel tells a loss with the next record that fits.
        subprocess.run([sys.executable, "-c", code.replace(str(count), "10"), str(name)], check=True, timeout=60)
        told += sum(mapping.path == str(name) for mapping in watch.read())
        assert 0 < told < count
        assert told + watch.lost >= count
    finally:
        os.sched_setaffinity(0, allowed)
        watch.close()
