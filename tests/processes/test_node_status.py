"""What the status says of a process's TLS, for what the kernel counted of it."""

from __future__ import annotations

import pytest

from apisensor.enrich.processes import ProcessTable
from apisensor.processes.messages import KernelReport, Parts, PartState, ProcessTraffic
from apisensor.processes.node_status import UNSEEN_BYTES, NodeStatus

SSL = "/usr/lib/libssl.so.3"


@pytest.mark.parametrize(
    ("row", "blind", "note"),
    [
        ((0, 0, 0, 5, 0, None, None), False, None),
        ((900, 0, 0, 5, 0, None, None), False, None),
        ((0, 9_000, 4_000, 5, 0, SSL, None), False, None),
        ((0, 9_000, 0, 5, 9_000, None, None), True, "blind spot: no TLS library that is known"),
        ((0, 9_000, 0, 5, 9_000, None, "Java (JSSE): why; remedy"), True, "blind spot: Java (JSSE): why; remedy"),
        ((0, 9_000, 0, 5, 0, SSL, None), False, "its TLS library is attached, but no call of it was seen"),
        ((0, 900_000, 700_000, 5, UNSEEN_BYTES, SSL, None), False, None),  # handshakes of older connections
        ((0, 9_000_000, 8_000_000, 5, 90_000, SSL, None), False, None),
        ((0, 9_000_000, 8_000, 5, 8_900_000, SSL, None), False, f"8.9M of its TLS passed outside of {SSL}: "),
    ],
)
def test_tls(row: tuple[int, int, int, int, int, str | None, str | None], blind: bool, note: str | None) -> None:
    node = NodeStatus(dict, ProcessTable(), None, None)
    node.kernel = KernelReport({}, [ProcessTraffic(7, *row)])
    (said,) = node.status().processes
    assert (said.pid, said.blind, said.attached) == (7, blind, row[5] is not None)
    assert (said.encrypted_bytes, said.decrypted_bytes, said.captured_bytes, said.unseen_bytes) == row[1:5]
    assert said.plaintext_bytes == row[0] + row[2]
    assert (said.note is None) if note is None else (said.note or "").startswith(note)


def test_a_part_that_was_not_started_yet_is_not_called_dead() -> None:
    node = NodeStatus(dict, ProcessTable(), None, None)
    states = {"core": (12, None), "capture": (None, None), "worker-0": (None, "signal 9")}
    parts = [PartState(name, pid, "", 0, 0, ended, None) for name, (pid, ended) in states.items()]
    node.parts = Parts([*parts, PartState("web", None, "", 0, 0, None, None, resting=True)])
    said = "\n".join(node.quiet(10.0))
    assert "still starting: capture;" in said
    assert "not running just now: worker-0;" in said
    assert "web" not in said
