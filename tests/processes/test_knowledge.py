"""A scenario with real servers and clients; afterwards inventory, findings and metrics equal what the servers logged,
and no secret that was sent is anywhere in what the sensor keeps, shows or sends."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import secrets
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from apisensor.detect.model import Finding
from apisensor.store.model import EndpointQuery, EndpointRow, FindingQuery, TransactionQuery
from apisensor.store.reader import StoreReader
from tests.export.receivers import HttpReceiver
from tests.peers.certificates import Certificate
from tests.peers.process import program, wait_until
from tests.peers.scenarios import BY_NAME
from tests.peers.shop import Shop
from tests.sensor import Sensor
from tests.truth import Call
from tests.versioned import PROJECT
from tests.web.tour import tour

pytestmark = pytest.mark.kernel

USERS = 60
ORDERS = 40
FAILURES = 30
SCANNED = 50
WAIT_S = 60.0
"""For what takes a second or two on an idle machine."""
OTHERS = ("curl-nginx-50", "node-50")
"""Scenarios of other servers that run beside: nginx, and Node.js with OpenSSL of its own."""


class Told:
    """What was done, and what the sensor knows afterwards."""

    def __init__(
        self, sensor: Sensor, shop: Shop, plain: Shop, others: dict[str, list[Call]], otlp: HttpReceiver
    ) -> None:
        self.sensor, self.shop, self.plain, self.others, self.otlp = sensor, shop, plain, others, otlp
        self.store = StoreReader(f"{sensor.directory}/state/store/apisensor.db")
        address, token = sensor.page()
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {token}"
        self.address = address

    def get(self, path: str) -> requests.Response:
        response = self.session.get(self.address + path, timeout=20)
        response.raise_for_status()
        return response

    def endpoints(self, owner: str) -> list[EndpointRow]:
        return self.store.endpoints(EndpointQuery(owner=owner, limit=500)).rows

    def counted(self, owner: str) -> Counter[tuple[str, str, int]]:
        """(method, route, status): calls, as the inventory has them."""
        counts: Counter[tuple[str, str, int]] = Counter()
        for row in self.endpoints(owner):
            detail = self.store.endpoint(row.id)
            assert detail is not None
            for status, count in detail.profile.statuses.items():
                counts[row.method, row.route, int(status)] += count
        return counts


def use(shop: Shop) -> None:
    """Ordinary use by several people, one of whom mistypes twice; a scan; an attack that succeeds."""
    with requests.Session() as session:
        session.verify, session.trust_env = str(shop.certificate.certificate), False
        bearer = {"Authorization": f"Bearer {shop.token}"}
        for number in range(1, USERS + 1):
            session.get(f"{shop.base}/api/users/{number}", headers=bearer)
        session.get(f"{shop.base}/api/users/9999", headers=bearer)
        session.get(f"{shop.base}/api/users/7")
        for _ in range(5):
            session.get(f"{shop.base}/api/users/me", headers=bearer)
        for _ in range(ORDERS):
            session.get(f"{shop.base}/api/orders/{uuid.uuid4()}")
        for _ in range(3):
            session.post(f"{shop.base}/api/payments", json={"card": shop.card, "amount": 5})
        for coding in ("gzip", "deflate", "br", "zstd"):
            session.get(f"{shop.base}/api/reports/{coding}", stream=True).raw.read()
        for _ in range(10):
            session.get(f"{shop.base}/health")
        for _ in range(SCANNED):
            session.get(f"{shop.base}/{secrets.token_hex(4)}/{secrets.token_hex(3)}.php")
        for password in ("one typo", "another", shop.password):
            session.post(f"{shop.base}/login", data={"user": "alice", "password": password})
        # Secrets where they do not belong.
        hidden = quote(shop.token, safe="")
        referer = {"Referer": f"https://a.example/?token={hidden}"}
        session.get(f"{shop.base}/go?access_token={hidden}", allow_redirects=False, headers=referer)
        session.get(f"{shop.base}/reset/{shop.token}")
        packed = gzip.compress(json.dumps({"card": shop.card, "password": shop.password}).encode())
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json", "Cookie": f"session={shop.token}"}
        session.post(f"{shop.base}/api/payments", data=packed, headers=headers)
    with requests.Session() as session:
        session.verify, session.trust_env = str(shop.certificate.certificate), False
        for attempt in range(FAILURES):
            session.post(f"{shop.base}/login", json={"user": "mallory", "password": f"guess{attempt}"})
        session.post(f"{shop.base}/login", json={"user": "mallory", "password": shop.password})


def use_in_the_clear(shop: Shop) -> None:
    with requests.Session() as session:
        session.trust_env = False
        session.get(f"{shop.base}/api/users/1", headers={"Authorization": f"Bearer {shop.token}"})
        session.post(f"{shop.base}/login", data={"user": "bob", "password": shop.password})


def _run(name: str, place: Path, sensor: Sensor) -> list[Call]:
    """A scenario whose server has a service name of its own: the node may have other traffic of nginx."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_SERVICE_NAME", name)
        # nginx forgets its environment; its service is named after its executable.
        patch.setenv("APISENSOR_TEST_NGINX", str(shutil.copy(program("nginx"), place / name)))
        return BY_NAME[name].run(place / f"{name}-run", sensor.attached).calls


