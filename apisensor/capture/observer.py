"""Which processes there are: what the kernel's notices and /proc say of them, and whether they may be captured."""

from __future__ import annotations

import os
import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec

from apisensor.capture import procfs
from apisensor.capture.kernel import POLICY_ADMITTED, POLICY_NEVER, POLICY_OWN, Map
from apisensor.capture.libraries import Libraries
from apisensor.capture.library import Library
from apisensor.capture.pauses import may_be_paused
from apisensor.capture.sight import Sight
from apisensor.enrich.cgroup import membership
from apisensor.enrich.model import ProcessGone, ProcessSeen, TlsLibrary
from apisensor.events.decode import NOTICE
from apisensor.finder.functions import BITS

NOTICE_EXEC, NOTICE_EXIT, NOTICE_TRAFFIC, NOTICE_ENCRYPTED, NOTICE_MEMORY_BIO, NOTICE_LIBRARY = 1, 2, 3, 4, 5, 6
"""enum notice_kind of bpf/event.h."""

MOST_PROCESSES = 16384
"""Processes remembered; the one executed longest ago makes room."""


EVENT_LOOP_RUNTIMES = ("python", "pypy", "node")
"""Beginnings of the names of programs whose event loops give TLS memory BIOs. They are prepared for it before the first
session: a script with one call would be over before its need is noticed. It costs them one trap more for each record
they write; other programs never pay it."""


class Notice(msgspec.Struct, frozen=True):
    """struct notice of bpf/event.h."""

    time_ns: int
    pid: int
    parent: int
    uid: int
    kind: int
    arguments: list[bytes]
    library: int = 0
    """Its bit (finder.functions), of NOTICE_LIBRARY."""


def decode_notice(record: memoryview) -> Notice:
    """One record of the notices ring."""
    time_ns, pid, parent, uid, kind, length, library = NOTICE.unpack_from(record)
    text = bytes(record[NOTICE.size : NOTICE.size + length])
    arguments = text.rstrip(b"\0").split(b"\0") if text else []
    return Notice(time_ns, pid, parent, uid, kind, arguments, library)


class NeverCapture(msgspec.Struct, frozen=True):
    """The never-capture list (settings capture.never_*)."""

    pids: Sequence[int] = ()
    executables: Sequence[str] = ()
    containers: Sequence[str] = ()
    ports: Sequence[int] = ()


