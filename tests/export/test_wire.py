"""Each wire primitive against the generated classes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from apisensor.export.wire import (
    SHORT,
    BoolAttribute,
    DoubleAttribute,
    IntAttribute,
    StringAttribute,
    StringsAttribute,
    varint,
)

KEY = "some.key"


def attribute_of_span(encoded: bytes) -> KeyValue:
    """The only attribute of a Span; serialized again it must give the same bytes, so none is superfluous."""
    span = Span.FromString(encoded)
    assert span.SerializeToString() == encoded
    (attribute,) = span.attributes
    return attribute


@given(st.integers(0, 2**64 - 1))
@example(127)
@example(128)
@example(2**63)
@settings(deadline=None)
def test_varint_is_what_protobuf_writes(n: int) -> None:
    # dropped_attributes_count has 32 bits; the 64 of an int_value show the rest.
    encoded = varint(n)
    assert len(encoded) == max(1, math.ceil(n.bit_length() / 7))
    assert sum((byte & 127) << 7 * i for i, byte in enumerate(encoded)) == n
    assert [byte >> 7 for byte in encoded] == [1] * (len(encoded) - 1) + [0]


@given(st.text(max_size=400))
@example("")
@example("x" * (SHORT - 1))
@example("x" * SHORT)
@example("é" * 64)
@example("x" * 20_000)
@settings(deadline=None)
def test_string(text: str) -> None:
    attribute = attribute_of_span(StringAttribute(KEY).of(text))
    assert (attribute.key, attribute.value.string_value) == (KEY, text)
    assert attribute.value.WhichOneof("value") == "string_value"


@pytest.mark.parametrize("key_length", [1, 60, 120, 127, 128, 300])
@pytest.mark.parametrize("value_length", [0, 1, 60, 120, 125, 126, 127, 128, 16_383, 16_384])
def test_lengths_around_each_varint_border(key_length: int, value_length: int) -> None:
    attribute = attribute_of_span(StringAttribute("k" * key_length).of("v" * value_length))
    assert (len(attribute.key), len(attribute.value.string_value)) == (key_length, value_length)


@given(st.integers(-(2**63), 2**63 - 1))
@example(0)
@example(-1)
@example(127)
@example(128)
@settings(deadline=None)
def test_int(n: int) -> None:
    attribute = attribute_of_span(IntAttribute(KEY).of(n))
    assert (attribute.value.int_value, attribute.value.WhichOneof("value")) == (n, "int_value")


@given(st.floats(allow_nan=False))
@settings(deadline=None)
def test_double(x: float) -> None:
    attribute = attribute_of_span(DoubleAttribute(KEY).of(x))
    assert (attribute.value.double_value, attribute.value.WhichOneof("value")) == (x, "double_value")


@pytest.mark.parametrize("value", [True, False])
def test_bool_is_present_even_when_false(value: bool) -> None:
    attribute = attribute_of_span(BoolAttribute(KEY).of(value))
    assert (attribute.value.bool_value, attribute.value.WhichOneof("value")) == (value, "bool_value")


@given(st.lists(st.text(max_size=200), max_size=20))
@example([])
@example([""])
@settings(deadline=None)
def test_strings(texts: list[str]) -> None:
    attribute = attribute_of_span(StringsAttribute(KEY, 9).of(texts))
    assert [value.string_value for value in attribute.value.array_value.values] == texts
    assert attribute.value.WhichOneof("value") == "array_value"


def test_a_lone_surrogate_cannot_break_the_message() -> None:
    assert attribute_of_span(StringAttribute(KEY).of("a\ud800b")).value.string_value == "a?b"


@pytest.mark.parametrize(
    ("make", "value"), [(StringAttribute, "v"), (IntAttribute, 7), (BoolAttribute, True), (DoubleAttribute, 0.5)]
)
def test_resources_number_the_field_differently(make: Callable[[str, int], Any], value: Any) -> None:
    resource = Resource.FromString(make(KEY, 1).of(value))
    assert [attribute.key for attribute in resource.attributes] == [KEY]
