"""`apisensor run` and `apisensor record`: starts the parts, keeps them running, ends with all of them.

This process is root and stays so; it touches no payload. It holds what must survive a part: the programs, the maps, the
attached probes, the links between the parts and the pages of counters. When it ends, however that happens, every part
ends (their parent-death signal) and the kernel takes programs and probes away with the last descriptor.
"""

from __future__ import annotations

import fcntl
import os
import platform
import pwd
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import apisensor
from apisensor.content.described import DescriptorSetError
from apisensor.detect.detection import Detection, UnknownDetectorError
from apisensor.export import configuration
from apisensor.live.listening import LiveError, listen
from apisensor.metrics import configuration as metrics_configuration
from apisensor.processes.describing import describe
from apisensor.processes.loading import LOAD_WAIT_S, LoadError, Loading, cache
from apisensor.processes.parts import Page
from apisensor.processes.rights import refusal
from apisensor.processes.supervising import Handover, hand_over, stop_signals, supervise
from apisensor.processes.supervisor import Supervisor
from apisensor.redact.key import identity_key
from apisensor.replay.model import RecordingHeader
from apisensor.secret_file import SecretFileError
from apisensor.sections import Settings
from apisensor.settings import SettingsError
from apisensor.web import listening as web_listening
from apisensor.web.listening import ListenError
from apisensor.web.token import link, login_token


class StartError(Exception):
    """Why the sensor cannot start: one line that says what to do."""


EXPECTED = (
    *(StartError, LoadError, LiveError, SecretFileError, ListenError),
    *(SettingsError, UnknownDetectorError, DescriptorSetError),
)
"""Errors that say in one line why there can be no sensor."""


def main(settings: Settings, *, output: Literal["table", "jsonl", "none"]) -> int:
    """Runs the sensor until SIGINT or SIGTERM. `output`: "table", "jsonl" or "none" on standard output.

    Returns where there can be no sensor; else this process becomes another program (supervising.py).
    """
    try:
        with _only_one(settings) as lock:
            # For their errors: said at once, and not by a core that starts in vain.
            Detection(settings.detect)
            if settings.export.enabled:
                configuration.read(os.environ)
                metrics_configuration.read(os.environ)
            described = describe(settings)
            _make_state_folders(settings)
            key = identity_key(settings.key_file).load_or_create()
            page = _page(settings)
            live = listen(settings.live_socket, _account(settings).pw_gid)
            invitation = _invitation(settings, page, output)
            hand_over(Handover(settings, output, key, described, live, page, invitation), lock)
    except EXPECTED as error:
        return _refuse(str(error))


def prepare(settings: Settings) -> str:
    """Compiles the kernel side and keeps it, as a start does that finds nothing kept.

    Returns:
        Whether it was compiled, and where it is kept; one line.

    Raises:
        StartError, LoadError: it cannot be.
    """
    _need_root()
    kept = cache(settings)
    if kept is None:
        raise StartError(f"{settings.general.state_directory} is missing: `apisensor run` makes it, and compiles")
    loading = Loading(settings)
    select.select([loading], [], [], LOAD_WAIT_S)
    kernel = loading.finish()
    for descriptor in kernel.descriptors.values():
        os.close(descriptor)
    return f"programs for Linux {platform.release()}: {kernel.programs}, {kept}"


def record(settings: Settings, open_file: Callable[[], int], *, duration: float | None, max_bytes: int | None) -> int:
    """Writes a recording until it is stopped, or until so many seconds or bytes.

    Args:
        open_file: makes the file, once it is known that there can be a recording; what it raises passes through.
    """
    try:
        _need_root()
        _need_users(settings)
    except StartError as error:
        return _refuse(str(error))
    descriptor = open_file()
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_APPEND)
    now = time.monotonic_ns()
    header = RecordingHeader(
        run_id=os.urandom(16),
        sensor_version=apisensor.__version__,
        kernel_release=platform.release(),
        architecture=platform.machine(),
        start_monotonic_ns=now,
        wall_offset_ns=time.time_ns() - now,
    )
    try:
        supervisor = Supervisor(settings, Loading(settings), key=os.urandom(32), recording=(descriptor, header))
        for pid in _running(settings):
            supervisor.disown(pid)
        limit = (descriptor, max_bytes) if max_bytes is not None else None
        return supervise(supervisor, stop_signals(), duration=duration, limit=limit)
    except LoadError as error:
        return _refuse(str(error))


