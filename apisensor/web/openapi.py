"""The API's own OpenAPI 3.1 document, made of the table of routes and the records."""

from __future__ import annotations

from typing import Any

import msgspec

import apisensor
from apisensor.web.errors import STATUSES, ErrorAnswer
from apisensor.web.parameters import BOUNDS, MAX_TEXT, is_list
from apisensor.web.routes import PREFIX, ROUTES, Route

ANYWHERE = ("bad_request", "not_logged_in", "forbidden", "too_many_attempts", "internal", "unavailable")
"""Codes that every route may answer."""


def document() -> dict[str, Any]:
    """The document, ready for JSON."""
    types = [ErrorAnswer, *(route.returns for route in ROUTES), *(route.body for route in ROUTES if route.body)]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    error, answers = schemas[0], schemas[1 : len(ROUTES) + 1]
    bodies = dict(zip((route.name for route in ROUTES if route.body), schemas[len(ROUTES) + 1 :], strict=True))
    paths: dict[str, Any] = {}
    for route, answer in zip(ROUTES, answers, strict=True):
        operation = _operation(route, answer, error, bodies.get(route.name))
        paths.setdefault(PREFIX + route.path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "apisensor",
            "version": apisensor.__version__,
            "description": "What the sensor of this node knows: inventory, findings, transactions, its own health.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "The login token (web.token)."}
            },
        },
        "security": [{"token": []}],
    }


def _operation(
    route: Route, answer: dict[str, Any], error: dict[str, Any], body: dict[str, Any] | None
) -> dict[str, Any]:
    kind = "text/event-stream" if route.stream else "application/json"
    responses: dict[str, Any] = {"200": {"description": route.does, "content": {kind: {"schema": answer}}}}
    by_status: dict[int, list[str]] = {}
    for code in (*ANYWHERE, *route.errors):
        by_status.setdefault(STATUSES[code], []).append(code)
    for status, codes in sorted(by_status.items()):
        responses[str(status)] = {
            "description": ", ".join(codes),
            "content": {"application/json": {"schema": error}},
        }
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.does,
        "parameters": [*_path_parameters(route), *_query_parameters(route.parameters)],
        "responses": responses,
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    if "{id}" not in route.path:
        return []
    return [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}]


def _query_parameters(kind: type[msgspec.Struct]) -> list[dict[str, Any]]:
    found = []
    for field in msgspec.structs.fields(kind):
        (schema,), components = msgspec.json.schema_components([field.type])
        assert not components, f"{kind.__name__}.{field.name}: parameters are plain values"
        schema = _bounded(field.name, _without_null(schema))
        if field.default not in (None, msgspec.NODEFAULT):
            schema["default"] = field.default
        parameter: dict[str, Any] = {"name": field.name, "in": "query", "schema": schema}
        if is_list(field.type):
            parameter |= {"style": "form", "explode": True}
        found.append(parameter)
    return found


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter that may be left out is never null."""
    if "enum" in schema:
        return {"enum": [value for value in schema["enum"] if value is not None]}
    choices = [choice for choice in schema.get("anyOf", [schema]) if choice.get("type") != "null"]
    assert len(choices) == 1
    return dict(choices[0])


def _bounded(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    if name in BOUNDS:
        schema["minimum"], schema["maximum"] = BOUNDS[name]
    elif schema.get("type") == "string":
        schema |= {"minLength": 1, "maxLength": MAX_TEXT}
    return schema
