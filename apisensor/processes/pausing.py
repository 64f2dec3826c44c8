"""Orders to pause and resume, on their way from whoever asks core to capture, and the answers back."""

from __future__ import annotations

from collections import OrderedDict

from apisensor.live.pauses import Pause, Resume
from apisensor.live.server import Reply, error
from apisensor.processes.link import Link
from apisensor.processes.messages import PauseAnswer, PauseOrder, encode

MOST_PENDING = 64
"""Orders that wait for their answer: a capture process that died over one never gives it."""


class Pausing:
    """One per core."""

    def __init__(self, capture: Link) -> None:
        self._capture = capture
        self._number = 0
        self._pending: OrderedDict[int, Reply] = OrderedDict()

    def order(self, order: Pause | Resume, reply: Reply) -> None:
        """Passes an order on; the answer comes when capture has put it into force."""
        self._number += 1
        if not self._capture.send(encode(PauseOrder(self._number, order))):
            reply(error("the capture process does not take orders just now; `apisensor status` shows its state"))
            return
        self._pending[self._number] = reply
        if len(self._pending) > MOST_PENDING:
            self._pending.popitem(last=False)

    def answered(self, answer: PauseAnswer) -> None:
        """Capture has done it, or says why not."""
        reply = self._pending.pop(answer.number, None)
        if reply is not None:
            reply(error(answer.text) if answer.refused else {"kind": "result", "text": answer.text})
