"""How capture asks the finder, which may be dead, or in the hands of a file that it read: it is not trusted."""

from __future__ import annotations

import itertools
import os
import select
import time

import msgspec

from apisensor.finder.answer import Found, Question
from apisensor.processes.link import Link

WAIT_S = 6.0
"""How long one answer may take: the finder, while it works, ends sooner (finder.ANSWER_S)."""

_decode = msgspec.msgpack.Decoder(Found).decode


class Asking:
    """One question at a time, each with a number that its answer has."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._number = 0

    def ask(self, descriptor: int, question: Question) -> Found | None:
        """About an open file. None: there is no answer, or none that can be one."""
        self._number += 1
        deadline = time.monotonic() + WAIT_S
        if not self._link.send(self._number.to_bytes(8, "little") + question.value, [descriptor]):
            return None
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self._link], [], [], left)[0]:
                break
            received = self._link.receive()
            if received is None:
                continue
            try:
                found = _decode(received[0])
            except msgspec.MsgspecError:
                return None  # whoever took the finder over may say anything
            if found.question == self._number:
                size = os.fstat(descriptor).st_size
                places = [*found.offsets.values(), *itertools.chain(*found.returns.values())]
                return found if all(0 < offset < size for offset in places) else None
        return None
