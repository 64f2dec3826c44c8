from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.redact.trace_context import TraceParent, traceparent, tracestate

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
VALID = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("value", "flags"),
    [
        (VALID, 1),
        (f" {VALID}\t", 1),
        (f"00-{TRACE}-{SPAN}-00", 0),
        (f"00-{TRACE}-{SPAN}-ff", 255),
        (f"01-{TRACE}-{SPAN}-03", 1),
        (f"cc-{TRACE}-{SPAN}-02", 0),
        (f"cc-{TRACE}-{SPAN}-01-what-comes", 1),
        (f"cc-{TRACE}-{SPAN}-01-", 1),
    ],
)
def test_valid(value: str, flags: int) -> None:
    assert traceparent((value.encode(),)) == TraceParent(TRACE, SPAN, flags)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"ff-{TRACE}-{SPAN}-01-x",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01-x",
        f"00-{TRACE}-{SPAN}-01.",
        f"cc-{TRACE}-{SPAN}-01.x",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN.upper()}-01",
        f"0A-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0A",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"00_{TRACE}_{SPAN}_01",
        f"00-{TRACE}{SPAN}--01",
        f"{VALID},{VALID}",
    ],
)
def test_invalid(value: str) -> None:
    assert traceparent((value.encode(),)) is None


def test_exactly_one() -> None:
    assert traceparent(()) is None
    assert traceparent((VALID.encode(), VALID.encode())) is None


@settings(deadline=None)  # the machine may be busy
@given(st.binary(max_size=80))
def test_anything(value: bytes) -> None:
    found = traceparent((value,))
    assert found is None or len(found.trace_id) == 32
    tracestate((value, value))


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ([b"rojo=00f067aa0ba902b7"], "rojo=00f067aa0ba902b7"),
        ([b"rojo=1,congo=2"], "rojo=1,congo=2"),
        ([b"rojo=1", b"congo=2"], "rojo=1,congo=2"),
        ([b"rojo=1 , ,congo=2"], "rojo=1 , ,congo=2"),
        ([b"1tenant@sys=x"], "1tenant@sys=x"),
        ([b"a/b_c*d-e=x y"], "a/b_c*d-e=x y"),
        ([b",".join(b"k%d=v" % i for i in range(32))], ",".join(f"k{i}=v" for i in range(32))),
        ([b",".join(b"k%d=v" % i for i in range(33))], ""),
        ([b"rojo"], ""),
        ([b"Rojo=1"], ""),
        ([b"rojo="], ""),
        ([b"rojo=a=b"], ""),
        ([b"rojo=\xc3\xa9"], ""),
        ([b"rojo=" + b"x" * 257], ""),
        ([b"9a=1"], ""),
        ([b""], ""),
    ],
)
def test_tracestate(values: list[bytes], state: str) -> None:
    assert tracestate(tuple(values)) == state
