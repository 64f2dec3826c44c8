"""OTEL_TRACES_SAMPLER over transactions: which become spans.

A transaction that carried a traceparent is a child of a remote parent with that parent's sampled flag; one that did not
is a root. The SDK's samplers decide by exactly that and the trace id; asking them costs more than encoding the
span, so only TraceIdRatioBased's arithmetic is taken from there; tests compare the decisions.
"""

from __future__ import annotations

from collections.abc import Callable

from apisensor.transactions.model import Transaction

Sampler = Callable[[Transaction], bool]
"""True: the transaction becomes a span."""

SAMPLED = 1
"""W3C Trace Context, trace-flags."""


def always_on(_: Transaction) -> bool:
    return True


def always_off(_: Transaction) -> bool:
    return False


def trace_id_ratio(ratio: float) -> Sampler:
    """The share of traces, 0 to 1, whose id's lower 64 bits lie below the bound; the same in every process."""
    bound = round(ratio * (1 << 64))

    def sampler(t: Transaction) -> bool:
        return int(t.trace_id[16:], 16) < bound

    return sampler


def parent_based(root: Sampler) -> Sampler:
    """The parent's decision where there is a parent, else root's."""

    def sampler(t: Transaction) -> bool:
        return root(t) if t.parent_span_id is None else bool(t.trace_flags & SAMPLED)

    return sampler