def _refuse(why: str) -> int:
    print(f"apisensor: {why}", file=sys.stderr)
    return 1


def _need_root() -> None:
    if os.geteuid() != 0:
        raise StartError("this needs root: run it with sudo (`apisensor doctor` says what is needed for what)")
    if (why := refusal()) is not None:
        raise StartError(why)


def _account(settings: Settings) -> pwd.struct_passwd:
    """The unprivileged parts' user; its group may use the live socket, and read the store and the login token."""
    return _user("general.user", settings.general.user)


def _user(key: str, name: str) -> pwd.struct_passwd:
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise StartError(
            f"there is no user {name}: useradd --system --no-create-home {name}, or name another one ({key})"
        ) from None
    if found.pw_uid == 0:
        raise StartError(f"{key} is {name}: name a user without rights")
    return found


def _need_users(settings: Settings) -> None:
    """What parses hostile bytes could else trace what talks to the network, or would be root."""
    sandbox = _user("general.sandbox_user", settings.general.sandbox_user)
    if _account(settings).pw_uid == sandbox.pw_uid:
        raise StartError(f"general.user and general.sandbox_user are one user ({sandbox.pw_name}): name another one")


def _make_state_folders(settings: Settings) -> None:
    """The state directory, in which root keeps its secrets and the sensor's group may look; and in it the one folder
    that core may write."""
    account, state, store = _account(settings), settings.general.state_directory, os.path.dirname(settings.store_file)
    for folder, uid in ((state, 0), (store, account.pw_uid)):
        try:
            if not os.path.isdir(folder):
                os.makedirs(folder, mode=0o750, exist_ok=True)
                os.chown(folder, uid, account.pw_gid)
        except OSError as error:
            raise StartError(f"{folder}: {error.strerror}: set general.state_directory to another folder") from error


def _page(settings: Settings) -> Page | None:
    if not (settings.web.enabled and settings.store.enabled):
        return None
    token = login_token(settings.token_file, _account(settings).pw_gid).load_or_create()
    return Page(web_listening.listen(settings), token.decode().strip())


def _invitation(settings: Settings, page: Page | None, output: str) -> str | None:
    """Where the page is. With the token only for a person: the output of a service is kept in a log."""
    if page is None:
        return None
    if output == "none":
        address = web_listening.authority(*web_listening.place(page.listening))
        return f"page: http://{address}/ (`apisensor page` prints the link that logs in)"
    return f"page: {link(settings, page.listening, page.token)}"


@contextmanager
def _only_one(settings: Settings) -> Iterator[int]:
    """Holds the node's lock, a descriptor. Raises StartError where another `run` has it."""
    _need_root()
    _need_users(settings)
    directory = settings.general.runtime_directory
    try:
        os.makedirs(directory, mode=0o755, exist_ok=True)
        lock = os.open(f"{directory}/run.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StartError(
            f"{error.filename}: {error.strerror}: set general.runtime_directory to another folder"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        os.close(lock)
        raise StartError(
            f"a sensor runs on this node already (process {holder}): `apisensor status` shows it"
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    try:
        yield lock
    finally:
        os.close(lock)


def _running(settings: Settings) -> list[int]:
    """The processes of a sensor that runs on this node already: a recording leaves them out."""
    try:
        with open(f"{settings.general.runtime_directory}/run.lock", encoding="ascii") as file:
            pid = int(file.read())
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [pid, *map(int, file.read().split())]
    except (OSError, ValueError):
        return []
