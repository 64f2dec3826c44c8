"""The standard OTEL_* variables for spans -> one frozen object. docs/export.md has the table; a test compares it with
VARIABLES."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import msgspec

from apisensor.export import sampling
from apisensor.export.environment import Environment
from apisensor.export.otlp import Otlp, variables
from apisensor.export.otlp import read as read_otlp
from apisensor.export.semantics import KNOWN_METHODS
from apisensor.export.signal import TRACES

DEFAULT_SCHEDULE_DELAY_MS = 1_000
"""The SDK has 5,000; who makes a call and looks at Jaeger should see it. Under load the batch size decides anyway."""
DEFAULT_QUEUE_SPANS = 16_384
"""The SDK has 2,048, for one process. A node's worth at 1,000 calls a second, both views seen, would be one second."""
DEFAULT_BATCH_SPANS = 512
DEFAULT_EXPORT_TIMEOUT_MS = 30_000

CAPTURE_HEADERS = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_"

VARIABLES = (
    "OTEL_SDK_DISABLED",
    "OTEL_TRACES_EXPORTER",
    *variables(TRACES),
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS",
    *(CAPTURE_HEADERS + f"{side}_{message}" for side in ("SERVER", "CLIENT") for message in ("REQUEST", "RESPONSE")),
)


class Configuration(msgspec.Struct, frozen=True):
    """Everything that the OTEL_* variables say about export."""

    otlp: Otlp
    schedule_delay_ns: int
    queue_spans: int
    batch_spans: int
    export_timeout_s: float
    sampler: sampling.Sampler
    resource_attributes: dict[str, str]
    known_methods: frozenset[str]
    capture_headers: dict[str, tuple[str, ...]]
    """Keys "server_request", "server_response", "client_request", "client_response"."""


def read(environ: Mapping[str, str]) -> Configuration | None:
    """What to do; None where export is switched off or nothing asks for it.

    Raises:
        SettingsError: a variable has a value that is not allowed; one line, with name, value and what is allowed.
    """
    env = Environment(environ, TRACES)
    if env.boolean("OTEL_SDK_DISABLED"):
        return None
    exporter = env.get("OTEL_TRACES_EXPORTER").lower()
    if exporter not in {"", "otlp", "none"}:
        raise env.error("OTEL_TRACES_EXPORTER", "otlp, none")
    if exporter == "none" or (not exporter and not any(env.get(name) for name in variables(TRACES))):
        return None
    queue_spans = env.integer("OTEL_BSP_MAX_QUEUE_SIZE", DEFAULT_QUEUE_SPANS, 1, 1_000_000)
    batch_spans = env.integer("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", min(DEFAULT_BATCH_SPANS, queue_spans), 1, queue_spans)
    return Configuration(
        otlp=read_otlp(env),
        schedule_delay_ns=1_000_000 * env.integer("OTEL_BSP_SCHEDULE_DELAY", DEFAULT_SCHEDULE_DELAY_MS, 0, 3_600_000),
        queue_spans=queue_spans,
        batch_spans=batch_spans,
        export_timeout_s=env.integer("OTEL_BSP_EXPORT_TIMEOUT", DEFAULT_EXPORT_TIMEOUT_MS, 1, 3_600_000) / 1000,
        sampler=_sampler(env),
        resource_attributes=env.pairs("OTEL_RESOURCE_ATTRIBUTES"),
        known_methods=frozenset(env.names("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS")) or KNOWN_METHODS,
        capture_headers={
            f"{side}_{message}": env.names(CAPTURE_HEADERS + f"{side}_{message}".upper())
            for side in ("server", "client")
            for message in ("request", "response")
        },
    )


def _ratio(env: Environment) -> sampling.Sampler:
    text = env.get("OTEL_TRACES_SAMPLER_ARG") or "1.0"
    try:
        ratio = float(text)
    except ValueError:
        ratio = math.nan
    if not 0 <= ratio <= 1:
        raise env.error("OTEL_TRACES_SAMPLER_ARG", "a number from 0 to 1")
    return sampling.trace_id_ratio(ratio)


SAMPLERS: dict[str, Callable[[Environment], sampling.Sampler]] = {
    "always_on": lambda _: sampling.always_on,
    "always_off": lambda _: sampling.always_off,
    "traceidratio": _ratio,
    "parentbased_always_on": lambda _: sampling.parent_based(sampling.always_on),
    "parentbased_always_off": lambda _: sampling.parent_based(sampling.always_off),
    "parentbased_traceidratio": lambda env: sampling.parent_based(_ratio(env)),
}


def _sampler(env: Environment) -> sampling.Sampler:
    name = env.get("OTEL_TRACES_SAMPLER") or "parentbased_always_on"
    if name not in SAMPLERS:
        raise env.error("OTEL_TRACES_SAMPLER", ", ".join(SAMPLERS))
    return SAMPLERS[name](env)
