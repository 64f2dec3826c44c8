"""Our samplers against the SDK's, decision by decision."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    Decision,
    ParentBasedTraceIdRatio,
    Sampler,
    TraceIdRatioBased,
)

from apisensor.export import configuration
from apisensor.export.sampling import Sampler as OurSampler
from tests.export.records import call

RATIO = 0.25
THEIRS: dict[str, Sampler] = {
    "always_on": ALWAYS_ON,
    "always_off": ALWAYS_OFF,
    "traceidratio": TraceIdRatioBased(RATIO),
    "parentbased_always_on": DEFAULT_ON,
    "parentbased_always_off": DEFAULT_OFF,
    "parentbased_traceidratio": ParentBasedTraceIdRatio(RATIO),
}


def test_every_sampler_is_compared() -> None:
    assert THEIRS.keys() == configuration.SAMPLERS.keys()


def ours(name: str) -> OurSampler:
    found = configuration.read(
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": str(RATIO)}
    )
    assert found is not None
    return found.sampler


OURS = {name: ours(name) for name in THEIRS}


@pytest.mark.parametrize("name", THEIRS)
@given(
    trace_id=st.integers(1, 2**128 - 1),
    parent_id=st.one_of(st.none(), st.integers(1, 2**64 - 1)),
    flags=st.sampled_from([0, 1, 2, 3]),
)
@example(trace_id=2**62 - 1, parent_id=None, flags=1)
@example(trace_id=2**62, parent_id=None, flags=1)
@settings(deadline=None)
def test_decisions_are_the_sdks(name: str, trace_id: int, parent_id: int | None, flags: int) -> None:
    context: Context | None = None
    if parent_id is not None:
        parent = trace.SpanContext(trace_id, parent_id, is_remote=True, trace_flags=trace.TraceFlags(flags))
        context = trace.set_span_in_context(trace.NonRecordingSpan(parent), Context())
    decision = THEIRS[name].should_sample(context or Context(), trace_id, "GET").decision
    t = call(
        trace_id=f"{trace_id:032x}",
        parent_span_id=None if parent_id is None else f"{parent_id:016x}",
        trace_flags=flags if parent_id is not None else 1,
    )
    assert OURS[name](t) is (decision is Decision.RECORD_AND_SAMPLE)


def test_the_default_is_the_specifications() -> None:
    found = configuration.read({"OTEL_TRACES_EXPORTER": "otlp"})
    assert found is not None
    assert found.sampler(call(parent_span_id=None))
    assert found.sampler(call(trace_flags=1))
    assert not found.sampler(call(trace_flags=0))