class Observer:
    """Follows processes. It never reads payload; what it reads of /proc goes to core as it is."""

    def __init__(
        self,
        libraries: Libraries,
        policies: Map,
        memory_bio: Map,
        never: NeverCapture,
        tell: Callable[[ProcessSeen | ProcessGone], None],
        used: Callable[[int], int],
        paused: Callable[[int], bytes | None],
    ) -> None:
        """`used` tells the bits of the TLS libraries that a process has had sessions of, `paused` the policy of one
        that is paused."""
        self._libraries, self._policies, self._memory_bio = libraries, policies, memory_bio
        self._never, self._tell, self._used, self._paused = never, tell, used, paused
        self._executed: OrderedDict[int, ProcessSeen] = OrderedDict()
        self._mapped: OrderedDict[int, dict[str, tuple[int, Library]]] = OrderedDict()
        """Process: identity of a library, when it was mapped, and the library. A process with one call may be gone
        when it is asked what it has mapped."""
        self._files: dict[tuple[tuple[int, int], int], Library] = {}
        """Device and inode, as processes have them mapped, of TLS libraries."""
        self._used_by: dict[int, int] = {}
        """Bits of the libraries that a process was said to use. What the kernel knows of it goes with it."""
        self.sight = Sight()
        self.seen: dict[int, ProcessSeen] = {}
        """Processes that moved bytes and live, as core was told of them."""
        self._handlers: dict[int, Callable[[Notice], None]] = {
            NOTICE_EXEC: self._on_exec,
            NOTICE_EXIT: self._on_exit,
            NOTICE_TRAFFIC: self._on_traffic,
            NOTICE_ENCRYPTED: self._on_encrypted,
            NOTICE_MEMORY_BIO: self._on_memory_bio,
            NOTICE_LIBRARY: self._on_library,
        }

    def handle(self, notice: Notice) -> None:
        """Works on one notice of the kernel."""
        handler = self._handlers.get(notice.kind)
        if handler is not None:
            handler(notice)

    def start(self, own: Sequence[int]) -> None:
        """Looks at every process that is there already: may it be captured, what has it mapped?"""
        now = time.monotonic_ns()
        for pid in procfs.pids():
            if pid in own:
                continue
            self.judge(pid)
            self._libraries.look_at(pid, now)
            self.prepare(pid)

    def resend(self) -> None:
        """Tells everything again that core was told."""
        for seen in self.seen.values():
            self._tell(seen)

    def _on_exec(self, notice: Notice) -> None:
        pid = notice.pid
        told = self.seen.pop(pid, None) is not None
        self._used_by.pop(pid, None)
        self.sight.forget(pid)
        # Mappings are told apart from notices: some may be of the new program already.
        before = self._mapped.pop(pid, {})
        self._mapped[pid] = {key: row for key, row in before.items() if row[0] > notice.time_ns}
        self._libraries.gone(pid)
        self.judge(pid)
        self._executed[pid] = self._describe(pid, notice)
        if told:
            # Core knows the pid as another program: the new one must not wait for its first bytes.
            self._tell(self._executed[pid])
        self._executed.move_to_end(pid)
        if len(self._executed) > MOST_PROCESSES:
            self._executed.popitem(last=False)
        # What it has mapped is looked at when it moves its first bytes: most programs never do.
        self.prepare(pid)

    def _on_exit(self, notice: Notice) -> None:
        pid = notice.pid
        self._executed.pop(pid, None)
        self._mapped.pop(pid, None)
        self._used_by.pop(pid, None)
        self._libraries.gone(pid)
        if self.seen.pop(pid, None) is not None:
            self._tell(ProcessGone(pid, notice.time_ns))

    def _on_traffic(self, notice: Notice) -> None:
        self.first_bytes(notice.pid, notice.time_ns)

    def first_bytes(self, pid: int, now_ns: int) -> None:
        """A process moves bytes: core has to know who it is."""
        if pid in self.seen:
            return
        self.judge(pid)
        seen = self._executed.get(pid) or self._describe(pid, None)
        if seen.executable is None and not seen.arguments and procfs.status(pid) is None:
            return
        self.sight.forget(pid)
        self._libraries.look_at(pid, now_ns)
        libraries = self._tls_libraries(pid)
        seen = msgspec.structs.replace(seen, libraries=libraries)
        if len(self.seen) >= MOST_PROCESSES:
            oldest = next(iter(self.seen))
            self._used_by.pop(oldest, None)
            del self.seen[oldest]
        self.seen[pid] = seen
        self._tell(seen)

    def _on_encrypted(self, notice: Notice) -> None:
        """TLS records outside of any observed call: a library mapped since, or one that is not known."""
        pid = notice.pid
        self._libraries.look_at(pid, notice.time_ns)
        self._refresh(pid)
        if pid not in self.seen:
            return
        # Also where one is attached: an interpreter has its own, and extension modules bring theirs.
        self._libraries.search(pid, notice.time_ns)
        self._refresh(pid)
        executable = self.seen[pid].executable
        if pid not in self.sight.attached:
            self.sight.explain(pid, executable, self._libraries.explain(pid))
        elif text := self._libraries.explain_another(pid):
            self.sight.explain(pid, executable, text)

    def _on_library(self, notice: Notice) -> None:
        if notice.pid in self.seen:
            self._used_by[notice.pid] = self._used_by.get(notice.pid, 0) | notice.library
            self._refresh(notice.pid)

    def _on_memory_bio(self, notice: Notice) -> None:
        self._observe_memory_bio(notice.pid)

    def _observe_memory_bio(self, pid: int) -> None:
        # First, so that nothing it writes from the moment of attaching on is passed over.
        self._memory_bio.set(struct.pack("I", pid), b"\1")
        if not self._libraries.memory_bio(pid):
            self._memory_bio.delete(struct.pack("I", pid))

    def prepare(self, pid: int) -> None:
        """Observes the memory BIOs of a program that is likely to have some, as soon as it has TLS functions."""
        # It may have OpenSSL built in, or be Go's: a new program of that kind must not wait for its first bytes.
        now = time.monotonic_ns()
        self._remember(pid, self._libraries.executed(pid, now), now)
        program = os.path.basename(procfs.executable(pid) or "")
        if program.startswith(EVENT_LOOP_RUNTIMES) and self._libraries.of_process(pid):
            self._observe_memory_bio(pid)

    def mapped(self, pid: int, file: procfs.MappedFile, time_ns: int) -> None:
        """A process has mapped a file that is named like a TLS library."""
        library = self._libraries.mapped(pid, file, time_ns)
        if library is not None and len(self._files) < MOST_PROCESSES:
            self._files[file.device, file.inode] = library
        self._remember(pid, library, time_ns)
        self.prepare(pid)
        self._refresh(pid)

    def had_mapped(self, pid: int, file: tuple[tuple[int, int], int], time_ns: int) -> None:
        """The same of a process that is gone already, by device and inode of a file that another one has mapped."""
        self._remember(pid, self._files.get(file), time_ns)

    def _remember(self, pid: int, library: Library | None, time_ns: int) -> None:
        if library is None:
            return
        self._mapped.setdefault(pid, {})[library.identity] = (time_ns, library)
        if len(self._mapped) > MOST_PROCESSES:
            self._mapped.popitem(last=False)

    def _refresh(self, pid: int) -> None:
        """Tells core of libraries that a process has mapped since it was told."""
        seen = self.seen.get(pid)
        if seen is None:
            return
        libraries = self._tls_libraries(pid)
        if libraries != seen.libraries:
            self.seen[pid] = msgspec.structs.replace(seen, libraries=libraries)
            self._tell(self.seen[pid])

    def _tls_libraries(self, pid: int) -> list[TlsLibrary]:
        """Those that its plaintext comes from: it may have others mapped that it never calls."""
        has = {library.identity: library for library in self._libraries.of_process(pid)}
        for identity, (_, library) in self._mapped.get(pid, {}).items():
            has.setdefault(identity, self._libraries.known.get(identity, library))
        for library in has.values():
            if library.attached:
                self.sight.see(pid, library.path)
        used = self._used(pid) | self._used_by.get(pid, 0)
        return [
            TlsLibrary(one.path, one.library, one.version)
            for one in sorted(has.values(), key=lambda library: library.path)
            if BITS[one.library] & used
        ]

    def _describe(self, pid: int, notice: Notice | None) -> ProcessSeen:
        """What /proc says, and where the process is gone already what the kernel said when it was executed."""
        status = procfs.status(pid)
        name, attributes = procfs.variables(pid, "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES")
        arguments = procfs.arguments(pid) if notice is None or not notice.arguments else notice.arguments
        if notice is not None:
            time_ns, parent, uid = notice.time_ns, notice.parent, notice.uid
        else:
            time_ns = procfs.start_ns(pid) or 0
            uid, parent = status or (0, 0)
        cgroup = procfs.cgroup(pid)
        if not cgroup and parent in self._executed:
            # Gone already. A cgroup is inherited, and only a container runtime moves its children on.
            cgroup = self._executed[parent].cgroup
        return ProcessSeen(
            pid=pid,
            time_ns=time_ns,
            parent_pid=parent,
            executable=procfs.executable(pid),
            arguments=arguments,
            uid=uid,
            cgroup=cgroup,
            otel_service_name=name,
            otel_resource_attributes=attributes,
            libraries=[],
        )

    def judge(self, pid: int) -> None:
        """Enters in the kernel whether the process may be captured, where a rule needs user space to tell."""
        never = self._never
        key = struct.pack("I", pid)
        policy = self._policies.get(key)
        if policy in (POLICY_NEVER, POLICY_OWN):
            return
        if pid in never.pids or self._is_never_executable(pid) or self._is_never_container(pid):
            self._policies.set(key, POLICY_NEVER)
        elif (paused := self._paused(pid)) is not None:
            if may_be_paused(policy):
                self._policies.set(key, paused)
        elif never.containers and policy is None:
            self._policies.set(key, POLICY_ADMITTED)

    def _is_never_executable(self, pid: int) -> bool:
        if not self._never.executables:
            return False
        program = procfs.executable_inode(pid)
        return program is not None and program in {inode_of(path) for path in self._never.executables}

    def _is_never_container(self, pid: int) -> bool:
        if not self._never.containers:
            return False
        container = membership(procfs.cgroup(pid)).container or ""
        return any(container.startswith(prefix) for prefix in self._never.containers)


def inode_of(path: str) -> tuple[int, int, int] | None:
    """(inode, major, minor) of a path; None where there is no such file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, os.major(status.st_dev), os.minor(status.st_dev)
