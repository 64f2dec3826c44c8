"""W3C Trace Context, level 1: reading `traceparent` and `tracestate` of a request, strictly.

What is not exactly right is not used: the ids join the span to the application's trace, and a wrong join is worse
than none.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from apisensor.content.fields import is_traceparent
from apisensor.content.matching import compiled

MEMBERS: Final = 32
"""List members of a tracestate (section 3.3.1.1)."""
LONGEST_STATE: Final = 8192
"""Bytes of combined tracestate that are kept. The specification asks vendors for at least 512."""

_LENGTH: Final = 55
_DASH: Final = 0x2D
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16
_SAMPLED: Final = 1

# Section 3.3.1.3: key, or tenant@system, then = and up to 256 printable characters without comma and equals sign.
_MEMBER: Final = compiled(
    r"[ \t]*(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e][ \t]*"
)


class TraceParent(NamedTuple):
    """A valid traceparent."""

    trace_id: str
    parent_id: str
    flags: int
    """All eight bits of version 00; of later versions the one whose meaning is known (sampled)."""


def traceparent(values: tuple[bytes, ...]) -> TraceParent | None:
    """The request's trace context; None unless there is exactly one traceparent field and it is valid."""
    if len(values) != 1:
        return None
    value = values[0].strip(b" \t")
    version = value[:2]
    if len(value) > _LENGTH and version != b"00" and value[_LENGTH] == _DASH:
        value = value[:_LENGTH]  # a later version may append more (section 4.3)
    if not is_traceparent(value) or version == b"ff":
        return None
    trace_id, parent_id, flags = value[3:35].decode(), value[36:52].decode(), int(value[53:], 16)
    if trace_id == _NO_TRACE or parent_id == _NO_SPAN:
        return None
    return TraceParent(trace_id, parent_id, flags if version == b"00" else flags & _SAMPLED)


def tracestate(values: tuple[bytes, ...]) -> str:
    """The request's tracestate fields as one list; "" where they are not valid or too long."""
    combined = b",".join(values)
    if not combined or len(combined) > LONGEST_STATE:
        return ""
    members = [member for member in combined.split(b",") if member.strip(b" \t")]
    if len(members) > MEMBERS or any(_MEMBER.fullmatch(member) is None for member in members):
        return ""
    return combined.strip(b" \t").decode("ascii")
