"""What a span says of the protocol inside HTTP: its operations, and its messages, counted.

Where OpenTelemetry's conventions have an attribute it is used, as of semantics.SCHEMA_URL; those of MCP and of the
tools of generative AI came later and are in development. All else is in the sensor's own namespace. An attribute of the
conventions has one value, so requests that are batched say what they asked for only in the sensor's own list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from apisensor.export.wire import IntAttribute, StringAttribute, StringsAttribute
from apisensor.protocols.counted import Passed
from apisensor.transactions.model import Messages, Operation

RPC_SYSTEM: Final = StringAttribute("rpc.system")
RPC_SERVICE: Final = StringAttribute("rpc.service")
RPC_METHOD: Final = StringAttribute("rpc.method")
RPC_GRPC_STATUS: Final = IntAttribute("rpc.grpc.status_code")
JSONRPC_VERSION: Final = StringAttribute("rpc.jsonrpc.version")
JSONRPC_ERROR: Final = IntAttribute("rpc.jsonrpc.error_code")
GRAPHQL_TYPE: Final = StringAttribute("graphql.operation.type")
GRAPHQL_NAME: Final = StringAttribute("graphql.operation.name")
MCP_METHOD: Final = StringAttribute("mcp.method.name")
TOOL_NAME: Final = StringAttribute("gen_ai.tool.name")
PROMPT_NAME: Final = StringAttribute("gen_ai.prompt.name")
# What the conventions have no name for.
OPERATIONS: Final = StringsAttribute("apisensor.operations", 9)
FIELDS: Final = StringsAttribute("apisensor.operation.fields", 9)
ERROR: Final = StringAttribute("apisensor.operation.error")
REQUEST_COUNT: Final = IntAttribute("apisensor.messages.request.count")
REQUEST_BYTES: Final = IntAttribute("apisensor.messages.request.bytes")
REQUEST_LARGEST: Final = IntAttribute("apisensor.messages.request.largest")
REQUEST_REASON: Final = StringAttribute("apisensor.messages.request.reason")
RESPONSE_COUNT: Final = IntAttribute("apisensor.messages.response.count")
RESPONSE_BYTES: Final = IntAttribute("apisensor.messages.response.bytes")
RESPONSE_LARGEST: Final = IntAttribute("apisensor.messages.response.largest")
RESPONSE_REASON: Final = StringAttribute("apisensor.messages.response.reason")

_GRAPHQL_TYPES: Final = frozenset(("query", "mutation", "subscription"))
_MCP_TARGETS: Final = {"tools/call": TOOL_NAME, "prompts/get": PROMPT_NAME}
_ERROR_CODES: Final = range(-(1 << 31), 1 << 31)


def encode_operations(operations: list[Operation], protocol: str, grpc_status: int | None) -> bytes:
    """The attributes of a call's operations, of which there is one at least.

    Args:
        operations: of the transaction.
        protocol: of the transaction; a span of gRPC has RPC's attributes already.
        grpc_status: of the transaction.
    """
    parts = [OPERATIONS.of(one.words() for one in operations)]
    asked = [one for one in operations if one.protocol != "sse"]  # which is how an answer came
    if len(asked) == 1:
        (one,) = asked
        if protocol != "grpc" and one.protocol in _CONVENTIONS:
            parts += _CONVENTIONS[one.protocol](one, grpc_status)
        if one.fields:
            parts.append(FIELDS.of(one.fields))
        if one.error is not None:
            parts.append(ERROR.of(one.error))
    return b"".join(parts)


def encode_messages(messages: Messages) -> bytes:
    """The attributes of a call's messages."""
    asked, answered = messages.request, messages.response
    encoded = b""
    if asked is not None:
        encoded = _passed(asked, REQUEST_COUNT, REQUEST_BYTES, REQUEST_LARGEST, REQUEST_REASON)
    if answered is not None:
        encoded += _passed(answered, RESPONSE_COUNT, RESPONSE_BYTES, RESPONSE_LARGEST, RESPONSE_REASON)
    return encoded


def _passed(
    one: Passed, count: IntAttribute, size: IntAttribute, largest: IntAttribute, reason: StringAttribute
) -> bytes:
    numbers = ((count, one.count), (size, one.bytes), (largest, one.largest))
    encoded = b"".join(attribute.of(number) for attribute, number in numbers if number is not None)
    return encoded if one.reason is None else encoded + reason.of(one.reason)


def _graphql(one: Operation, _grpc_status: int | None) -> Iterator[bytes]:
    if one.kind in _GRAPHQL_TYPES:
        yield GRAPHQL_TYPE.of(one.kind)
    if one.name is not None:
        yield GRAPHQL_NAME.of(one.name)


def _json_rpc(one: Operation, _grpc_status: int | None) -> Iterator[bytes]:
    yield RPC_SYSTEM.of("jsonrpc")
    yield JSONRPC_VERSION.of("2.0")
    if one.name is not None:
        yield RPC_METHOD.of(one.name)
    yield from _json_rpc_error(one)


def _json_rpc_error(one: Operation) -> Iterator[bytes]:
    digits = (one.error or "").removeprefix("-")
    if digits.isascii() and digits.isdigit() and (code := int(one.error or "")) in _ERROR_CODES:
        yield JSONRPC_ERROR.of(code)


def _mcp(one: Operation, _grpc_status: int | None) -> Iterator[bytes]:
    if one.name is not None:
        yield MCP_METHOD.of(one.name)
        target = _MCP_TARGETS.get(one.name)
        if target is not None and one.target is not None:
            yield target.of(one.target)
    yield from _json_rpc_error(one)


def _grpc_web(one: Operation, grpc_status: int | None) -> Iterator[bytes]:
    """What a span of gRPC says (span.py); a proxy may put segments before the service."""
    yield RPC_SYSTEM.of("grpc")
    path, _, method = (one.name or "").rpartition("/")
    service = path.rpartition("/")[2]
    if service and method:
        yield RPC_SERVICE.of(service)
        yield RPC_METHOD.of(method)
    if grpc_status is not None:
        yield RPC_GRPC_STATUS.of(grpc_status)


_CONVENTIONS: Final[dict[str, Callable[[Operation, int | None], Iterator[bytes]]]] = {
    "graphql": _graphql,
    "json-rpc": _json_rpc,
    "mcp": _mcp,
    "grpc-web": _grpc_web,
}
"""Protocol: the attributes that the conventions have for one operation."""
