"""Who gives way to the applications of the node, as the kernel tells it."""

from __future__ import annotations

import os

import pytest

from tests.sensor import Sensor

pytestmark = pytest.mark.kernel

_NORMAL, _GIVING_WAY = {os.SCHED_OTHER}, {os.SCHED_BATCH}


def test_parts_through_which_records_stream_give_way_with_all_their_threads() -> None:
    with Sensor() as sensor:
        policies = {
            name: {os.sched_getscheduler(int(thread)) for thread in os.listdir(f"/proc/{pid}/task")}
            for name, pid in sensor.parts().items()
        }
    assert policies == {
        **dict.fromkeys(("core", "worker-0"), _GIVING_WAY),
        **dict.fromkeys(("run", "finder", "capture", "web"), _NORMAL),
    }
