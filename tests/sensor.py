"""The real sensor as a child of a test: `apisensor run --format jsonl`, as root, in a runtime directory of its own.

with Sensor(settings=["capture.call_limit=65536"]) as sensor:
    truth = scenario.run(directory)
    verdict = sensor.verdict(truth.calls)
assert verdict.passes(), verdict.report() + sensor.log()
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from apisensor.capture.observer import EVENT_LOOP_RUNTIMES
from apisensor.live.client import LiveClient
from apisensor.live.listening import LiveError
from tests.patience import PATIENCE, PAUSE
from tests.peers.process import ROOT
from tests.truth import Call, Transaction, Verdict, compare

READY = "apisensor: ready"
"""How the line begins that `run` writes to standard error once its probes are attached."""
READY_SECONDS = 60.0 * PATIENCE
"""Compiling the probes takes a few seconds of an idle core, and tests share two."""
STOP_SECONDS = 20.0 * PATIENCE
REPORT_SECONDS = 20.0 * PATIENCE
"""For the last transactions to come out after the last call was made."""
EXTRA_SECONDS = 0.5 * PAUSE
"""How long to go on listening once all expected ones are there: what is reported twice comes late."""
KERNEL_REPORT_SECONDS = 20.0 * PATIENCE
"""Capture reads the kernel's counters once a second, where it gets the processor."""
ATTACH_SECONDS = 30.0 * PATIENCE
"""Milliseconds, but for a program with OpenSSL built in: the finder reads all of Node.js's 100 MB."""
PREPARE_SECONDS = 0.3 * PATIENCE
"""For the probes of single processes with memory BIOs, which no status tells of: several times what they take."""
PIPE_BYTES = 1 << 20
"""A reader has lines left out that is slow, and this process may have to wait for a processor or for its own lock."""
_POLL_SECONDS = 0.05
_COMMAND = [sys.executable, "-m", "apisensor.cli.main"]


class SensorError(Exception):
    """The sensor did not start, end or do as it was asked; the text has the end of its log."""


class SensorTimeoutError(SensorError, TimeoutError):
    """It did not do so in time."""