@pytest.fixture(scope="module")
def told(certificate: Certificate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    place = tmp_path_factory.mktemp("knowledge")
    otlp = HttpReceiver()
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{otlp.port}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_METRIC_EXPORT_INTERVAL": "2000",
    }
    with Sensor(environment=environment) as sensor:
        shop = Shop(place / "shop", certificate)
        plain = Shop(place / "plain", certificate, tls=False, service="plain-shop")
        try:
            others = {name: _run(name, place, sensor) for name in OTHERS}
            use(shop)
            use_in_the_clear(plain)
        finally:
            shop.stop()
            plain.stop()
        served = len(shop.served()) + len(plain.served())
        sensor.wait_until(lambda found: sum(_is_shops(t) for t in found if t["side"] == "server") >= served, WAIT_S)
        known = Told(sensor, shop, plain, others, otlp)
        expected = served + sum(call.role == "server" for calls in others.values() for call in calls)
        wait_until(lambda: known.store.facts().transactions >= 2 * expected, WAIT_S, "the store to have all views")
        wait_until(lambda: _calls(known) >= expected, WAIT_S, "the inventory to have all calls")
        yield known
        otlp.stop()


def _is_shops(transaction: dict[str, Any]) -> bool:
    return ((transaction["process"] or {}).get("service") or "").endswith("shop")


def _calls(known: Told) -> int:
    """Calls of our servers that the inventory has, those that belong to no endpoint included."""
    ours = {"shop", "plain-shop", *OTHERS}
    return sum(row.calls + row.unmatched for row in known.store.owners() if row.owner in ours)


def expected(shop: Shop) -> Counter[tuple[str, str, int]]:
    """What the shop's own router counted, on routes that it has."""
    counted: Counter[tuple[str, str, int]] = Counter()
    for (method, route, status), count in shop.counted().items():
        if route is not None:
            counted[method, route, status] += count
    return counted


def test_every_route_has_exactly_the_calls_that_its_server_served(told: Told) -> None:
    assert told.counted("shop") == expected(told.shop)
    assert told.counted("plain-shop") == expected(told.plain)


def test_a_scan_adds_no_endpoints_and_is_counted(told: Told) -> None:
    unknown = sum(count for (_, route, _), count in told.shop.counted().items() if route is None)
    assert unknown == SCANNED + 1
    assert told.store.overview(24, int(time.time())).unmatched["shop"] == unknown


@pytest.mark.parametrize("name", OTHERS)
def test_other_servers_have_the_statuses_they_logged(told: Told, name: str) -> None:
    calls = [call for call in told.others[name] if call.role == "server"]
    counted = Counter(status for (_, _, status), count in told.counted(name).items() for _ in range(count))
    unmatched = told.store.overview(24, int(time.time())).unmatched.get(name, 0)
    logged = Counter(call.status for call in calls)
    assert counted <= logged
    assert logged.total() - counted.total() == unmatched
    assert set(logged - counted) <= {404, 405, 410, 501, 301, 400, 401, 403}


def test_what_an_endpoint_carries_and_who_calls_it(told: Told) -> None:
    rows = {(row.method, row.route): row for row in told.endpoints("shop")}
    user = told.store.endpoint(rows["GET", "/api/users/{id}"].id)
    assert user is not None
    assert user.profile.auth == {"bearer": USERS + 1, "none": 1}
    assert user.profile.sensitive_out == {"email": USERS}
    assert user.profile.encrypted == USERS + 2
    assert user.profile.open_successes == 0
    assert not user.row.unauthenticated
    order = told.store.endpoint(rows["GET", "/api/orders/{uuid}"].id)
    assert order is not None
    assert order.profile.open_successes == ORDERS
    assert order.row.unauthenticated
    pay = told.store.endpoint(rows["POST", "/api/payments"].id)
    assert pay is not None
    assert pay.profile.sensitive_in["credit_card"] == 4
    for coding in ("gzip", "deflate", "br", "zstd"):
        report = told.store.endpoint(rows["GET", f"/api/reports/{coding}"].id)
        assert report is not None
        assert report.profile.sensitive_out == {"credit_card": 1}, coding


