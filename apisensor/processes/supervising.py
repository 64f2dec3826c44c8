"""What `run` is once there is nothing left to check: it executes the interpreter anew and loads only what it needs from
then on. Command line, settings' parser and detectors would stay in memory for good. Its process id stays the same.

    python -m apisensor.processes.supervising DESCRIPTOR
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import time
from typing import Literal, NamedTuple, NoReturn

import msgspec

from apisensor.processes.loading import LoadError, Loading
from apisensor.processes.parts import Page, in_memory
from apisensor.processes.supervisor import Supervisor
from apisensor.sections import Settings

STOP_S = 8.0
"""How long the parts get to end: core sends its spans meanwhile (its own limit is shorter)."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""End the sensor."""


class Handover(NamedTuple):
    """What is to be run."""

    settings: Settings
    output: Literal["table", "jsonl", "none"]
    key: bytes
    described: bytes | None
    live: socket.socket
    page: Page | None
    invitation: str | None
    """A line for the log once all is ready."""


class _Written(msgspec.Struct, frozen=True):
    """A Handover, its sockets as descriptors."""

    settings: Settings
    output: Literal["table", "jsonl", "none"]
    key: bytes
    described: bytes | None
    live: int
    page: tuple[int, str] | None
    """With the login token."""
    invitation: str | None


def hand_over(what: Handover, lock: int) -> NoReturn:
    """Becomes the supervisor, which keeps the lock."""
    page = None if what.page is None else (what.page.listening.fileno(), what.page.token)
    written = _Written(what.settings, what.output, what.key, what.described, what.live.fileno(), page, what.invitation)
    content = in_memory(msgspec.msgpack.encode(written))
    for descriptor in (content, lock, written.live, *(page[:1] if page is not None else ())):
        os.set_inheritable(descriptor, True)
    # They wait until somebody is there who knows what to do.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.execv(sys.executable, [sys.executable, "-I", "-m", "apisensor.processes.supervising", str(content)])


def _taken_over(content: int) -> Handover:
    written = msgspec.msgpack.decode(os.pread(content, os.fstat(content).st_size, 0), type=_Written)
    os.close(content)
    page = None if written.page is None else Page(socket.socket(fileno=written.page[0]), written.page[1])
    live = socket.socket(fileno=written.live)
    return Handover(written.settings, written.output, written.key, written.described, live, page, written.invitation)


def _notify(state: str) -> None:
    """Tells systemd (sd_notify(3)) where it asked to be told."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


def stop_signals() -> list[int]:
    """From now on a signal to end only lengthens this list."""
    stopping: list[int] = []
    for number in SIGNALS:
        signal.signal(number, lambda which, _frame: stopping.append(which))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    return stopping


def supervise(
    supervisor: Supervisor,
    stopping: list[int],
    invitation: str | None = None,
    *,
    duration: float | None = None,
    limit: tuple[int, int] | None = None,
) -> int:
    """Runs the supervisor's loop until a signal, the time or the size is there. Returns the exit status.

    Args:
        supervisor: with its parts made.
        stopping: of stop_signals.
        invitation: a line for the log once all is ready.
        duration: seconds.
        limit: a descriptor and the size of its file in bytes.
    """
    wake, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    selector = selectors.DefaultSelector()
    selector.register(wake, selectors.EVENT_READ, lambda _mask: wake.recv(64))
    end = time.monotonic() + duration if duration is not None else None
    try:
        supervisor.start(selector)
        told, pause = False, supervisor.tick()
        while not stopping and not supervisor.finished:
            for key, mask in selector.select(pause):
                key.data(mask)
            if supervisor.failed is not None and not stopping:  # Ctrl-C ended the loader, too
                supervisor.log.error(supervisor.failed)
                return 1
            # Before it is said that all is ready: who then asks for the status finds every part in it.
            pause = supervisor.tick()
            if supervisor.ready and not told:
                told = True
                supervisor.log.info(f"ready ({supervisor.describe()})")
                if invitation is not None:
                    supervisor.log.info(invitation)
                _notify("READY=1")
            if end is not None and time.monotonic() >= end:
                break
            if limit is not None and os.fstat(limit[0]).st_size >= limit[1]:
                break
        _notify("STOPPING=1")
        return 0
    finally:
        signal.set_wakeup_fd(-1)
        supervisor.stop(STOP_S)


def main() -> int:
    """Runs the sensor until it is told to stop."""
    stopping = stop_signals()
    what = _taken_over(int(sys.argv[1]))
    try:
        supervisor = Supervisor(
            what.settings,
            Loading(what.settings),
            key=what.key,
            described=what.described,
            live=what.live,
            page=what.page,
            output=what.output,
        )
        return supervise(supervisor, stopping, what.invitation)
    except LoadError as error:
        print(f"apisensor: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
