"""What each OTEL_* variable does to metrics, and the one line that each wrong value gives."""

from __future__ import annotations

import pytest

from apisensor.metrics import configuration
from apisensor.metrics.configuration import Configuration
from apisensor.settings import SettingsError


def read(**environ: str) -> Configuration:
    found = configuration.read(environ)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_METRICS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"},
        {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_METRICS_EXPORTER": "otlp"},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4317"},
    ],
)
def test_export_is_off(environ: dict[str, str]) -> None:
    assert configuration.read(environ) is None


def test_defaults() -> None:
    found = read(OTEL_METRICS_EXPORTER="otlp")
    assert found.otlp.endpoint == "http://localhost:4318/v1/metrics"
    assert (found.interval_ns, found.temporality) == (60 * 10**9, "cumulative")


def test_the_signals_own_variables_win() -> None:
    found = read(
        OTEL_EXPORTER_OTLP_ENDPOINT="http://c:4318/base/",
        OTEL_EXPORTER_OTLP_HEADERS="a=1",
        OTEL_EXPORTER_OTLP_METRICS_HEADERS="b=2",
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="http://other/",
        OTEL_METRIC_EXPORT_INTERVAL="5000",
        OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="Delta",
        OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION="explicit_bucket_histogram",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test",
    )
    assert (found.otlp.endpoint, found.otlp.headers) == ("http://c:4318/base/v1/metrics", (("b", "2"),))
    assert (found.interval_ns, found.temporality) == (5 * 10**9, "delta")
    assert found.resource_attributes == {"deployment.environment.name": "test"}
    assert read(OTEL_EXPORTER_OTLP_METRICS_ENDPOINT="http://c/x").otlp.endpoint == "http://c/x"


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("OTEL_METRICS_EXPORTER", "console", "otlp, prometheus, none"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "10", "a whole number from 1000 to 3600000"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "both", "cumulative, delta, lowmemory"),
        (
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
            "base2_exponential_bucket_histogram",
            "explicit_bucket_histogram",
        ),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json", "grpc, http/protobuf"),
    ],
)
def test_what_is_not_allowed_is_said_in_one_line(name: str, value: str, allowed: str) -> None:
    with pytest.raises(SettingsError) as error:
        read(**{"OTEL_METRICS_EXPORTER": "otlp", name: value})
    assert str(error.value) == f"{name}: {value!r} is not allowed; allowed: {allowed}"
