"""The API against its own document: every route answers what the document says, and refuses the rest with a reason."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
from openapi_spec_validator import validate

from apisensor.store.model import LARGEST_PAGE
from apisensor.web import answers
from apisensor.web.errors import STATUSES
from apisensor.web.openapi import document
from apisensor.web.parameters import BOUNDS, MAX_TEXT
from apisensor.web.reading import MAX_WAITING, Store
from apisensor.web.routes import PREFIX, ROUTES, Route
from tests.live.sensor import Sensor
from tests.live.transactions import transaction
from tests.web import node
from tests.web.page import TOKEN, Page

DOCUMENT = json.loads(json.dumps(document()))
IDS = {
    "endpoint": node.endpoint_id(7),
    "endpoint_traffic": node.endpoint_id(7),
    "transaction": node.hashed("transaction 1"),
    "finding": node.finding_id(1),
    "finding_transactions": node.finding_id(1),
    "set_state": node.finding_id(4),
}


def client(page: Page) -> httpx.Client:
    return httpx.Client(base_url=page.url + PREFIX, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=20)


@pytest.fixture(scope="module")
def api(served: Page) -> Iterator[httpx.Client]:
    with client(served) as opened:
        yield opened


def operation(route: Route) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][PREFIX + route.path][route.method.lower()]
    return found


def fits(body: Any, route: Route, status: int, kind: str = "application/json") -> None:
    """Whether the body is what the document says of this status."""
    schema = operation(route)["responses"][str(status)]["content"][kind]["schema"]
    jsonschema.Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(body)


def path(route: Route) -> str:
    return route.path.replace("{id}", IDS.get(route.name, ""))


READS = [route for route in ROUTES if route.method == "GET" and not route.stream]


def ids(route: Route) -> str:
    return route.name


def test_the_document_is_openapi(api: httpx.Client) -> None:
    served = api.get("/openapi.json")
    assert served.json() == DOCUMENT
    validate(served.json())


@pytest.mark.parametrize("route", READS, ids=ids)
def test_a_route_answers_what_the_document_says(api: httpx.Client, route: Route) -> None:
    answer = api.get(path(route))
    assert answer.status_code == 200, answer.text
    fits(answer.json(), route, 200)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("route", READS, ids=ids)
def test_every_documented_parameter_is_taken(api: httpx.Client, route: Route) -> None:
    for parameter in operation(route)["parameters"]:
        if parameter["in"] == "path" or parameter["name"] == "cursor":
            continue
        schema = parameter["schema"]
        examples: dict[str, list[Any]] = {
            "boolean": ["true", "false"],
            "integer": [1_795_700_000 if parameter["name"] in ("since", "until") else schema.get("maximum")],
            "string": ["200"],
        }
        values = schema.get("enum") or examples[schema["type"]]
        for value in values:
            query = {"until": 1_795_700_300} if parameter["name"] == "since" else {}
            answer = api.get(path(route), params={**query, parameter["name"]: value})
            assert answer.status_code == 200, f"{parameter['name']}={value}: {answer.text}"
            fits(answer.json(), route, 200)


@pytest.mark.parametrize("route", ROUTES, ids=ids)
def test_what_is_no_parameter_is_refused(api: httpx.Client, route: Route) -> None:
    answer = api.request(route.method, path(route), params={"colour": "red"}, json={"state": "open"})
    assert answer.status_code == 400
    fits(answer.json(), route, 400)
    message = answer.json()["error"]["message"]
    assert "no parameter 'colour'" in message
    assert all(name in message for name in route.parameters.__struct_fields__)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("limit=0", f"limit: allowed is 1 to {LARGEST_PAGE}"),
        (f"limit={LARGEST_PAGE + 1}", f"limit: allowed is 1 to {LARGEST_PAGE}"),
        ("limit=many", "limit: Expected `int`"),
        ("limit=99999999999999999999", "limit: "),
        ("limit=1&limit=2", "limit: given twice"),
        ("search=", "search: may not be empty"),
        ("search=" + "x" * (MAX_TEXT + 1), f"search: longer than {MAX_TEXT}"),
        ("side=middle", "side: Invalid enum value"),
        ("sensitive=perhaps", "sensitive: Expected `bool`"),
        ("cursor=nonsense", "the cursor does not belong to this query"),
    ],
)
def test_wrong_parameters(api: httpx.Client, query: str, said: str) -> None:
    answer = api.get(f"/endpoints?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_request"
    assert said in answer.json()["error"]["message"]


def test_traffic_is_bounded(api: httpx.Client) -> None:
    place = f"/endpoints/{node.endpoint_id(7)}/traffic"
    for query, said in (
        ("since=5&until=5", "since: must be before until"),
        ("since=0&until=1795700000&step=60", "points; raise it"),
    ):
        answer = api.get(f"{place}?{query}")
        assert answer.status_code == 400
        assert said in answer.json()["error"]["message"]
    whole = api.get(f"{place}?since=0&until=1795700000")
    assert whole.status_code == 200
    assert len(whole.json()) <= answers.MAX_POINTS


def test_bounds_name_what_there_is() -> None:
    integers = {
        field.name
        for route in ROUTES
        for field in msgspec.structs.fields(route.parameters)
        if field.type in (int, int | None)
    }
    assert integers == set(BOUNDS)


@pytest.mark.parametrize("route", [route for route in ROUTES if "not_found" in route.errors], ids=ids)
def test_what_is_not_there(api: httpx.Client, route: Route) -> None:
    for wrong in ("ffffffffffffffff", "%3Cscript%3E", "..%2F..%2Fetc", "%00"):
        answer = api.request(route.method, route.path.replace("{id}", wrong), json={"state": "open"})
        assert answer.status_code == 404, wrong
        fits(answer.json(), route, 404)


def test_what_is_no_route(api: httpx.Client) -> None:
    assert api.get("/nothing").json()["error"]["code"] == "not_found"
    assert api.get("/endpoints/a/b/c").status_code == 404
    assert api.post("/endpoints", json={}).status_code == STATUSES["method_not_allowed"]
    assert api.get(f"/findings/{node.finding_id(1)}/state").status_code == STATUSES["method_not_allowed"]


@pytest.mark.parametrize(("place", "limit"), [("/endpoints", 7), ("/findings", 2), ("/transactions?method=DELETE", 9)])
def test_pages_together_are_the_whole(api: httpx.Client, place: str, limit: int) -> None:
    rows: list[dict[str, Any]] = []
    query: dict[str, Any] = dict(part.split("=") for part in place.partition("?")[2].split("&") if part)
    whole = api.get(place.partition("?")[0], params={**query, "limit": LARGEST_PAGE}).json()["rows"]
    cursor = None
    while True:
        asked = {**query, "limit": limit, **({"cursor": cursor} if cursor else {})}
        page = api.get(place.partition("?")[0], params=asked).json()
        rows += page["rows"]
        cursor = page["next"]
        if cursor is None:
            break
    assert rows == whole
    assert len(rows) > limit


def test_filters_and_order(api: httpx.Client) -> None:
    rows = api.get("/endpoints?owner=checkout&method=GET&sort=count").json()["rows"]
    assert {(row["owner"], row["method"]) for row in rows} == {("checkout", "GET")}
    assert [row["count"] for row in rows] == sorted((row["count"] for row in rows), reverse=True)
    assert all(row["sensitive"] for row in api.get("/endpoints?sensitive=true").json()["rows"])
    assert {row["state"] for row in api.get("/findings?state=closed").json()["rows"]} == {"closed"}
    assert {row["status"] for row in api.get("/transactions?status=5xx").json()["rows"]} == {500}


def test_old_ids_resolve(api: httpx.Client) -> None:
    body = api.get(f"/endpoints/{node.old_id(7)}").json()
    assert body["row"]["id"] == node.endpoint_id(7)
    assert body["old_ids"] == [node.old_id(7)]
    assert (
        api.get(f"/endpoints/{node.old_id(7)}/traffic").json()
        == api.get(f"/endpoints/{node.endpoint_id(7)}/traffic").json()
    )


def test_status_says_what_is_lost_and_what_is_not_seen(api: httpx.Client) -> None:
    body = api.get("/status").json()
    assert body["lost"] == {"kernel.ring_full": 17, "worker.limit": 2}
    assert [row["pid"] for row in body["blind_spots"]] == [9]
    assert body["web"]["requests"] > 0
    assert [part["name"] for part in body["status"]["parts"]] == ["run", "capture", "worker-0", "core", "web"]


def test_metrics_are_cores(served: Page) -> None:
    answer = httpx.get(f"{served.url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.text == "# TYPE apisensor_up gauge\napisensor_up 1\n"
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_triage_is_written_and_answered() -> None:
    with Page() as page, client(page) as api:
        route = next(route for route in ROUTES if route.name == "set_state")
        change = {"state": "acknowledged", "comment": "ticket 7\n<b>", "who": "alice"}
        answer = api.post(path(route), json=change)
        assert answer.status_code == 200, answer.text
        fits(answer.json(), route, 200)
        last = answer.json()["events"][-1]
        assert (last["who"], last["state"], last["comment"]) == ("alice", "acknowledged", "ticket 7\n<b>")
        assert page.core is not None
        assert page.core.asked[-1] == {"command": {"type": "set_state", "finding": IDS["set_state"], **change}}
        assert api.get(f"/findings/{IDS['set_state']}").json() == answer.json()
        nameless = api.post(path(route), json={"state": "closed"})
        assert nameless.json()["events"][-1]["who"] == "api"


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"state": "done"}, 400, "Invalid enum value 'done'"),
        ({}, 400, "missing required field `state`"),
        ({"state": "open", "colour": 1}, 400, "unknown field"),
        ({"state": "open", "comment": "x" * 2_001}, 400, "at most 2,000"),
        ({"state": "open", "who": "x" * 101}, 400, "at most 100"),
        ({"state": "open", "who": "a\x1b[2J"}, 400, "control characters"),
        ({"state": "open", "comment": "x" * 20_000}, 413, "longer than"),
    ],
)
def test_triage_that_is_refused(api: httpx.Client, body: dict[str, Any], status: int, said: str) -> None:
    answer = api.post(f"/findings/{IDS['set_state']}/state", json=body)
    assert answer.status_code == status
    assert said in answer.json()["error"]["message"]


def test_a_body_that_is_no_json(api: httpx.Client) -> None:
    place = f"/findings/{IDS['set_state']}/state"
    assert "application/json is expected" in api.post(place, content=b"state=open").json()["error"]["message"]
    deep = api.post(place, content=b"[" * 8_000, headers={"Content-Type": "application/json"})
    assert deep.status_code == 400


def test_without_core_the_store_still_answers() -> None:
    with Page(with_core=False) as page, client(page) as api:
        assert api.get("/endpoints").status_code == 200
        for place in ("/status", "/live"):
            answer = api.get(place)
            assert answer.status_code == 503
            assert "no sensor answers on this node" in answer.json()["error"]["message"]
        change = api.post(f"/findings/{IDS['set_state']}/state", json={"state": "closed"})
        assert change.status_code == 503
        assert api.get(f"/findings/{IDS['set_state']}").json()["state"] == "open"


def test_without_a_store() -> None:
    with Page() as page, client(page) as api:
        page.sources.store = Store("/nonexistent/apisensor.db")
        answer = api.get("/endpoints")
        assert answer.status_code == 503
        assert "no sensor has kept anything here yet" in answer.json()["error"]["message"]


def test_core_refuses() -> None:
    def refuse(_: object) -> None:
        raise ValueError("the store has too much to do")

    with Page() as page, client(page) as api:
        assert page.core is not None
        page.core.triage = refuse
        answer = api.post(f"/findings/{IDS['set_state']}/state", json={"state": "closed"})
        assert answer.status_code == STATUSES["conflict"]
        assert answer.json()["error"]["message"] == "the sensor refused: the store has too much to do"


def test_a_failure_says_nothing_of_the_inside(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("apisensor.web"), "handlers", [caplog.handler])
    with Page() as page, client(page) as api:
        page.sources.core = None  # type: ignore[assignment]
        answer = api.get("/status")
        assert answer.status_code == 500
        assert answer.json()["error"] == {
            "code": "internal",
            "message": "the answer failed; the sensor's log says where",
        }
        assert api.get("/endpoints").status_code == 200
    assert "AttributeError at answers.py:" in caplog.text


def test_questions_that_wait_are_bounded(served: Page, api: httpx.Client) -> None:
    served.sources.store._waiting = MAX_WAITING
    try:
        answer = api.get("/facts")
    finally:
        served.sources.store._waiting = 0
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


def events(stream: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    kind = ""
    for line in stream.iter_lines():
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))


def test_the_live_stream(served: Page, api: httpx.Client) -> None:
    route = next(route for route in ROUTES if route.stream)
    with api.stream("GET", "/live", params={"status": ["2xx", "none"], "side": "server"}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        seen: dict[str, dict[str, Any]] = {}
        for kind, body in events(stream):
            seen.setdefault(kind, body)
            if len(seen) == 3:
                break
    assert set(seen) == {"transaction", "finding", "dropped"}
    for body in seen.values():
        fits(body, route, 200, "text/event-stream")
    assert seen["finding"]["id"] == node.finding_id(1)
    assert served.core is not None
    assert {"subscribe": {"status": ["2xx", "none"], "side": ["server"]}} in served.core.asked


@pytest.mark.parametrize(
    ("query", "said"),
    [("status=9", "allowed are 404, 5xx"), ("pid=0", "pid: "), ("side=up", "side: Invalid enum"), ("path=", "empty")],
)
def test_a_live_filter_that_is_none(api: httpx.Client, query: str, said: str) -> None:
    answer = api.get(f"/live?{query}")
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


def test_live_streams_are_bounded(served: Page, api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MAX_STREAMS", served.sources.streams)
    answer = api.get("/live")
    assert answer.status_code == 503
    assert "live streams are open already" in answer.json()["error"]["message"]


def test_streams_that_are_left_are_gone(api: httpx.Client, served: Page) -> None:
    for _ in range(answers.MAX_STREAMS + 2):
        with api.stream("GET", "/live") as stream:
            next(events(stream))
        for _ in range(200):
            if not served.sources.streams:
                break
            time.sleep(0.05)
        assert served.sources.streams == 0


def test_a_slow_browser_costs_core_its_own_queue_and_is_told(tmp_path: Any) -> None:
    sent = 20_000
    with Sensor(str(tmp_path / "live.sock"), queue_bytes=100_000) as sensor, Page(with_core=False) as page:
        page.sources.core._path = sensor.path
        with client(page) as api, api.stream("GET", "/live") as stream:
            for _ in range(sent):
                sensor.publish(transaction())
            seen = dropped = 0
            for kind, body in events(stream):
                seen += kind == "transaction"
                dropped += body["count"] if kind == "dropped" else 0
                if seen + dropped == sent:
                    break
        assert dropped > 0
        assert page.sources.counts["streams.dropped"] == dropped
