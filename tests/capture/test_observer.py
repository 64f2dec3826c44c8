"""Processes as the observer follows them: real /proc, everything around it in memory."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Iterator

import pytest

from apisensor.capture import procfs
from apisensor.capture.blind import ENDED
from apisensor.capture.kernel import POLICY_ADMITTED, POLICY_NEVER, POLICY_OWN, Map
from apisensor.capture.libraries import Libraries
from apisensor.capture.library import Library
from apisensor.capture.observer import (
    NOTICE_ENCRYPTED,
    NOTICE_EXEC,
    NOTICE_EXIT,
    NOTICE_LIBRARY,
    NOTICE_MEMORY_BIO,
    NOTICE_TRAFFIC,
    NeverCapture,
    Notice,
    Observer,
    decode_notice,
)
from apisensor.capture.sight import MOST_PROCESSES, Sight
from apisensor.enrich.model import ProcessGone, ProcessSeen
from apisensor.events.decode import NOTICE

LIBRARY = Library("8:1", "/usr/lib/libssl.so.3", "openssl", {"SSL_read": 64}, "3.0.1", True, None, 1.0)


class Table(Map):
    """A BPF map in memory."""

    def __init__(self) -> None:
        self.entries: dict[int, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.entries.get(struct.unpack("I", key)[0])

    def set(self, key: bytes, value: bytes) -> None:
        self.entries[struct.unpack("I", key)[0]] = value

    def delete(self, key: bytes) -> None:
        self.entries.pop(struct.unpack("I", key)[0], None)


class Attached(Libraries):
    """Attaches to nothing, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.mapped_by: dict[int, list[Library]] = {}
        self.known = {LIBRARY.identity: LIBRARY}
        self.has_memory_bio = True
        self.another: str | None = None

    def look_at(self, pid: int, seen_ns: int) -> None:  # noqa: ARG002
        self.asked.append(("look_at", pid))

    def executed(self, pid: int, seen_ns: int) -> None:  # noqa: ARG002
        self.asked.append(("executed", pid))

    def mapped(self, pid: int, file: procfs.MappedFile, seen_ns: int) -> Library:  # noqa: ARG002
        self.mapped_by[pid] = [LIBRARY]
        return LIBRARY

    def of_process(self, pid: int) -> list[Library]:
        return self.mapped_by.get(pid, [])

    def search(self, pid: int, seen_ns: int) -> None:  # noqa: ARG002
        self.asked.append(("search", pid))

    def explain(self, pid: int) -> str:
        return f"why {pid}"

    def explain_another(self, pid: int, files: object = None) -> str | None:  # noqa: ARG002
        return self.another

    def memory_bio(self, pid: int) -> bool:  # noqa: ARG002
        return self.has_memory_bio

    def gone(self, pid: int) -> None:
        self.asked.append(("gone", pid))


class Room:
    """An observer and all that it talks to."""

    def __init__(self, never: NeverCapture | None = None) -> None:
        self.libraries, self.policies, self.memory_bio = Attached(), Table(), Table()
        self.told: list[ProcessSeen | ProcessGone] = []
        self.used = 0
        self.paused: dict[int, bytes] = {}
        self.observer = Observer(
            self.libraries,
            self.policies,
            self.memory_bio,
            never or NeverCapture(),
            self.told.append,
            lambda _: self.used,
            self.paused.get,
        )

    def handle(
        self, kind: int, pid: int, time_ns: int = 5, arguments: list[bytes] | None = None, library: int = 0
    ) -> None:
        self.observer.handle(Notice(time_ns, pid, os.getpid(), 0, kind, arguments or [], library))


CHILD = "print('ready', flush=True); input()"


