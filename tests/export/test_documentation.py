"""docs/export.md against the code: variables, defaults, causes, attributes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from opentelemetry.semconv._incubating.attributes import (
    gen_ai_attributes,
    graphql_attributes,
    mcp_attributes,
    rpc_attributes,
)

from apisensor.export import configuration, operation, otlp, resource, span
from apisensor.export.delivery import CAUSES
from apisensor.export.semantics import SCHEMA_URL
from apisensor.export.wire import Attribute

TEXT = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
CODE = set(re.findall(r"`([^`]+)`", TEXT))


@pytest.mark.parametrize("name", configuration.VARIABLES)
def test_every_variable(name: str) -> None:
    assert name.replace("OTLP_TRACES_", "OTLP_") in CODE


def test_no_variable_that_is_not_read() -> None:
    named = {name for name in CODE if re.fullmatch(r"OTEL_[A-Z_]+[A-WYZ]", name)}
    assert named - set(configuration.VARIABLES) == {"OTEL_SERVICE_NAME"}


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("OTEL_EXPORTER_OTLP_TIMEOUT", otlp.DEFAULT_TIMEOUT_MS),
        ("OTEL_BSP_SCHEDULE_DELAY", configuration.DEFAULT_SCHEDULE_DELAY_MS),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", configuration.DEFAULT_BATCH_SPANS),
        ("OTEL_BSP_MAX_QUEUE_SIZE", configuration.DEFAULT_QUEUE_SPANS),
        ("OTEL_BSP_EXPORT_TIMEOUT", configuration.DEFAULT_EXPORT_TIMEOUT_MS),
    ],
)
def test_defaults(name: str, default: int) -> None:
    assert re.search(rf"^\| `{name}` \| .* \| {default}( \(SDK: \d+\))? \|$", TEXT, re.MULTILINE)


def test_causes() -> None:
    table = TEXT.partition("| dropped as |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(CAUSES)


def test_attributes() -> None:
    values = [*vars(span).values(), *vars(operation).values(), *vars(resource).values()]
    found = {value.key for value in values if isinstance(value, Attribute)} | resource.OBSERVED
    assert len(found) > 40
    assert found <= CODE
    prefixes = r"(apisensor|http|url|rpc|graphql|mcp|gen_ai|network|server|client)\.[a-z_.]+"
    assert {name for name in CODE if re.fullmatch(prefixes, name)} <= found


def test_schema() -> None:
    assert SCHEMA_URL.rpartition("/")[2] in TEXT


def test_names_are_those_of_the_conventions() -> None:
    modules = (gen_ai_attributes, graphql_attributes, mcp_attributes, rpc_attributes)
    known = {value for module in modules for value in vars(module).values() if isinstance(value, str)}
    used = {value.key for value in vars(operation).values() if isinstance(value, Attribute)}
    assert {key for key in used if not key.startswith("apisensor.")} <= known
