"""Endpoints of one owner as an OpenAPI 3.1 document: what was seen, not what is promised.

One document per owner: paths are unique within a document, and two services may have the same. OpenAPI takes templates
that differ in nothing but the names of their parameters for identical (/a/{id} and /a/{uuid}): they become one path,
whose parameter is called {value} where the names differ, and operations of the same method become one.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from itertools import groupby
from typing import Any

from apisensor.inventory import profile as profiles
from apisensor.inventory.model import OTHER, EndpointRecord, Profile
from apisensor.inventory.openapi_paths import merged_names, parts_of, path_of, server_urls, shape_of_path
from apisensor.transactions.json_form import rfc3339

OPENAPI = "3.1.0"
OPERATIONS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
"""Fields of a path item that are operations (OpenAPI 3.1.0 section 4.8.9.1); other methods go into an extension."""

Document = dict[str, Any]

_SCHEMES: dict[str, Document] = {
    "api_key": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "An API key. The sensor keeps no names of fields: X-API-Key stands for where it was.",
    },
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "session",
        "description": "A session cookie. The sensor keeps no names of cookies: session stands for it.",
    },
}
"""Schemes that are none of the HTTP authentication framework; all others are named as they stand in Authorization."""


def documents(records: Iterable[EndpointRecord]) -> list[Document]:
    """One document per owner, by side and owner."""

    def owner(record: EndpointRecord) -> tuple[str, str]:
        return record.key.side, record.key.owner

    ordered = sorted(records, key=lambda r: (*owner(r), r.key.route, r.key.method, r.id))
    return [_document(*key, list(group)) for key, group in groupby(ordered, owner)]


def _document(side: str, owner: str, records: list[EndpointRecord]) -> Document:
    by_shape: dict[str, list[EndpointRecord]] = {}
    for record in records:
        by_shape.setdefault(shape_of_path(record.key.route), []).append(record)
    total = profiles.total(record.profile for record in records)
    schemes = sorted(scheme for scheme in total.auth if _is_scheme(scheme))
    document: Document = {
        "openapi": OPENAPI,
        "info": {
            "title": owner,
            "version": rfc3339(total.last_ns),
            "description": f"Observed by apisensor ({side} side) from {rfc3339(total.first_ns)} "
            f"to {rfc3339(total.last_ns)}. What was not called is not here.",
        },
        "servers": [{"url": url} for url in server_urls(side, owner, (r.profile for r in records))],
        "paths": dict(sorted(_path_item(group) for group in by_shape.values())),
        "x-apisensor-side": side,
    }
    if schemes:
        document["components"] = {"securitySchemes": {scheme: _security_scheme(scheme) for scheme in schemes}}
    return document


def _is_scheme(scheme: str) -> bool:
    """Names that a component may have (section 4.8.7.1)."""
    special = (profiles.NO_CREDENTIAL, profiles.UNKNOWN_CREDENTIAL, OTHER)
    return scheme not in special and scheme.isascii() and scheme.translate(_SEPARATORS).isalnum()


_SEPARATORS = str.maketrans("", "", "._-")


def _security_scheme(scheme: str) -> Document:
    return dict(_SCHEMES.get(scheme, {"type": "http", "scheme": scheme}))


def _path_item(records: list[EndpointRecord]) -> tuple[str, Document]:
    """Path and item of all records whose templates are one for OpenAPI."""
    routes = sorted({record.key.route for record in records})
    names = merged_names(routes)
    item: Document = {}
    if names:
        item["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    if len(routes) > 1:
        item["x-apisensor-routes"] = routes
    others: Document = {}
    by_method: dict[str, list[EndpointRecord]] = {}
    for record in records:
        by_method.setdefault(record.key.method, []).append(record)
    for method, same in sorted(by_method.items()):
        if method.lower() in OPERATIONS:
            item[method.lower()] = _operation(method, same)
        else:
            others[method] = _extensions(same)
    if others:
        item["x-apisensor-methods"] = others
    return path_of(parts_of(routes[0]), names), item


def _operation(method: str, records: list[EndpointRecord]) -> Document:
    seen = profiles.total(record.profile for record in records)
    operation: Document = {
        "operationId": f"{method.lower()}-{records[0].id}",
        "responses": _responses(seen),
        **_extensions(records),
    }
    queries = [
        {"name": name, "in": "query", "schema": {}, "x-apisensor-count": count}
        for name, count in sorted(seen.query_names.items())
        if name != OTHER
    ]
    if queries:
        operation["parameters"] = queries
    requirements: list[dict[str, list[str]]] = [{scheme: []} for scheme in sorted(seen.auth) if _is_scheme(scheme)]
    if profiles.NO_CREDENTIAL in seen.auth:
        requirements.append({})
    if requirements:
        operation["security"] = requirements
    return operation


def _responses(seen: Profile) -> Document:
    responses: Document = {}
    for status, count in sorted(seen.statuses.items()):
        if len(status) == 3 and status.isdigit() and status[0] in "12345":
            responses[status] = {"description": _phrase(int(status)), "x-apisensor-count": count}
    for status_and_type in sorted(seen.response_types):
        status, _, media = status_and_type.partition(" ")
        if status in responses and media:
            responses[status].setdefault("content", {})[media] = {}
    return responses or {"default": {"description": "No response was seen."}}


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Not registered"


def _extensions(records: list[EndpointRecord]) -> Document:
    seen = profiles.total(record.profile for record in records)
    return {
        "x-apisensor-ids": [record.id for record in records],
        "x-apisensor-count": seen.count,
        "x-apisensor-errors": seen.errors,
        "x-apisensor-first-seen": rfc3339(seen.first_ns),
        "x-apisensor-last-seen": rfc3339(seen.last_ns),
        "x-apisensor-statuses": dict(sorted(seen.statuses.items())),
        "x-apisensor-auth": dict(sorted(seen.auth.items())),
        "x-apisensor-open-successes": seen.open_successes,
        "x-apisensor-sensitive-in": dict(sorted(seen.sensitive_in.items())),
        "x-apisensor-sensitive-out": dict(sorted(seen.sensitive_out.items())),
        "x-apisensor-callers": sum(key != OTHER for key in seen.callers),
    }