@pytest.fixture
def child() -> Iterator[int]:
    command = [sys.executable, "-c", CHILD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"  # before, its arguments need not be there yet
        yield process.pid
        process.kill()


@pytest.mark.parametrize("text", [b"", b"curl\0-s\0\0http://x\0", b"curl", b"a\0\0"])
def test_a_notice_is_decoded_to_its_length(text: bytes) -> None:
    record = NOTICE.pack(7, 42, 41, 1000, NOTICE_EXEC, len(text), 0) + text + b"\xffold bytes behind it"
    notice = decode_notice(memoryview(record))
    assert (notice.time_ns, notice.pid, notice.parent, notice.uid, notice.kind) == (7, 42, 41, 1000, NOTICE_EXEC)
    assert notice.arguments == (text.rstrip(b"\0").split(b"\0") if text else [])


def test_core_is_told_of_a_process_once_it_moves_bytes(child: int) -> None:
    room = Room()
    room.handle(NOTICE_EXEC, child, 11, [b"shop", b"--port", b"1"])
    assert room.told == []
    room.handle(NOTICE_TRAFFIC, child, 12)
    room.handle(NOTICE_TRAFFIC, child, 13)
    (seen,) = room.told
    assert isinstance(seen, ProcessSeen)
    assert (seen.pid, seen.time_ns, seen.parent_pid) == (child, 11, os.getpid())
    assert seen.arguments == [b"shop", b"--port", b"1"]
    assert seen.executable == os.path.realpath(sys.executable)
    room.handle(NOTICE_EXIT, child, 14)
    assert room.told[1:] == [ProcessGone(child, 14)]
    room.handle(NOTICE_EXIT, child, 15)
    assert len(room.told) == 2


def test_a_process_older_than_the_sensor_is_described_from_proc(child: int) -> None:
    room = Room()
    room.handle(NOTICE_TRAFFIC, child)
    (seen,) = room.told
    assert isinstance(seen, ProcessSeen)
    assert seen.arguments[1:] == [b"-c", CHILD.encode()]
    assert (seen.parent_pid, seen.uid) == (os.getpid(), os.geteuid())
    assert seen.time_ns == procfs.start_ns(child)


def test_another_program_in_a_known_process_is_told_at_once(child: int) -> None:
    room = Room()
    room.handle(NOTICE_EXEC, child, 11, [b"sh"])
    room.handle(NOTICE_TRAFFIC, child, 12)
    room.handle(NOTICE_EXEC, child, 20, [b"curl"])
    assert [seen.arguments for seen in room.told if isinstance(seen, ProcessSeen)] == [[b"sh"], [b"curl"]]
    room.handle(NOTICE_TRAFFIC, child, 21)
    room.observer.resend()
    assert [seen.time_ns for seen in room.told][-1] == 20


def test_what_was_only_executed_and_ended_is_never_told(child: int) -> None:
    room = Room()
    room.handle(NOTICE_EXEC, child, 11, [b"true"])
    room.handle(NOTICE_EXIT, child, 12)
    assert room.told == []
    assert ("gone", child) in room.libraries.asked


def test_a_process_that_is_gone_before_it_was_looked_at_is_told_from_its_notice() -> None:
    gone = 4_194_304
    room = Room()
    room.handle(NOTICE_TRAFFIC, gone)
    assert room.told == []
    room.handle(NOTICE_EXEC, gone, 11, [b"curl", b"http://x/"])
    room.handle(NOTICE_TRAFFIC, gone, 12)
    (seen,) = room.told
    assert isinstance(seen, ProcessSeen)
    assert (seen.arguments, seen.executable) == ([b"curl", b"http://x/"], None)


def test_a_library_mapped_later_is_told(child: int) -> None:
    room = Room()
    room.handle(NOTICE_TRAFFIC, child)
    room.used = 1
    file = procfs.MappedFile((8, 1), 5, LIBRARY.path, "7f00-7f01")
    room.observer.mapped(child, file, 20)
    room.observer.mapped(child, file, 21)
    room.handle(NOTICE_ENCRYPTED, child)
    first, second = room.told
    assert isinstance(first, ProcessSeen)
    assert isinstance(second, ProcessSeen)
    assert first.libraries == []
    assert [(library.path, library.version) for library in second.libraries] == [(LIBRARY.path, "3.0.1")]


@pytest.mark.parametrize("possible", [True, False])
def test_sends_are_compared_only_where_the_probe_is(child: int, possible: bool) -> None:
    room = Room()
    room.libraries.has_memory_bio = possible
    room.handle(NOTICE_MEMORY_BIO, child)
    assert room.memory_bio.entries == ({child: b"\1"} if possible else {})


@pytest.mark.parametrize(
    ("rule", "entered"),
    [
        ("none", None),
        ("pid", POLICY_NEVER),
        ("executable", POLICY_NEVER),
        ("other executable", None),
        ("other container", POLICY_ADMITTED),
    ],
)
def test_policies(child: int, rule: str, entered: bytes | None) -> None:
    never = {
        "none": NeverCapture(),
        "pid": NeverCapture(pids=[child]),
        "executable": NeverCapture(executables=[f"/proc/{os.getpid()}/exe"]),
        "other executable": NeverCapture(executables=["/bin/true", "/no/such/file"]),
        "other container": NeverCapture(containers=["0123456789ab"]),
    }[rule]
    room = Room(never)
    room.handle(NOTICE_EXEC, child)
    assert room.policies.entries.get(child) == entered


@pytest.mark.parametrize(("beginning", "entered"), [("0123456789ab", POLICY_NEVER), ("0123456789ac", POLICY_ADMITTED)])
def test_policies_of_containers(child: int, beginning: str, entered: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    id_ = "0123456789ab" + 52 * "c"
    monkeypatch.setattr(procfs, "cgroup", lambda _pid: f"0::/machine.slice/libpod-{id_}.scope/container\n")
    room = Room(NeverCapture(containers=[beginning]))
    room.handle(NOTICE_TRAFFIC, child)
    assert room.policies.entries == {child: entered}


@pytest.mark.parametrize("before", [POLICY_NEVER, POLICY_OWN])
def test_what_was_entered_for_good_stays(child: int, before: bytes) -> None:
    """Inherited in the kernel, or the sensor's own."""
    room = Room(NeverCapture(containers=["0123456789ab"]))
    room.policies.entries[child] = before
    room.handle(NOTICE_EXEC, child)
    assert room.policies.entries == {child: before}


def test_the_start_leaves_the_sensors_own_processes_out(child: int) -> None:
    room = Room(NeverCapture(containers=["0123456789ab"]))
    room.observer.start([os.getpid()])
    assert room.policies.entries[child] == POLICY_ADMITTED
    assert os.getpid() not in room.policies.entries
    assert ("look_at", child) in room.libraries.asked
    assert ("look_at", os.getpid()) not in room.libraries.asked


def test_of_several_libraries_those_that_it_calls(child: int) -> None:
    """Debian's curl maps GnuTLS too, for a protocol that nobody uses."""
    room = Room()
    other = Library("8:2", "/usr/lib/libgnutls.so.30", "gnutls", {"gnutls_record_recv": 64}, "3.7.9", True, None, 1.0)
    room.libraries.mapped_by[child] = [other, LIBRARY]
    room.handle(NOTICE_TRAFFIC, child)
    room.used = 1
    room.handle(NOTICE_LIBRARY, child)
    room.used = 3
    room.handle(NOTICE_LIBRARY, child)
    told = [[one.library for one in seen.libraries] for seen in room.told if isinstance(seen, ProcessSeen)]
    assert told == [[], ["openssl"], ["gnutls", "openssl"]]


def test_what_a_process_used_is_known_when_it_is_gone() -> None:
    """The kernel has forgotten it by the time the notice is read; of the two libraries that it had mapped it is one."""
    room = Room()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    other = Library("8:9", "/usr/lib/libgnutls.so.30", "gnutls", {}, None, True, None, 1.0)
    room.handle(NOTICE_EXEC, gone.pid, arguments=[b"curl"])
    room.libraries.mapped_by[gone.pid] = [other, LIBRARY]
    assert gone.wait(20) == 0
    room.handle(NOTICE_TRAFFIC, gone.pid)
    room.handle(NOTICE_LIBRARY, gone.pid, library=1)
    room.handle(NOTICE_EXIT, gone.pid)
    told = [[one.library for one in seen.libraries] for seen in room.told if isinstance(seen, ProcessSeen)]
    assert told == [[], ["openssl"]]
    assert room.observer._used_by == {}


def test_what_a_process_has_mapped_is_known_by_another_when_it_was_gone_before(child: int) -> None:
    room = Room()
    room.used = 1
    file = procfs.MappedFile((8, 1), 5, LIBRARY.path, "7f00-7f01")
    gone = child + 1
    room.observer.had_mapped(gone, ((8, 1), 5), 10)  # nobody has told yet what that file is
    room.observer.mapped(child, file, 20)
    for exec_ns, mapped_ns, inode, expected in ((25, 30, 6, []), (35, 40, 5, ["openssl"])):
        room.handle(NOTICE_EXEC, gone, exec_ns, [b"curl"])
        room.observer.had_mapped(gone, ((8, 1), inode), mapped_ns)
        room.libraries.mapped_by.pop(gone, None)
        room.handle(NOTICE_TRAFFIC, gone, mapped_ns + 1)
        seen = room.told[-1]
        assert isinstance(seen, ProcessSeen)
        assert [library.library for library in seen.libraries] == expected


def test_what_a_process_had_mapped_is_known_when_it_is_gone() -> None:
    """One call, and over: its first bytes are told after it. An exec forgets what was mapped before it."""
    room = Room()
    room.used = 1
    gone = subprocess.Popen([sys.executable, "-c", ""])
    file = procfs.MappedFile((8, 1), 5, LIBRARY.path, "7f00-7f01")
    room.observer.mapped(gone.pid, file, 10)
    room.observer.mapped(gone.pid, file, 20)
    assert gone.wait(20) == 0
    room.libraries.mapped_by.clear()
    for exec_ns, expected in ((15, ["openssl"]), (25, [])):
        room.handle(NOTICE_EXEC, gone.pid, exec_ns, [b"curl"])
        room.handle(NOTICE_TRAFFIC, gone.pid, exec_ns + 1)
        seen = room.told[-1]
        assert isinstance(seen, ProcessSeen)
        assert [library.library for library in seen.libraries] == expected


def test_an_event_loops_program_is_prepared_once_its_second_library_is_there_too(child: int) -> None:
    room = Room()
    room.libraries.has_memory_bio = False  # libcrypto, which the dynamic linker maps after libssl, is not there yet
    room.observer.mapped(child, procfs.MappedFile((8, 1), 5, LIBRARY.path, "7f00-7f01"), 10)
    assert room.memory_bio.entries == {}
    room.libraries.has_memory_bio = True
    room.observer.prepare(child)
    assert room.memory_bio.entries == {child: b"\1"}


def test_tls_that_is_not_seen_is_explained_and_looked_for_in_every_file(child: int) -> None:
    room = Room()
    room.handle(NOTICE_TRAFFIC, child)
    room.handle(NOTICE_ENCRYPTED, child)
    assert ("search", child) in room.libraries.asked
    assert room.observer.sight.blind == {child: f"why {child}"}
    room.handle(NOTICE_EXIT, child)
    assert room.observer.sight.blind == {child: f"why {child}"}, "what it has moved is still reported"
    room.handle(NOTICE_EXEC, child)
    assert room.observer.sight.blind == {}


def test_a_process_that_has_ended_is_explained_by_one_before_it() -> None:
    """Of the same executable; the first such is not explained, and not said to have an unknown library."""
    sight = Sight()
    sight.explain(1, "/bin/short", None)
    sight.explain(2, "/bin/short", "rustls in /bin/short: why")
    sight.explain(3, "/bin/short", None)
    sight.explain(4, None, None)
    assert sight.blind == {1: ENDED, 2: "rustls in /bin/short: why", 3: "rustls in /bin/short: why", 4: ENDED}


def test_what_is_said_of_processes_is_bounded() -> None:
    sight = Sight()
    for pid in range(2 * MOST_PROCESSES):
        sight.see(pid, "/lib/libssl.so.3")
        sight.explain(pid, f"/bin/{pid}", "why")
    assert len(sight.attached) == len(sight.blind) == MOST_PROCESSES
    assert min(sight.blind) == MOST_PROCESSES


def test_an_older_connection_of_an_attached_library_needs_no_explanation(child: int) -> None:
    room = Room()
    room.libraries.mapped_by[child] = [LIBRARY]
    room.handle(NOTICE_TRAFFIC, child)
    room.handle(NOTICE_ENCRYPTED, child)
    assert room.observer.sight.blind == {}


def test_a_process_with_an_attached_library_may_have_another_built_into_a_file(child: int) -> None:
    room = Room()
    room.libraries.mapped_by[child] = [LIBRARY]
    room.libraries.another = "boringssl in x.so: why"
    room.handle(NOTICE_TRAFFIC, child)
    room.handle(NOTICE_ENCRYPTED, child)
    assert ("search", child) in room.libraries.asked
    assert room.observer.sight.blind == {child: "boringssl in x.so: why"}
