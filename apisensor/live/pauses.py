"""Pausing capture: what is asked of the sensor, and how it is written."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Kind = Literal["port", "process", "container", "namespace"]

MOST = 64
"""Rules at once: places in the kernel's table (MAX_PAUSES in bpf/maps.h)."""
MOST_SECONDS = 30 * 86_400
"""A rule that is to hold for longer than a month belongs into capture.never_*."""

_PATTERNS: dict[str, tuple[str, str]] = {
    "port": (r"[1-9][0-9]{0,4}", "a port is a number from 1 to 65535"),
    "process": (r"[1-9][0-9]{0,6}", "a process is a number"),
    "container": (r"[0-9a-f]{8,64}", "a container is its id, or at least 8 hexadecimal digits of its beginning"),
    "namespace": (r"[1-9][0-9]{0,9}", "a namespace is the number in `readlink /proc/PID/ns/net`"),
}


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is not captured."""

    kind: Kind
    value: str
    """A TCP port at either end; a process, with the children that it starts from then on; a container; a network
    namespace, by its inode number."""

    def __str__(self) -> str:
        return f"{self.kind} {self.value}"

    def mistake(self) -> str | None:
        """What is wrong with it, one line; None: nothing."""
        pattern, said = _PATTERNS[self.kind]
        if not re.fullmatch(pattern, self.value, re.ASCII) or (self.kind == "port" and int(self.value) > 65535):
            return f"{said}, not {self.value[:80]!r}"
        return None


class Pause(msgspec.Struct, frozen=True, kw_only=True, tag="pause", forbid_unknown_fields=True):
    """Captures nothing of what the rule says, from now on."""

    rule: Rule
    seconds: Annotated[int, Meta(ge=1, le=MOST_SECONDS)] | None = None
    """For so long; None: until it is resumed."""


class Resume(msgspec.Struct, frozen=True, kw_only=True, tag="resume", forbid_unknown_fields=True):
    """Captures it again."""

    rule: Rule
