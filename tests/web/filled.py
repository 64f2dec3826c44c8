"""A real store with what node.py has, written as core writes it."""

from __future__ import annotations

import queue

from apisensor.sections import Store
from apisensor.store.commands import Done, Failed, SetState
from apisensor.store.service import StoreService
from tests.web import node

WITHIN_S = 30.0
SETTLED = 40
"""Deltas put at once: more would fill the store's queue, as a flood would."""


class FilledStore:
    """Holds the writer, as core does, until `close`."""

    def __init__(self, path: str, now: int, empty: bool = False) -> None:
        self.path = path
        self._service = StoreService(path, Store())
        self._service.start()
        if not empty:
            self._fill(now)
        self._settle()
        lost = {name: count for name, count in self._service.counters().items() if ".lost." in name and count}
        assert not lost, f"not all of the node is stored: {lost}"

    def triage(self, change: SetState) -> None:
        """What core does with the command. Raises ValueError where the store refuses."""
        done = self._command(
            SetState(finding=change.finding, state=change.state, who=change.who, comment=change.comment)
        )
        if isinstance(done, Failed):
            raise ValueError(done.message)

    def close(self) -> None:
        self._service.close(WITHIN_S)

    def _fill(self, now: int) -> None:
        for index, delta in enumerate((node.inventory(now), *node.lately(now))):
            self._service.inventory(delta)
            if index % SETTLED == 0:
                self._settle()
        for index in reversed(range(node.CALLS)):
            self._service.put(node.call(index, now), node.endpoint_id(node.endpoint_of(index)), True)
        for finding in node.findings(now):
            self._service.finding(finding)
        for index, (*_, state, _, _) in enumerate(node.FINDINGS):
            if state != "open":
                comment = f"Looked at it. {node.HOSTILE[0]}"
                self.triage(SetState(finding=node.finding_id(index), state=state, comment=comment, who="alice"))

    def _settle(self) -> None:
        """Returns when what was put before is written: commands are answered in their turn."""
        self._command(SetState(finding="none", state="open", who="nobody"))

    def _command(self, command: SetState) -> Done | Failed:
        answers: queue.Queue[Done | Failed] = queue.Queue()
        self._service.execute(command, answers.put)
        return answers.get(timeout=WITHIN_S)