def _tls_files(pid: int) -> set[str]:
    """The mapped files that may be its TLS library: one called so, or a program that brings its own (Node.js, Go)."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
        program = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return set()  # gone, or it serves no call
    files = {line.split(maxsplit=5)[5] for line in maps.splitlines() if " r-xp " in line and "/" in line}
    found = {file for file in files if re.search(r"/lib(ssl|gnutls)[-.]|/curl_cffi/", file)}
    return found | ({program} if re.match(r"(node|(grpc-)?go(-|$))", Path(program).name) else set())


def _has_event_loop(pid: int) -> bool:
    """Is it a program whose memory BIOs are observed before its first session?"""
    try:
        return Path(os.readlink(f"/proc/{pid}/exe")).name.startswith(EVENT_LOOP_RUNTIMES)
    except OSError:
        return False  # gone


class Sensor:
    """A running sensor; a context manager that leaves no process and no directory behind.

    Args:
        settings: SECTION.KEY=VALUE, as for --set.
        environment: added to this process's own, for OTEL_* variables.
        arguments: further arguments of `apisensor run`.
        within: a command that ends by executing what follows it.
    """

    _programs: bytes | None = None
    """Compiled programs of the latest sensor; under other settings or sources the next one compiles anew."""

    def __init__(
        self,
        settings: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        within: Sequence[str] = (),
    ) -> None:
        # Not in pytest's tmp_path: only root may enter that, and the sensor's parts are not root.
        self.directory = Path(tempfile.mkdtemp(prefix="apisensor-test-"))
        self.directory.chmod(0o755)
        self._settings = [
            f"--set=general.runtime_directory={self.directory}/run",
            f"--set=general.state_directory={self.directory}/state",
            "--set=web.port=0",
            # Tests ask for all that passes, often at full load beside other programs; the governor has its own.
            "--set=governor.cpu_share=0",
            *_user(),
            *(f"--set={setting}" for setting in settings),
        ]
        self._environment = {**os.environ, **(environment or {}), "PYTHONUNBUFFERED": "1"}
        self._arguments, self._within = list(arguments), list(within)
        self._lock = threading.Lock()
        self._lines: deque[bytes] = deque()
        self._documents: dict[str, list[dict[str, Any]]] = {"transaction": [], "finding": [], "dropped": []}
        self._unexpected: list[bytes] = []
        self._log: list[str] = []
        self._ready = threading.Event()
        self._threads: list[threading.Thread] = []
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Sensor:
        self._lend_programs()
        self._process = subprocess.Popen(
            [*self._within, *_COMMAND, "run", "--format", "jsonl", *self._arguments, *self._settings],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            pipesize=PIPE_BYTES,
        )
        for read in (self._read_output, self._read_errors):
            thread = threading.Thread(target=read, daemon=True)
            thread.start()
            self._threads.append(thread)
        try:
            self._until(self._ready.is_set, READY_SECONDS, "was not ready")
            self._keep_programs()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _lend_programs(self) -> None:
        """Gives it what an earlier sensor of these tests has compiled, as a node's second start has it."""
        if Sensor._programs is None or os.geteuid() != 0:
            return
        state = self.directory / "state"
        state.mkdir(mode=0o750, exist_ok=True)
        shutil.chown(state, 0, pwd.getpwnam("daemon" if _user() else "apisensor").pw_gid)
        with open(os.open(state / "programs", os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.write(Sensor._programs)

    def _keep_programs(self) -> None:
        kept = self.directory / "state" / "programs"
        if kept.exists():
            Sensor._programs = kept.read_bytes()

    @property
    def pid(self) -> int:
        """Of `run`, which supervises the other parts."""
        return self._child.pid

    @property
    def transactions(self) -> list[Transaction]:
        """Those printed so far."""
        return self._read("transaction")

    @property
    def findings(self) -> list[dict[str, Any]]:
        """Those printed so far."""
        return self._read("finding")

    @property
    def dropped(self) -> int:
        """Lines that `run` says it left out, because nobody read them in time."""
        return sum(document["count"] for document in self._read("dropped"))

    @property
    def unexpected(self) -> list[bytes]:
        """Lines on standard output that are none of these: there should be none."""
        self._read("finding")
        return list(self._unexpected)

    @property
    def settings(self) -> list[str]:
        """--set options with which other commands find this sensor."""
        return list(self._settings)

    def page(self) -> tuple[str, str]:
        """Address and login token of the page, from the line that `run` printed."""
        with self._lock:
            found = [re.search(r"page: (http://\S+)/login\?token=(\S+)", line) for line in self._log]
        match = next((match for match in found if match is not None), None)
        if match is None:
            raise SensorError(f"the sensor has printed no link to its page:\n{self.log()}")
        return match.group(1), match.group(2)

    def command(self, *arguments: str, input: bytes | None = None) -> str:
        """What another command prints, run beside this sensor.

        Raises:
            SensorError: it failed.
        """
        done = subprocess.run(
            [*_COMMAND, *arguments, *self._settings],
            cwd=ROOT, env=self._environment, input=input, capture_output=True, timeout=60 * PATIENCE, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise SensorError(f"{' '.join(arguments)}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode()

    def log(self, lines: int = 40) -> str:
        """The end of the sensor's standard error."""
        with self._lock:
            return "\n".join(self._log[-lines:])

    def wait_until(
        self, true: int | Callable[[list[Transaction]], bool], seconds: float = REPORT_SECONDS
    ) -> list[Transaction]:
        """Waits until so many transactions are there, or until `true` of them holds; returns them.

        Raises:
            SensorError: that did not happen in time, or the sensor ended.
        """
        if isinstance(true, int):
            count = true
            self._until(lambda: len(self.transactions) >= count, seconds, f"has not reported {count} transactions")
        else:
            predicate = true
            self._until(lambda: predicate(self.transactions), seconds, "has not reported what was expected")
        return self.transactions

    def attached(self, pids: Sequence[int]) -> None:
        """Waits until the TLS library of each process is attached: what passes before is not seen, as the README says.

        Raises:
            SensorTimeoutError: not in ATTACH_SECONDS.
        """
        files = [_tls_files(pid) for pid in pids]

        def all_attached() -> bool:
            seen = {library["path"] for library in self.status()["libraries"] if library["probes"]}
            return all(wanted <= seen for wanted in files)

        self._until(all_attached, ATTACH_SECONDS, "has not attached to all libraries")
        if any(files) and any(map(_has_event_loop, pids)):
            time.sleep(PREPARE_SECONDS)

    def verdict(
        self, calls: Sequence[Call], seconds: float = REPORT_SECONDS, extra_seconds: float = EXTRA_SECONDS
    ) -> Verdict:
        """Waits until nothing is missing, or nothing more has come for so many seconds, and a little longer for what
        should not come (`extra_seconds`; 0 for who judges all calls once more at the end); then judges.

        Raises:
            SensorError: it ended, or says that it did not print everything, and not only others' calls are missing.
        """
        paths = {call.path for call in calls}
        looked_at = seen = 0

        def all_there() -> bool:
            nonlocal looked_at, seen
            new = self.transactions[looked_at:]
            looked_at += len(new)
            seen += sum(transaction["path"] in paths for transaction in new)
            return seen >= len(calls)

        dropped = self.dropped
        with contextlib.suppress(TimeoutError):
            self._until(all_there, seconds, "has not reported all", progress=lambda: seen)
        time.sleep(extra_seconds)
        if (left_out := self.dropped - dropped) and (ours := self.left_out({call.pid for call in calls})):
            raise SensorError(
                f"the sensor left {left_out} lines out of its output, {ours} of these processes: nothing can be judged"
            )
        return compare(calls, self.transactions)

    def left_out(self, pids: set[int]) -> int:
        """Transactions of these processes that the sensor counted and did not print; the node may have others' calls,
        and so many of them that lines are left out."""
        counted = {row["pid"]: row["transactions"] for row in self.status()["processes"]}
        printed = Counter(t["process"]["pid"] for t in self.transactions if t["process"])
        return sum(abs(counted.get(pid, 0) - printed[pid]) for pid in pids)

    def status(self) -> dict[str, Any]:
        """What `apisensor status --format json` prints (apisensor/live/status.py), without a process for it.

        Raises:
            SensorError: the sensor does not answer.
        """
        try:
            with LiveClient(f"{self.directory}/run/live.sock") as client:
                document: dict[str, Any] = msgspec.to_builtins(client.status())
        except LiveError as error:
            raise SensorError(f"{error}\n{self.log()}") from None
        return document

    def parts(self) -> dict[str, int]:
        """Name and process of each part, once all of them run: one may have been ended by its limits, as the finder is
        on a machine that is far too busy for it, and be started again just now.

        Raises:
            SensorTimeoutError: one does not.
        """
        found: dict[str, int | None] = {}

        def all_run() -> bool:
            found.update((part["name"], part["pid"]) for part in self.status()["parts"])
            return None not in found.values()

        self._until(all_run, ATTACH_SECONDS, "has not started all parts")
        return {name: pid for name, pid in found.items() if pid is not None}

    def pids(self) -> set[int]:
        """Of all parts."""
        return {part["pid"] for part in self.status()["parts"] if part["pid"] is not None}

    def wait_for_report(self) -> None:
        """Waits until the kernel's counters have been read anew, from the first to the last of them.

        Raises:
            SensorTimeoutError: they were not.
        """

        def reports() -> int:
            return int(self.status()["counters"].get("capture.reports", 0))  # none yet of a capture that has just begun

        latest, changes = reports(), 0

        def anew() -> bool:
            nonlocal latest, changes
            before, latest = latest, reports()
            changes += latest != before
            return changes >= 2  # the first may have been under way

        self._until(anew, KERNEL_REPORT_SECONDS, "has not read the kernel's counters again")

    def losses(self) -> dict[str, int]:
        """The loss counters of the status that are not 0."""
        counters: dict[str, int] = self.status()["counters"]
        return {name: count for name, count in counters.items() if ".lost." in name and count}

    def stop(self) -> int:
        """Ends the sensor as systemd does, reads what it still prints and returns its exit status.

        Raises:
            SensorError: it did not end in time.
        """
        status = self._terminate()
        for thread in self._threads:
            thread.join(5)
        return status

    def _terminate(self) -> int:
        if self._child.poll() is None:
            self._child.terminate()
        try:
            return self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise SensorTimeoutError(f"the sensor did not end in {STOP_SECONDS:g} s:\n{self.log()}") from None

    @property
    def _child(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise SensorError("the sensor was not started; use it as a context manager")
        return self._process

    def _read_output(self) -> None:
        stream = self._child.stdout
        # Nothing but reading: a reader that is slow has lines left out.
        for line in stream or ():
            self._lines.append(line)

    def _read(self, kind: str) -> list[dict[str, Any]]:
        """The documents of a kind so far."""
        with self._lock:
            while self._lines:
                line = self._lines.popleft()
                try:
                    document = msgspec.json.decode(line)
                    self._documents[document["kind"]].append(document)
                except (msgspec.DecodeError, KeyError, TypeError):
                    self._unexpected.append(line)
            return list(self._documents[kind])

    def _read_errors(self) -> None:
        stream = self._child.stderr
        for line in stream or ():
            text = line.decode(errors="replace").rstrip()
            with self._lock:
                self._log.append(text)
            if text.startswith(READY):
                self._ready.set()

    def _until(
        self, true: Callable[[], bool], seconds: float, complaint: str, progress: Callable[[], int] = lambda: 0
    ) -> None:
        """Waits until it is true, or for so many seconds without progress."""
        deadline, reached = time.monotonic() + seconds, progress()
        while not true():
            if self._child.poll() is not None:
                raise SensorError(f"the sensor ended with {self._child.returncode}:\n{self.log()}")
            if (now := progress()) != reached:
                deadline, reached = time.monotonic() + seconds, now
            if time.monotonic() > deadline:
                raise SensorTimeoutError(f"the sensor {complaint} in {seconds:g} s:\n{self.log()}")
            time.sleep(_POLL_SECONDS)

    def _end(self) -> None:
        """Ends what is left of it, the hard way after a bounded wait; the group outlives its leader."""
        try:
            with contextlib.suppress(SensorError):
                self._terminate()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait(STOP_SECONDS)
            for thread in self._threads:
                thread.join(5)
            for stream in (self._child.stdout, self._child.stderr):
                if stream is not None:
                    stream.close()
            shutil.rmtree(self.directory, ignore_errors=True)


def _user() -> list[str]:
    """The core's user where the sensor is not installed: one that every Debian has and that is not the sandbox's."""
    try:
        pwd.getpwnam("apisensor")
    except KeyError:
        return ["--set=general.user=daemon"]
    return []
