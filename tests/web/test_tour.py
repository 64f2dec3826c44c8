"""The page in a real browser: the tour, and what it does when things are not as they should be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.web import node, tour
from tests.web.page import TOKEN, Page
from tests.web.tour import Report


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with tour.browser() as started:
        yield started


def test_empty_states_say_what_to_do(chromium: Browser) -> None:
    report = Report()
    with Page(empty=True) as empty:
        page = tour.opened(chromium, empty.url, TOKEN, report)
        for path, said in (
            ("/", "No calls in this time"),
            ("/inventory", "No endpoint yet"),
            ("/inventory?search=x", "No endpoint fits"),
            ("/findings?state=all", "Nothing was found yet"),
            ("/transactions", "No transaction is stored yet"),
            ("/live", "Waiting for the next call"),
        ):
            page.goto(empty.url + path)
            expect(page.get_by_text(said)).to_be_visible()
            if path != "/live":
                tour.settled(page)
            tour.checked(page, report, path, None)
        page.context.close()
    assert report.problems == []
    assert report.accessibility == []


def test_triage_by_hand(chromium: Browser) -> None:
    report = Report()
    with Page() as served:
        page = tour.opened(chromium, served.url, TOKEN, report)
        page.goto(f"{served.url}/findings/{node.finding_id(0)}")
        page.get_by_label("Comment").fill('first line\nsecond <b>"line"</b>')
        page.get_by_label("Your name").fill("Alice")
        page.get_by_role("button", name="False positive").click()
        expect(page.get_by_text('second <b>"line"</b>')).to_be_visible()
        expect(page.get_by_text("by Alice")).to_be_visible()
        expect(page.get_by_text("limit the tries at this endpoint")).to_be_visible()
        expect(page.get_by_role("button", name="Open again")).to_be_visible()
        expect(page.locator("#open-count")).to_have_text("3 open")
        page.goto(f"{served.url}/findings?state=false_positive")
        expect(page.get_by_text("Repeated authentication failures of one identity")).to_be_visible()
        page.goto(f"{served.url}/findings/{node.finding_id(2)}")
        assert page.get_by_label("Your name").input_value() == "Alice"
        page.context.close()
    assert report.problems == []


@pytest.mark.parametrize("hours", [1, 24, 168, 720])
def test_a_chart_shows_every_call(chromium: Browser, served: Page, hours: int) -> None:
    """Also where the store has rounded its steps up to hours."""
    page = tour.opened(chromium, served.url, TOKEN, Report())
    tour.settled(page, "Overview")
    # The page's own question: another one, a moment later, may be about a step less.
    with page.expect_response(lambda response: "/api/v1/overview?" in response.url) as asked:
        page.goto(f"{served.url}/?hours={hours}")
    tour.settled(page, "Overview")
    page.get_by_text("As a table").click()
    cells = page.locator("details tbody td:nth-child(2)").all_inner_texts()
    shown = sum(int(text.replace(",", "")) for text in cells)
    seen = asked.value.json()
    assert seen["hours"] == hours
    assert shown == seen["calls"] > 0
    assert page.locator(".readout").inner_text().startswith(f"{shown:,} calls")
    page.context.close()


@pytest.mark.parametrize(("empty", "chosen"), [(True, "1 h"), (False, "24 h")])
def test_the_time_shown_unasked_is_the_last_hour_until_there_is_more(
    chromium: Browser, empty: bool, chosen: str
) -> None:
    """A sensor just installed would show a day with one bar at its end."""
    with Page(empty=empty) as served:
        page = tour.opened(chromium, served.url, TOKEN, Report())
        page.goto(served.url)
        tour.settled(page, "Overview")
        expect(page.locator("nav[aria-label=Time] [aria-current=true]")).to_have_text(chosen)
        expect(page.get_by_text(f"in the last {chosen}")).to_be_visible()
        page.get_by_role("link", name="7 d").click()
        expect(page.get_by_text("in the last 7 d")).to_be_visible()
        expect(page.locator("nav[aria-label=Time] [aria-current=true]")).to_have_text("7 d")
        page.context.close()


def test_what_attackers_wrote_is_text(chromium: Browser, served: Page) -> None:
    """Markup, attributes, bidirectional and control characters, in every place that shows what came from traffic."""
    report = Report()
    page = tour.opened(chromium, served.url, TOKEN, report)
    hostile = range(len(node.ENDPOINTS) - len(node.HOSTILE), len(node.ENDPOINTS))
    calls = [next(n for n in range(node.CALLS) if node.endpoint_of(n) == endpoint) for endpoint in hostile]
    places = [f"/inventory/{node.endpoint_id(endpoint)}" for endpoint in hostile]
    places += [f"/transactions/{node.hashed(f'transaction {call}')}" for call in calls]
    places += [
        "/inventory?owner=catalog",
        "/inventory?search=%3Cscript%3Edocument.title%3D%27owned%27%3C%2Fscript%3E",
        "/transactions?search=script",
        "/transactions?client=%22%3E%3Cimg%20src%3Dx%20onerror%3Ddocument.title%3D1%3E",
        f"/transactions/{node.hashed('transaction 1')}",
        f"/findings/{node.finding_id(3)}",
        "/inventory/%3Cimg%20src=x%3E",
        "/findings?state=%3Cb%3E",
        "/health",
    ]
    for place in places:
        page.goto(served.url + place)
        tour.settled(page) if "%3C" not in place else page.wait_for_timeout(300)
        assert page.locator("main script, main img, main b:not(.note b), main iframe").count() == 0, place
        text = page.locator("body").inner_text()
        assert not [c for c in text if c in "\u202e\u200b\x1b\x07"], place
        assert page.title() not in ("owned", "1")
    page.goto(f"{served.url}/transactions/{node.hashed(f'transaction {calls[2]}')}")
    tour.settled(page)
    shown = "/pay\\u202egnp.exe\\u200b\\x1b[2J\\x07"
    expect(page.get_by_text(shown).first).to_be_visible()
    expect(page.get_by_role("row", name=f"graphql query {shown} {shown} {shown}")).to_be_visible()
    expect(page.get_by_role("row", name="to the server grpc 3")).to_be_visible()
    page.context.close()
    refused = [problem for problem in report.problems if "status of 40" not in problem]
    assert refused == []


def test_without_a_session_the_page_asks_for_the_token_and_comes_back(chromium: Browser, served: Page) -> None:
    report = Report()
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{served.url}/findings?state=all")
    expect(page.get_by_label("Login token")).to_be_focused()
    tour.checked(page, report, "login", None)
    page.get_by_label("Login token").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("the token is wrong")).to_be_visible()
    page.get_by_label("Login token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Findings")).to_be_visible()
    assert page.url == f"{served.url}/findings?state=all"
    context.clear_cookies()
    page.get_by_role("link", name="Inventory").click()
    expect(page.get_by_label("Login token")).to_be_visible()
    context.close()
    assert report.accessibility == []


def test_a_sensor_that_is_gone_is_said(chromium: Browser) -> None:
    with Page(with_core=False) as served:
        page = tour.opened(chromium, served.url, TOKEN, Report())
        for path in ("/live", "/health"):
            page.goto(served.url + path)
            expect(page.get_by_role("alert").first).to_contain_text("No sensor answers on this node")
        page.goto(served.url)
        expect(page.locator(".notice")).to_contain_text("no sensor answers on this node")
        page.goto(f"{served.url}/inventory")
        tour.settled(page, "Inventory")
        assert page.locator("main .row-link").count() > 0
        page.context.close()


def test_what_is_wrong_with_the_sensor_is_said_first(chromium: Browser, served: Page) -> None:
    page = tour.opened(chromium, served.url, TOKEN, Report())
    expect(page.locator(".notice")).to_contain_text(
        "web is not running; the HTTPS of 1 process is not seen (5.0 MB); 19 losses were counted since the start"
    )
    expect(page.locator("#concern-count")).to_have_text("3 to look at")
    page.get_by_role("link", name="Exposed").click()
    expect(page.get_by_role("row").filter(has_text="/internal/export/users.csv")).to_be_visible()
    expect(page.locator("main .row-link")).to_have_count(3)
    page.go_back()
    page.get_by_role("main").get_by_role("link", name="Health").click()
    expect(page.get_by_text("raise capture.ring_bytes or worker.count")).to_be_visible()
    page.context.close()


def test_an_address_that_is_none_is_a_page_that_says_so(chromium: Browser, served: Page) -> None:
    page = tour.opened(chromium, served.url, TOKEN, Report())
    answer = page.goto(f"{served.url}/nowhere")
    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_role("heading", name="There is nothing at this address")).to_be_visible()
    page.goto(f"{served.url}/findings/{'0' * 16}")
    expect(page.get_by_role("alert")).to_have_text("This is not here. There is no such finding.")
    page.context.close()


def test_a_grpc_call_that_failed_does_not_look_well(chromium: Browser, served: Page) -> None:
    report = Report()
    page = tour.opened(chromium, served.url, TOKEN, report)
    page.goto(f"{served.url}/transactions?service=payments")
    expect(page.get_by_text("grpc 14").first).to_have_attribute("title", "gRPC status 14 UNAVAILABLE, HTTP status 200")
    page.goto(f"{served.url}/transactions/{node.hashed('transaction 17')}")
    expect(page.get_by_text("14 UNAVAILABLE", exact=True)).to_be_visible()
    expect(page.get_by_role("region", name="Operations")).to_contain_text("server streaming")
    expect(page.get_by_role("region", name="Messages").get_by_role("row").nth(2)).to_contain_text("to the clientgrpc12")
    tour.checked(page, report, "grpc", None)
    page.goto(f"{served.url}/transactions?method=POST&service=catalog")
    expect(page.get_by_title("failed: FORBIDDEN").first).to_have_text("graphql query ProductPage")
    page.context.close()
    assert report.problems == []
    assert report.accessibility == []


def test_live_is_bounded_and_says_what_is_left_out(chromium: Browser, served: Page) -> None:
    page = tour.opened(chromium, served.url, TOKEN, Report())
    page.goto(f"{served.url}/live")
    expect(page.get_by_text("4 left out")).to_be_visible(timeout=tour.PATIENCE_MS)
    expect(page.get_by_role("link", name="A login succeeded after repeated failures")).to_be_visible()
    page.keyboard.press("p")
    expect(page.get_by_text("paused")).to_be_visible()
    rows = page.locator("main tbody tr").count()
    # It grows faster than the browser is looked at.
    expect(page.get_by_text(re.compile(r"\b([3-9]|\d\d+) waiting"))).to_be_visible(timeout=tour.PATIENCE_MS)
    assert page.locator("main tbody tr").count() == rows
    page.locator("main .row-link").first.click()
    expect(page.get_by_role("complementary", name="Transaction")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("complementary", name="Transaction")).to_be_hidden()
    page.context.close()


@pytest.mark.timeout(600)
def test_the_tour(served: Page, tmp_path: Path, chromium: Browser) -> None:
    report = tour.walk(chromium, served.url, TOKEN, tmp_path, ("light", "dark"))
    assert report.problems == []
    assert report.accessibility == []
    views = (
        "overview",
        "inventory",
        "endpoint",
        "findings",
        "finding",
        "transactions",
        "transaction",
        "health",
        "live",
    )
    assert set(report.views) == {*(f"{view}-{scheme}" for view in views for scheme in ("light", "dark")), "narrow"}
    assert {path.stem for path in tmp_path.glob("*.png")} == set(report.views)
