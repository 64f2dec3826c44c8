"""Who is let in: every request that is not from the page itself or from a holder of the token is refused."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import httpx
import pytest

from apisensor.web.access import MAX_TRACKED, SESSION_SECONDS, WINDOW_SECONDS, WRONG_PER_WINDOW, Access
from apisensor.web.guard import HEADERS, allowed_hosts, cookie_name
from apisensor.web.routes import PREFIX
from tests.web import node
from tests.web.page import TOKEN, Page

BEARER = {"Authorization": f"Bearer {TOKEN}"}
READ = f"{PREFIX}/facts"
WRITE = f"{PREFIX}/findings/{node.finding_id(0)}/state"


@pytest.fixture(scope="module")
def guarded() -> Iterator[Page]:
    """A page of its own: wrong tokens are counted by client address, and all tests have the same one."""
    with Page(empty=True) as page:
        yield page


@pytest.fixture
def access(guarded: Page) -> Access:
    guarded.access._wrong.clear()
    return guarded.access


def session(page: Page) -> dict[str, str]:
    return {"Cookie": f"{cookie_name(page.port)}={page.access.session(time.time())}"}


@pytest.mark.parametrize("place", ["/", "/inventory", "/findings/a", READ, f"{PREFIX}/openapi.json", "/metrics", "/no"])
def test_nothing_without_a_login(guarded: Page, access: Access, place: str) -> None:
    answer = httpx.get(guarded.url + place)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "not_logged_in"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    form = httpx.get(guarded.url + place, headers={"Accept": "text/html"})
    assert form.status_code == 401
    assert ("<form" in form.text) == (not place.startswith("/api/"))
    assert access


def test_the_link_logs_in_and_leaves_no_token_behind(guarded: Page, access: Access) -> None:
    answer = httpx.get(guarded.link)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"apisensor-{guarded.port}=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert TOKEN not in str(answer.headers)
    with httpx.Client(base_url=guarded.url) as browser:
        browser.get(guarded.link)
        assert browser.get(READ).status_code == 200
        assert TOKEN not in browser.get("/").text
    assert access


def test_the_form_logs_in(guarded: Page, access: Access) -> None:
    with httpx.Client(base_url=guarded.url) as browser:
        assert browser.post("/login", json={"token": "wrong"}).status_code == 401
        assert browser.get(READ).status_code == 401
        assert browser.post("/login", json={"token": TOKEN}).status_code == 200
        assert browser.get(READ).status_code == 200
        assert browser.get("/login").status_code == 401
    assert access


def test_a_program_sends_the_token(guarded: Page, access: Access) -> None:
    assert httpx.get(guarded.url + READ, headers=BEARER).status_code == 200
    for wrong in (f"Bearer {TOKEN}x", "Bearer", f"Basic {TOKEN}", TOKEN):
        assert httpx.get(guarded.url + READ, headers={"Authorization": wrong}).status_code == 401
    raw = httpx.get(guarded.url + READ, headers=[(b"Authorization", b"Bearer \xff\xfe")])
    assert raw.status_code == 401
    assert access


def test_wrong_tokens_are_limited(guarded: Page, access: Access) -> None:
    wrong = {"Authorization": "Bearer wrong"}
    for _ in range(WRONG_PER_WINDOW):
        assert httpx.get(guarded.url + READ, headers=wrong).status_code == 401
    for attempt in (
        httpx.get(guarded.url + READ, headers=wrong),
        httpx.get(guarded.url + READ, headers=BEARER),
        httpx.get(guarded.link),
        httpx.post(f"{guarded.url}/login", json={"token": TOKEN}),
    ):
        assert attempt.status_code == 429
        assert 0 < int(attempt.headers["retry-after"]) <= WINDOW_SECONDS
    assert httpx.get(guarded.url + READ, headers=session(guarded)).status_code == 200, "who is logged in stays so"
    access._wrong.clear()
    assert httpx.get(guarded.url + READ, headers=BEARER).status_code == 200


def test_the_limit_forgets(access: Access) -> None:
    for _ in range(WRONG_PER_WINDOW):
        access.wrong("192.0.2.1", 100.0)
    assert access.wait_s("192.0.2.1", 100.0) == WINDOW_SECONDS
    assert access.wait_s("192.0.2.1", 100.0 + WINDOW_SECONDS) == 0
    assert access.wait_s("192.0.2.2", 100.0) == 0
    access.wrong("192.0.2.1", 100.0 + WINDOW_SECONDS)
    assert access.wait_s("192.0.2.1", 100.0 + WINDOW_SECONDS) == 0
    for number in range(2 * MAX_TRACKED):
        access.wrong(str(number), 200.0)
    assert len(access._wrong) == MAX_TRACKED


def test_sessions() -> None:
    access, other = Access(TOKEN), Access("other")
    cookie = access.session(1_000.0)
    assert access.session_holds(cookie, 1_000.0 + SESSION_SECONDS - 1)
    assert not access.session_holds(cookie, 1_000.0 + SESSION_SECONDS)
    assert not other.session_holds(cookie, 1_000.0), "a new token ends all sessions"
    expiry, _, mac = cookie.partition(".")
    for forged in ("", ".", mac, f"{int(expiry) + 1}.{mac}", f"{expiry}.{mac[:-1]}", f"{expiry}.", "\udcff." + mac):
        assert not access.session_holds(forged, 1_000.0)
    assert TOKEN not in cookie


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost", "[::1]", "0.0.0.0:{}", ""])
def test_hosts_that_are_none_of_ours(guarded: Page, host: str) -> None:
    for place in ("/", READ, "/login", "/static/app.js"):
        answer = httpx.get(guarded.url + place, headers={**BEARER, "Host": host.format(guarded.port)})
        assert answer.status_code in (400, 403), place
        assert TOKEN not in answer.text
        if answer.status_code == 403:
            assert "web.hosts" in answer.json()["error"]["message"]


@pytest.mark.parametrize("host", ["127.0.0.1:{}", "localhost:{}", "LOCALHOST:{}", "[::1]:{}"])
def test_hosts_that_are_ours(guarded: Page, access: Access, host: str) -> None:
    answer = httpx.get(guarded.url + READ, headers={**BEARER, "Host": host.format(guarded.port)})
    assert answer.status_code == 200
    assert access


def test_allowed_hosts() -> None:
    allowed = allowed_hosts("192.0.2.7", 8090, ["Sensor.Example.com", "b.example:444"])
    assert {
        "192.0.2.7:8090",
        "localhost:8090",
        "sensor.example.com",
        "sensor.example.com:8090",
        "b.example:444",
    } <= allowed
    assert "192.0.2.7" not in allowed
    assert "localhost" in allowed_hosts("127.0.0.1", 80, [])
    assert "[2001:db8::1]:8090" in allowed_hosts("2001:db8::1", 8090, [])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "{own}"}, 404),
        ({"Origin": "{own}", "Sec-Fetch-Site": "same-origin"}, 404),
        ({}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "{own}", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "{own}", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "{own}", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403),
    ],
)
def test_writes_by_a_session_come_from_the_page_alone(guarded: Page, headers: dict[str, str], status: int) -> None:
    given = {name: value.format(own=guarded.url) for name, value in headers.items()}
    answer = httpx.post(guarded.url + WRITE, headers={**session(guarded), **given}, json={"state": "open"})
    assert answer.status_code == status  # 404: let through; there is no such finding


def test_reads_from_another_origin(guarded: Page) -> None:
    """Another port of this host is the same site: the cookie comes along, so the browser's own words decide."""
    foreign = {**session(guarded), "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}
    assert httpx.get(guarded.url + READ, headers=foreign).status_code == 403
    link = {**session(guarded), "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert httpx.get(f"{guarded.url}/inventory", headers=link).status_code == 200
    origin = {**session(guarded), "Origin": "http://127.0.0.1:1"}
    answer = httpx.get(guarded.url + READ, headers=origin)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_a_program_may_write_without_an_origin(guarded: Page, access: Access) -> None:
    assert httpx.post(guarded.url + WRITE, headers=BEARER, json={"state": "open"}).status_code == 404
    assert access


@pytest.mark.parametrize("place", ["/", READ, "/login", "/static/app.js", "/nothing", "/api/v1/nothing", "/metrics"])
def test_headers_of_every_answer(guarded: Page, access: Access, place: str) -> None:
    for given in (BEARER, {}):
        answer = httpx.get(guarded.url + place, headers=given)
        for name, value in HEADERS.items():
            if name != "Cache-Control" or not (answer.status_code == 200 and answer.headers.get("etag")):
                assert answer.headers[name] == value, name
        assert "server" not in answer.headers
    assert access


def test_the_policy_allows_nothing_from_outside_and_nothing_inline() -> None:
    policy = dict(rule.split(" ", 1) for rule in HEADERS["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert set(" ".join(policy.values()).split()) <= {"'none'", "'self'", "data:", "'script'"}
    assert policy["img-src"] == "'self' data:"


def test_refusals_are_counted(guarded: Page, access: Access) -> None:
    before = dict(guarded.sources.counts)
    httpx.get(guarded.url, headers={"Host": "evil.example"})
    httpx.get(guarded.url)
    httpx.get(guarded.url + READ, headers={"Authorization": "Bearer x"})
    after = guarded.sources.counts
    for name in ("refused.host", "refused.not_logged_in", "refused.wrong_token"):
        assert after[name] == before.get(name, 0) + 1
    assert access


def test_static_files_are_these_alone(guarded: Page) -> None:
    for place in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/", "/static", "/static//etc/passwd"):
        answer = httpx.get(guarded.url + place, headers=BEARER)
        assert answer.status_code == 404, place
    whole = httpx.get(f"{guarded.url}/static/app.js")
    assert whole.headers["content-type"] == "text/javascript; charset=utf-8"
    again = httpx.get(f"{guarded.url}/static/app.js", headers={"If-None-Match": whole.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert re.fullmatch(r'"[0-9a-f]{16}"', whole.headers["etag"])
