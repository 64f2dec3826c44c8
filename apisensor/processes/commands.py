"""What people change through core's socket: {"command": ...} of store/commands.py and live/pauses.py.

The store answers from its own thread; the answer goes back to whoever asked in core's loop, which a byte wakes.
"""

from __future__ import annotations

import os
import pwd
import queue
import selectors
from collections.abc import Callable

import msgspec

from apisensor.live.connection import Asker
from apisensor.live.listening import LiveError
from apisensor.live.pauses import Pause, Resume
from apisensor.live.server import Reply, error
from apisensor.processes.pausing import Pausing
from apisensor.store.commands import Command, Done, Failed, Purge, SetState
from apisensor.store.service import StoreService

_decode = msgspec.json.Decoder(Command | Pause | Resume).decode


class Commands:
    """One per core. `answer` is the live server's answer to "command"."""

    def __init__(self, store: StoreService | None, pausing: Pausing, selector: selectors.BaseSelector) -> None:
        self._store, self._pausing = store, pausing
        self._done: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        selector.register(self._woken, selectors.EVENT_READ, self._answer_all)

    def answer(self, question: bytes, asker: Asker, reply: Reply) -> None:
        """Raises msgspec.MsgspecError: it is no command. Raises LiveError: it may not be, or there is no store."""
        command = _decode(question)
        if isinstance(command, Pause | Resume):
            if asker.uid != 0:
                raise LiveError("only root may pause and resume capture")
            if (mistake := command.rule.mistake()) is not None:
                raise LiveError(mistake)
            self._pausing.order(command, reply)
            return
        if self._store is None:
            raise LiveError("nothing is kept: store.enabled is false")
        if isinstance(command, Purge) and asker.uid != 0:
            raise LiveError("only root may purge the store")
        if isinstance(command, SetState) and asker.uid not in (0, os.getuid()):
            # Root's commands and the page say who it was; whoever else asks is who the kernel says.
            command = msgspec.structs.replace(command, who=_user(asker.uid))
        self._store.execute(command, lambda result: self._later(lambda: reply(_result(result))))

    def _later(self, work: Callable[[], None]) -> None:
        """From the store's thread."""
        self._done.put(work)
        try:
            os.write(self._wake, b"x")
        except BlockingIOError:
            return  # the loop has not read thousands of bytes yet: it is woken all the same

    def _answer_all(self, _mask: int) -> None:
        os.read(self._woken, 4096)
        while True:
            try:
                work = self._done.get_nowait()
            except queue.Empty:
                return
            work()


def _result(result: Done | Failed) -> dict[str, object]:
    if isinstance(result, Failed):
        return error(result.message)
    return {"kind": "result", **msgspec.to_builtins(result)}


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