def identity(told: Told, user: str) -> str:
    return told.sensor.command("identity", "hash", user).strip()


def test_the_brute_force_is_found_in_time_and_the_mistyping_user_is_not(told: Told) -> None:
    mallory, alice = identity(told, "mallory"), identity(told, "alice")
    assert told.sensor.command("identity", "hash", "-", input=b"alice\n").strip() == alice

    def found_of_mallory() -> dict[str, Finding]:
        records = told.store.findings(FindingQuery(identity=mallory)).rows
        return {record.finding.rule: record.finding for record in records}

    # A finding that goes on is told once a second.
    wait_until(lambda: found_of_mallory()["auth-failures-identity"].count == FAILURES, WAIT_S, "the finding to be told")
    rules = found_of_mallory()
    found = rules["auth-failures-identity"]
    served = [t for t in told.sensor.transactions if t["side"] == "server" and t["login_identity"] == mallory]
    failures = sorted((t for t in served if t["status"] == 401), key=lambda t: str(t["start_time"]))
    assert len(failures) == FAILURES
    assert found.client == "127.0.0.1"
    assert found.service == "shop"
    fifth = failures[4]
    assert found.time_ns - _unix_ns(fifth["start_time"]) <= 2_000_000_000
    assert "login-after-failures" in rules
    assert told.store.findings(FindingQuery(identity=alice)).rows == []
    printed = {finding["rule"] for finding in told.sensor.findings}
    assert {"auth-failures-identity", "login-after-failures", "credentials-over-plaintext"} <= printed
    assert len(told.store.finding_transactions(found.id)) >= 5


def _unix_ns(stamp: str) -> int:
    from datetime import datetime  # noqa: PLC0415

    return int(datetime.fromisoformat(stamp[:26] + "+00:00").timestamp() * 1e9)


def test_credentials_in_the_clear_are_found(told: Told) -> None:
    records = told.store.findings(FindingQuery(rule="credentials-over-plaintext")).rows
    about = {record.finding.route for record in records if record.finding.service == "plain-shop"}
    assert about == {"GET /api/users/{id}", "POST /login"}
    assert not [record for record in records if record.finding.service == "shop"]


def test_metrics_equal_what_the_servers_served(told: Told) -> None:
    counts: Counter[tuple[str, str | None, int]] = Counter()
    total = 0
    for family in text_string_to_metric_families(told.get("/metrics").text):
        for sample in family.samples:
            labels = sample.labels
            if sample.name != "http_server_request_duration_seconds_count" or labels["service_name"] != "shop":
                continue
            total += int(sample.value)
            key = (labels["http_request_method"], labels.get("http_route"), int(labels["http_response_status_code"]))
            counts[key] += int(sample.value)
    assert total == len(told.shop.served())
    routed = Counter({key: count for key, count in counts.items() if key[1] is not None})
    assert routed == expected(told.shop)


def _exported(otlp: HttpReceiver) -> int:
    """Calls that the shop served, by the latest export of its durations."""
    counts = [
        sum(point.count for point in metric.histogram.data_points)
        for request in otlp.metrics
        for resource in request.resource_metrics
        if any(a.key == "service.name" and a.value.string_value == "shop" for a in resource.resource.attributes)
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "http.server.request.duration"
    ]
    return counts[-1] if counts else 0


def test_the_same_metrics_by_otlp(told: Told) -> None:
    wait_until(lambda: _exported(told.otlp) == len(told.shop.served()), WAIT_S, "an export of all calls")


def test_every_entry_of_the_status_is_documented(told: Told) -> None:
    documented = set(re.findall(r"`([^`]+)`", (PROJECT / "docs" / "metrics.md").read_text()))
    entries = set(told.sensor.status()["counters"])
    assert len(entries) > 100
    assert entries - documented == set()


