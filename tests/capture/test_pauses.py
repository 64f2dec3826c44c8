"""Rules that pause capture: what they enter in the kernel's tables, and what they take out again."""

from __future__ import annotations

import os
import struct

import pytest

from apisensor.capture import procfs
from apisensor.capture.kernel import POLICY_ADMITTED, Map
from apisensor.capture.pauses import POLICY_PAUSED, RULE_BYTES, PauseError, Pauses
from apisensor.live.pauses import MOST, Kind, Pause, Rule

SECOND = 1_000_000_000
NEVER, OWN = b"\2", b"\3"
POD = f"0::/system.slice/docker-{'0123456789abcdef' * 4}.scope\n"
OTHER = f"0::/system.slice/docker-{'fedcba9876543210' * 4}.scope\n"


class Table(Map):
    """A BPF map in memory, its keys packed as the kernel has them."""

    def __init__(self) -> None:
        self.entries: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.entries.get(key)

    def set(self, key: bytes, value: bytes) -> None:
        self.entries[key] = value

    def delete(self, key: bytes) -> None:
        self.entries.pop(key, None)

    def keys(self, most: int = 1 << 20) -> list[bytes]:
        return list(self.entries)[:most]


class Node:
    """Some processes, and the kernel's tables."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.maps = {name: Table() for name in ("pauses", "policies", "paused_ports", "ports_paused")}
        self.cgroups = {10: POD, 11: POD, 20: OTHER, 30: ""}
        patch.setattr(procfs, "pids", lambda: list(self.cgroups))
        patch.setattr(procfs, "status", lambda pid: (0, 1) if pid in self.cgroups else None)
        patch.setattr(procfs, "cgroup", lambda pid: self.cgroups[pid])
        self.pauses = Pauses(self.maps)

    def policy(self, pid: int) -> bytes | None:
        return self.maps["policies"].get(struct.pack("I", pid))

    def enter(self, pid: int, policy: bytes) -> None:
        self.maps["policies"].set(struct.pack("I", pid), policy)

    def pause(self, kind: Kind, value: str, seconds: int | None = None) -> int:
        return self.pauses.pause(Pause(rule=Rule(kind, value), seconds=seconds), 0)

    @property
    def ports(self) -> tuple[set[int], int]:
        entered = {struct.unpack("H", key)[0] for key in self.maps["paused_ports"].entries}
        return entered, struct.unpack("I", self.maps["ports_paused"].get(bytes(4)) or bytes(4))[0]


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(monkeypatch)


def test_ports(node: Node) -> None:
    assert (node.pause("port", "443"), node.pause("port", "8443")) == (0, 0)
    assert node.ports == ({443, 8443}, 2)
    assert node.pauses.resume(Rule("port", "443")) == []
    assert node.ports == ({8443}, 1)


def test_a_process_and_the_children_that_inherited_its_mark(node: Node) -> None:
    assert node.pause("process", "30") == 1
    mark = node.policy(30)
    assert mark is not None
    assert mark[0] >= POLICY_PAUSED
    node.enter(31, mark)  # as the kernel does at a fork
    assert node.policy(10) is None
    assert sorted(node.pauses.resume(Rule("process", "30"))) == [30, 31]
    assert node.policy(30) is node.policy(31) is None


def test_a_container_by_the_beginning_of_its_id(node: Node) -> None:
    node.enter(10, POLICY_ADMITTED)
    assert node.pause("container", "0123456789ab") == 2
    assert node.policy(10) == node.policy(11) != POLICY_ADMITTED
    assert node.policy(20) is None
    # A process of it that comes later is judged when it is executed.
    node.cgroups[12] = POD
    assert node.pauses.policy(12) == node.policy(10)
    assert node.pauses.policy(20) is None


def test_a_network_namespace(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    spaces = {f"/proc/{pid}/ns/net": f"net:[{4026531840 + (pid == 20)}]" for pid in (10, 11, 20)}

    def readlink(path: str) -> str:
        if path not in spaces:
            raise PermissionError(path)
        return spaces[path]

    monkeypatch.setattr(os, "readlink", readlink)
    assert node.pause("namespace", "4026531841") == 1
    assert node.policy(20) is not None
    assert node.policy(10) is node.policy(30) is None


def test_what_is_never_captured_and_the_sensor_itself_stay_what_they_are(node: Node) -> None:
    node.enter(10, NEVER)
    node.enter(11, OWN)
    assert node.pause("container", "0123456789abcdef") == 0
    assert (node.policy(10), node.policy(11)) == (NEVER, OWN)
    assert node.pauses.resume(Rule("container", "0123456789abcdef")) == []
    assert (node.policy(10), node.policy(11)) == (NEVER, OWN)


def test_two_rules_of_one_process(node: Node) -> None:
    """Resuming one leaves it to the other: whoever resumes judges the process anew."""
    node.pause("process", "10")
    node.pause("container", "0123456789ab")
    assert node.pauses.resume(Rule("process", "10")) == [10]
    assert node.pauses.policy(10) == node.policy(11)


def test_a_rule_holds_as_long_as_it_says(node: Node) -> None:
    node.pause("port", "443", seconds=10)
    node.pause("process", "30", seconds=20)
    assert list(node.pauses.told(4 * SECOND)) == ["port 443, 6 s to go", "process 30, 16 s to go"]
    assert node.pauses.expire(10 * SECOND - 1) == []
    assert node.ports == ({443}, 1)
    assert node.pauses.expire(10 * SECOND) == []
    assert node.ports == (set(), 0)
    assert node.pauses.expire(20 * SECOND) == [30]
    assert list(node.pauses.told(20 * SECOND)) == []


def test_asked_again_it_is_the_same_rule_with_the_new_end(node: Node) -> None:
    node.pause("port", "443", seconds=10)
    node.pause("port", "443")
    assert list(node.pauses.told(0)) == ["port 443"]
    assert node.pauses.expire(99 * SECOND) == []
    assert node.ports == ({443}, 1)


def test_the_next_capture_process_has_the_rules(node: Node) -> None:
    node.pause("port", "443", seconds=10)
    node.pause("container", "0123456789ab")
    later = Pauses(node.maps)
    assert list(later.told(0)) == ["port 443, 10 s to go", "container 0123456789ab"]
    assert later.policy(11) == node.policy(11)
    assert sorted(later.resume(Rule("container", "0123456789ab"))) == [10, 11]


def test_what_cannot_be_done_is_said(node: Node) -> None:
    with pytest.raises(PauseError, match="no process 99"):
        node.pause("process", "99")
    with pytest.raises(PauseError, match=r"port 1 is not paused.*status"):
        node.pauses.resume(Rule("port", "1"))
    for port in range(MOST):
        node.pause("port", str(port + 1))
    with pytest.raises(PauseError, match=f"{MOST} rules"):
        node.pause("port", "4000")
    assert node.ports[1] == MOST


def test_every_rule_has_room_in_its_place(node: Node) -> None:
    node.pause("container", "f" * 64, seconds=30 * 86_400)
    node.pause("port", "65535", seconds=30 * 86_400)
    assert all(len(value) <= RULE_BYTES for value in node.maps["pauses"].entries.values())


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *(("port", value) for value in ("0", "65536", "http", "", "80 ", "-1", "٣")),
        *(("process", value) for value in ("0", "1e3", "")),
        *(("container", value) for value in ("0123456", "0123456G", "A" * 12, "f" * 65)),
        *(("namespace", value) for value in ("net:[1]", "", "0")),
    ],
)
def test_values_that_are_none(kind: Kind, value: str) -> None:
    assert Rule(kind, value).mistake() is not None


@pytest.mark.parametrize(
    ("kind", "value"),
    [("port", "1"), ("port", "65535"), ("process", "4194304"), ("container", "0123abcd"), ("namespace", "4026531840")],
)
def test_values_that_are(kind: Kind, value: str) -> None:
    assert Rule(kind, value).mistake() is None
