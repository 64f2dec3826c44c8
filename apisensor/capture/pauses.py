"""Which rules pause capture, and putting them into force in the kernel.

Rules are kept in a map of the kernel side, so that the next capture process has them. A process is paused by its
policy, which names the place of its rule, so that its children are known for the same rule's; a port by a map of ports.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Mapping

import msgspec

from apisensor.capture import procfs
from apisensor.capture.kernel import POLICY_ADMITTED, Map
from apisensor.enrich.cgroup import membership
from apisensor.live.pauses import MOST, Pause, Rule

POLICY_PAUSED = 64
"""First of the policies that say so; one for each place."""
RULE_BYTES = 128
"""struct pause."""
_SCANS = 2
"""Looks at all processes: one that was forked during the first, by a parent not yet paused, is found by the second."""


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """A rule in force, as it lies in the map."""

    rule: Rule
    until_ns: int | None
    """CLOCK_MONOTONIC; None: until it is resumed."""


class PauseError(Exception):
    """It cannot be done: one line."""


class Pauses:
    """All rules in force.

    Args:
        maps: "pauses", "policies", "paused_ports", "ports_paused".
    """

    def __init__(self, maps: Mapping[str, Map]) -> None:
        self._maps = maps
        self._kept: dict[int, Kept] = {}
        for place in range(MOST):
            text = (maps["pauses"].get(_place(place)) or b"").rstrip(b"\0")
            if text:
                self._kept[place] = msgspec.json.decode(text, type=Kept)

    def pause(self, order: Pause, now_ns: int) -> int:
        """Puts a rule into force. Returns how many processes it is of now (a port: 0). Raises PauseError."""
        rule = order.rule
        place = next((place for place, kept in self._kept.items() if kept.rule == rule), None)
        if place is None:
            place = next((place for place in range(MOST) if place not in self._kept), None)
        if place is None:
            raise PauseError(f"{MOST} rules are in force already: resume one")
        if rule.kind == "process" and procfs.status(int(rule.value)) is None:
            raise PauseError(f"there is no process {rule.value}")
        until = now_ns + order.seconds * 1_000_000_000 if order.seconds is not None else None
        self._kept[place] = kept = Kept(rule, until)
        self._maps["pauses"].set(_place(place), msgspec.json.encode(kept))
        if rule.kind == "port":
            self._maps["paused_ports"].set(struct.pack("H", int(rule.value)), b"\1")
            self._count_ports()
            return 0
        mark, policies, found = bytes((POLICY_PAUSED + place,)), self._maps["policies"], set()
        for _ in range(_SCANS):
            for pid in procfs.pids():
                if _matches(rule, pid):
                    key = struct.pack("I", pid)
                    if may_be_paused(policies.get(key)):
                        policies.set(key, mark)
                        found.add(pid)
        return len(found)

    def resume(self, rule: Rule) -> list[int]:
        """Takes a rule out of force. Returns the processes that are to be judged anew: their policy is taken from them.
        Raises PauseError: there is no such rule."""
        place = next((place for place, kept in self._kept.items() if kept.rule == rule), None)
        if place is None:
            raise PauseError(f"{rule} is not paused; `apisensor status` lists what is")
        return self._end(place)

    def expire(self, now_ns: int) -> list[int]:
        """Ends what is to hold no longer. Returns the same as `resume`."""
        over = [p for p, kept in self._kept.items() if kept.until_ns is not None and kept.until_ns <= now_ns]
        return [pid for place in over for pid in self._end(place)]

    def policy(self, pid: int) -> bytes | None:
        """The policy of a process that a rule is of; None: none is."""
        for place, kept in self._kept.items():
            if _matches(kept.rule, pid):
                return bytes((POLICY_PAUSED + place,))
        return None

    def told(self, now_ns: int) -> Iterator[str]:
        """The rules in force, for people."""
        for kept in self._kept.values():
            left = "" if kept.until_ns is None else f", {max(0, kept.until_ns - now_ns) // 1_000_000_000} s to go"
            yield f"{kept.rule}{left}"

    def _end(self, place: int) -> list[int]:
        rule = self._kept.pop(place).rule
        self._maps["pauses"].set(_place(place), bytes(RULE_BYTES))
        if rule.kind == "port":
            self._maps["paused_ports"].delete(struct.pack("H", int(rule.value)))
            self._count_ports()
            return []
        policies, mark = self._maps["policies"], bytes((POLICY_PAUSED + place,))
        found = policies.keys()
        paused = [key for key in found if policies.get(key) == mark]
        for key in paused:
            policies.delete(key)
        return [struct.unpack("I", key)[0] for key in paused]

    def _count_ports(self) -> None:
        ports = sum(kept.rule.kind == "port" for kept in self._kept.values())
        self._maps["ports_paused"].set(bytes(4), struct.pack("I", ports))


def may_be_paused(policy: bytes | None) -> bool:
    """Not what is never captured anyway, nor what is paused by another rule."""
    return policy is None or policy == POLICY_ADMITTED


def _place(place: int) -> bytes:
    return struct.pack("I", place)


def _matches(rule: Rule, pid: int) -> bool:
    """Is the rule of this process? Of ports none is."""
    if rule.kind == "process":
        return pid == int(rule.value)
    if rule.kind == "container":
        return (membership(procfs.cgroup(pid)).container or "").startswith(rule.value)
    if rule.kind == "namespace":
        try:
            found = re.fullmatch(r"net:\[(\d+)\]", os.readlink(f"/proc/{pid}/ns/net"))
        except OSError:
            return False
        return found is not None and found[1] == rule.value
    return False
