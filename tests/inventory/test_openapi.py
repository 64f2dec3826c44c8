"""The OpenAPI document is valid whatever was seen, and says what was seen."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator

from apisensor.inventory.endpoint import endpoint_id
from apisensor.inventory.inventory import Inventory
from apisensor.inventory.model import OTHER, EndpointKey, EndpointRecord, Profile
from apisensor.inventory.openapi import documents
from apisensor.inventory.openapi_paths import shape_of_path
from apisensor.transactions.model import Auth, Sensitive, Transaction
from tests.export.records import call, transactions
from tests.inventory.calls import MAX_ENDPOINTS, fed, leaving, served, small_paths


def exported(inventory: Inventory) -> list[dict[str, Any]]:
    made = documents(EndpointRecord(d.id, d.key, d.profile) for d in inventory.flush().endpoints)
    for document in made:
        OpenAPIV31SpecValidator(json.loads(json.dumps(document))).validate()
    return made


def record(route: str, method: str = "GET", profile: Profile | None = None) -> EndpointRecord:
    key = EndpointKey("server", "shop", method, route)
    return EndpointRecord(endpoint_id(key), key, profile or Profile(count=1))


def test_what_was_seen() -> None:
    (document,) = exported(
        fed(
            [
                served("/users/17?expand=all", auth=Auth("bearer", "x"), authority="shop.example.com"),
                served("/users/18?expand=all&page=2", 404, response_headers=[("content-type", "text/plain")],
                       sensitive=[Sensitive("email", "response.body", 1)], authority="shop.example.com:8443"),
                served("/users", 201, method="POST", auth=Auth("cookie", "y"), encrypted=False),
                served("/users", 207, method="PROPFIND"),
            ]
        )
    )  # fmt: skip
    assert document["info"]["title"] == "shop"
    # its one call over http was at one host
    assert [server["url"] for server in document["servers"]] == [
        "https://api.example.com:8443",
        "https://shop.example.com",
        "https://shop.example.com:8443",
        "http://api.example.com:8443",
    ]
    assert list(document["paths"]) == ["/users", "/users/{id}"]
    item = document["paths"]["/users/{id}"]
    assert item["parameters"] == [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}]
    get = item["get"]
    assert [(p["name"], p["in"], p["x-apisensor-count"]) for p in get["parameters"]] == [
        ("expand", "query", 2),
        ("page", "query", 1),
    ]
    assert {status: list(response["content"]) for status, response in get["responses"].items()} == {
        "200": ["application/json"],
        "404": ["text/plain"],
    }
    assert get["security"] == [{"bearer": []}, {}]
    assert get["x-apisensor-count"] == 2
    assert get["x-apisensor-sensitive-out"] == {"email": 1}
    assert get["x-apisensor-callers"] == 2
    assert get["x-apisensor-last-seen"] == "2023-11-14T22:13:25.000000000Z"
    users = document["paths"]["/users"]
    assert users["post"]["security"] == [{"cookie": []}]
    assert users["x-apisensor-methods"][OTHER]["x-apisensor-statuses"] == {"207": 1}
    assert set(document["components"]["securitySchemes"]) == {"bearer", "cookie"}


def test_calls_of_which_no_response_was_seen() -> None:
    (document,) = documents([record("/a", profile=Profile(count=1, statuses={"none": 1, OTHER: 1, "999": 1}))])
    operation = document["paths"]["/a"]["get"]
    assert operation["responses"] == {"default": {"description": "No response was seen."}}
    assert operation["x-apisensor-statuses"] == {"999": 1, OTHER: 1, "none": 1}


def test_what_is_not_known_of_credentials_is_not_said() -> None:
    (document,) = documents([record("/a", profile=Profile(count=1, auth={"unknown": 1}))])
    assert "security" not in document["paths"]["/a"]["get"]
    assert "components" not in document


def test_templates_that_openapi_takes_for_one() -> None:
    records = [
        record("/a/{id}", profile=Profile(count=1)),
        record("/a/{uuid}", profile=Profile(count=2)),
        record("/a/{uuid}", "PUT", Profile(count=4)),
        record("/b/{id}/{id}/{value}"),
        record("/c/{id}.pdf"),
    ]
    (document,) = documents(records)
    assert documents(reversed(records)) == [document]
    paths = document["paths"]
    assert list(paths) == ["/a/{value}", "/b/{id}/{id2}/{value}", "/c/{id}.pdf"]
    assert paths["/a/{value}"]["x-apisensor-routes"] == ["/a/{id}", "/a/{uuid}"]
    assert paths["/a/{value}"]["get"]["x-apisensor-count"] == 3
    assert paths["/a/{value}"]["get"]["x-apisensor-ids"] == [records[0].id, records[1].id]
    assert paths["/a/{value}"]["put"]["x-apisensor-count"] == 4
    assert records[0].profile.count == 1


def test_one_document_per_owner() -> None:
    made = exported(fed([served("/a"), served("/a", service="cart"), leaving("/a"), leaving("/b", None)]))
    assert [(d["x-apisensor-side"], d["info"]["title"], d["servers"][0]["url"]) for d in made] == [
        ("client", "10.0.0.2:8443", "https://10.0.0.2:8443"),
        ("client", "api.example.com:443", "https://api.example.com"),
        ("server", "cart", "https://api.example.com:8443"),
        ("server", "shop", "https://api.example.com:8443"),
    ]


def test_hosts_that_are_none_are_no_servers() -> None:
    (document,) = exported(fed([served("/a", authority="x y"), served("/a", authority='"><script>')]))
    assert document["servers"] == [{"url": "/"}]


inventories = st.lists(
    st.one_of(
        transactions,
        st.builds(
            call,
            path=st.one_of(small_paths, st.text(max_size=60).map(lambda text: "/" + text)),
            method=st.sampled_from(["GET", "POST", "HEAD", "TRACE", "CONNECT", "PURGE", "OPTIONS"]),
            status=st.sampled_from([None, 101, 200, 204, 299, 401, 600, 999]),
            auth=st.sampled_from([None, Auth("api_key", "k"), Auth("we ird/scheme", None), Auth("negotiate", None)]),
        ),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(inventories, st.integers(2, 30))
def test_every_document_is_valid(calls: list[Transaction], limit: int) -> None:
    inventory = Inventory(MAX_ENDPOINTS, limit)
    for t in calls:
        inventory.observe(t)
    for document in exported(inventory):
        paths = list(document["paths"])
        assert len({shape_of_path(path) for path in paths}) == len(paths)
