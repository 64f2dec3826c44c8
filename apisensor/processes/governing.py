"""Looks at what the sensor uses and puts the governor's word into force. `run` does it: it knows every part.

What counts: the parts, from the moment each is ready (that it starts is no traffic's doing), and the run time of the
BPF programs, which the kernel measures meanwhile where `run` has CAP_SYS_ADMIN. What the traps into them cost the
kernel does not tell: that is left out.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence

from apisensor.capture.kernel import Map, count_run_time, run_time_ns
from apisensor.capture.procfs import cpu_ns
from apisensor.events.decode import GOVERNOR
from apisensor.processes.governor import LEVELS, Governor
from apisensor.processes.messages import GovernorState

LOOK_NS = 1_000_000_000
"""/proc tells CPU in ticks of 10 ms: in a second that is one percent of a processor."""


class Governing:
    """
    Args:
        share_percent: Of the machine.
        descriptors: Programs and maps as the loader named them.
    """

    def __init__(self, share_percent: int, descriptors: Mapping[str, int]) -> None:
        self._share_percent = share_percent
        self._governor = Governor(share_percent / 100)
        self._map = Map(descriptors["map:governor"], 4, GOVERNOR.size)
        self._programs = programs_of(descriptors)
        self._measuring = _measure()
        """In force while this is open; None: it may not."""
        self._seen: dict[int, int] = {}
        """Process: its CPU at the last look."""
        self._parts_ns = 0
        self._next_ns = 0

    @property
    def note(self) -> str | None:
        """What it does not see, one line."""
        if self._measuring is not None:
            return None
        return "the governor counts the parts only: without CAP_SYS_ADMIN the kernel does not measure BPF programs"

    def look(self, pids: Sequence[int]) -> bool:
        """Takes a sample of the parts, where it is time to. True: something else is left out than before."""
        now = time.monotonic_ns()
        if now < self._next_ns:
            return False
        self._next_ns = now + LOOK_NS
        seen = {pid: used for pid in pids if (used := cpu_ns(pid)) is not None}
        self._parts_ns += sum(used - self._seen.get(pid, used) for pid, used in seen.items())
        self._seen = seen
        programs_ns = sum(map(run_time_ns, self._programs))
        before = self._governor.level
        level = self._governor.sample(now, self._parts_ns + programs_ns, os.cpu_count() or 1)
        if self._governor.level == before:
            return False
        self._map.set(bytes(4), GOVERNOR.pack(level.shed, level.bodies))
        return True

    def wait_s(self) -> float:
        """Until the next look."""
        return max(0.0, (self._next_ns - time.monotonic_ns()) / 1e9)

    def state(self) -> GovernorState:
        """For core."""
        governor = self._governor
        level = LEVELS[governor.level]
        return GovernorState(
            self._share_percent, governor.used * 100, governor.level, level.bodies, (1 - level.kept) * 100
        )


def programs_of(descriptors: Mapping[str, int]) -> list[int]:
    """The BPF programs among what was loaded, whatever the back end attaches them to."""
    return [one for name, one in descriptors.items() if not name.startswith(("map:", "ring:"))]


def _measure() -> int | None:
    try:
        return count_run_time()
    except PermissionError:
        return None