def test_triage_is_kept_with_who_and_why(told: Told) -> None:
    finding = told.store.findings(FindingQuery(rule="login-after-failures")).rows[0].finding
    told.sensor.command("findings", "set", finding.id, "acknowledged", "-m", "we know him")
    record = told.store.finding(finding.id)
    assert record is not None
    assert record.state == "acknowledged"
    assert (record.events[0].who, record.events[0].state) == ("sensor", "open")
    assert (record.events[-1].who, record.events[-1].comment) == ("root", "we know him")
    shown = told.sensor.command("findings", "show", finding.id)
    assert "we know him" in shown
    answer = told.session.post(
        f"{told.address}/api/v1/findings/{finding.id}/state", json={"state": "closed", "comment": "done"}, timeout=20
    )
    assert answer.status_code == 200, answer.text
    assert told.store.finding(finding.id).state == "closed"  # type: ignore[union-attr]


def test_exports_are_what_they_say(told: Told) -> None:
    from openapi_spec_validator import validate  # noqa: PLC0415

    document = json.loads(told.sensor.command("inventory", "export", "--owner", "shop"))
    validate(document)
    assert "/api/users/{id}" in " ".join(document["paths"])
    csv = told.sensor.command("inventory", "export", "--format", "csv")
    assert "/api/orders/{uuid}" in csv
    lines = told.sensor.command("findings", "export").splitlines()
    assert {json.loads(line)["class_uid"] for line in lines} == {2004}
    listed = told.sensor.command("inventory", "list", "--owner", "shop")
    assert "/api/users/me" in listed


def _everything(told: Told) -> Iterator[tuple[str, bytes]]:
    """All that the sensor keeps, shows and sends."""
    for file in sorted(Path(told.sensor.directory).rglob("*")):
        if file.is_file() and file.name not in ("identity.key", "web.token"):
            yield str(file), file.read_bytes()
    cursor = None
    while True:
        page = told.store.transactions(TransactionQuery(all_views=True, limit=500, cursor=cursor))
        for row in page.rows:
            yield "stored transaction", msgspec.json.encode(told.store.transaction(row.id))
        cursor = page.next
        if cursor is None:
            break
    for endpoint in told.store.endpoints(EndpointQuery(limit=500)).rows:
        yield "stored endpoint", msgspec.json.encode(told.store.endpoint(endpoint.id))
    for record in told.store.findings(FindingQuery(limit=500)).rows:
        yield "stored finding", msgspec.json.encode(record)
    yield "output", msgspec.json.encode([told.sensor.transactions, told.sensor.findings])
    yield "log", told.sensor.log(10_000).encode()
    for path in ("overview?hours=24", "endpoints?limit=500", "transactions?limit=500", "findings?limit=500", "status"):
        yield f"api {path}", told.get(f"/api/v1/{path}").content
    yield "metrics", told.get("/metrics").content
    for form in ("openapi", "csv", "json"):
        yield (
            f"inventory as {form}",
            told.sensor.command("inventory", "export", "--owner=shop", "--format", form).encode(),
        )
    for form in ("ocsf", "sarif", "csv", "json"):
        yield f"findings as {form}", told.sensor.command("findings", "export", "--format", form).encode()
    yield "status", json.dumps(told.sensor.status()).encode()
    for span in told.otlp.spans:
        yield "otlp span", span.SerializeToString()
    for request in told.otlp.metrics:
        yield "otlp metrics", request.SerializeToString()


def test_no_secret_is_anywhere(told: Told) -> None:
    found = []
    places = Counter[str]()
    needles = {}
    for secret in (*told.shop.secrets, *told.plain.secrets):
        needles[secret.encode()] = secret
        needles[quote(secret, safe="").encode()] = secret
        for shift in range(3):
            inside = base64.b64encode(b"\0" * shift + secret.encode())
            needles[inside[-(-shift * 4 // 3) + (shift > 0) :].rstrip(b"=")[:-1]] = secret
    for place, content in _everything(told):
        places[place] += 1
        for needle in needles:
            if (at := content.find(needle)) >= 0:
                found.append((place, needle, content[max(0, at - 60) : at + 100]))
    assert not found, found[:5]
    assert places["stored transaction"] > 2 * len(told.shop.served())
    assert places["otlp span"] > 2 * len(told.shop.served())


def test_a_tour_of_the_page_with_what_really_happened(told: Told, tmp_path: Path) -> None:
    address, token = told.sensor.page()
    # The pictures of the README are made by this test where the variable names their folder.
    shots = Path(os.environ.get("APISENSOR_TEST_SCREENSHOTS") or tmp_path)
    report = tour(address, token, shots)
    assert report.problems == []
    assert report.accessibility == []
    assert len(report.views) >= 18
