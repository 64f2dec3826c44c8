"""A tour through every view of a running page in headless Chromium, for any sensor: it needs its address and token.

    python -m tests.web.tour http://127.0.0.1:8090 "$(cat /var/lib/apisensor/web.token)" DIRECTORY

It clicks and types as people do, in both colour schemes; whatever the console says, what the content security policy
stops, what accessibility rules are broken and what an attacker's text does to the page, it collects. Screenshots go to
a directory.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from axe_core_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Dialog,
    Page,
    Request,
    ViewportSize,
    expect,
    sync_playwright,
)
from playwright.sync_api import TimeoutError as PlaywrightTimeout

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
SIZE: ViewportSize = {"width": 1280, "height": 800}
PATIENCE_MS = 15_000
QUIET_MS = 5_000
VIEWS = {"o": "Overview", "l": "Live", "i": "Inventory", "f": "Findings", "t": "Transactions", "h": "Health"}
"""Key after g: heading."""
WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}

Scheme = Literal["light", "dark"]


@dataclass
class Report:
    """What was wrong, and what was seen."""

    problems: list[str] = field(default_factory=list)
    """Of the console, the network and the content security policy."""
    accessibility: list[str] = field(default_factory=list)
    views: list[str] = field(default_factory=list)
    """Names of the views that were shown and checked."""


@contextmanager
def browser() -> Iterator[Browser]:
    """Headless Chromium, ended with the block."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS])
        try:
            yield started
        finally:
            started.close()


def opened(chromium: Browser, base: str, token: str, report: Report, scheme: Scheme = "light") -> Page:
    """A page of its own session, logged in, whose complaints go to the report."""
    context = chromium.new_context(viewport=SIZE, color_scheme=scheme, locale="en-GB", timezone_id="UTC")
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)

    def on_console(said: ConsoleMessage) -> None:
        if said.type in ("error", "warning"):
            report.problems.append(f"console: {said.text}")

    def on_dialog(dialog: Dialog) -> None:
        report.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def on_request(request: Request) -> None:
        if not request.url.startswith((base, "data:")):
            report.problems.append(f"outside: {request.url}")

    page.on("console", on_console)
    page.on("pageerror", lambda error: report.problems.append(f"error: {error}"))
    page.on("dialog", on_dialog)
    page.on("request", on_request)
    page.goto(f"{base}/login?token={token}")
    page.wait_for_url(f"{base}/")
    return page


def settled(page: Page, heading: str | None = None) -> None:
    """Waits until everything that the view asked for is there."""
    if heading is not None:
        page.locator("main h1", has_text=heading).wait_for()
    expect(page.locator("main h1").first).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator("main [aria-busy]")).to_have_count(0, timeout=PATIENCE_MS)


def checked(page: Page, report: Report, name: str, shots: Path | None) -> None:
    """Looks at what is shown now: accessibility, and a picture."""
    # Colours are judged when animations are over.
    page.evaluate("Promise.allSettled(document.getAnimations().map((one) => one.finished))")
    found: dict[str, Any] = Axe().run(page, options=WCAG)
    for violation in found["violations"]:
        where = "; ".join(node["html"][:160] for node in violation["nodes"][:3])
        report.accessibility.append(f"{name}: {violation['id']} ({violation['impact']}): {where}")
    report.views.append(name)
    if shots is not None:
        page.screenshot(path=str(shots / f"{name}.png"))


def tour(base: str, token: str, shots: Path | None = None, schemes: tuple[Scheme, ...] = ("light", "dark")) -> Report:
    """Goes through every view in each colour scheme, in a browser of its own.

    Args:
        base: "http://127.0.0.1:8090".
        token: the login token.
        shots: directory for the pictures, "<view>-<scheme>.png"; None: none are taken.
        schemes: which.
    """
    with browser() as chromium:
        return walk(chromium, base, token, shots, schemes)


def walk(chromium: Browser, base: str, token: str, shots: Path | None, schemes: tuple[Scheme, ...]) -> Report:
    """The tour in a browser that is there already (playwright allows one in a thread)."""
    report = Report()
    for scheme in schemes:
        page = opened(chromium, base, token, report, scheme)
        _views(page, report, scheme, shots)
        page.context.close()
    page = opened(chromium, base, token, report)
    _keyboard(page)
    page.context.close()
    _narrow(chromium, base, token, report, shots)
    return report


def _views(page: Page, report: Report, scheme: str, shots: Path | None) -> None:
    def look(name: str, heading: str | None = None) -> None:
        settled(page, heading)
        checked(page, report, f"{name}-{scheme}", shots)

    views = page.get_by_role("navigation", name="Views")
    look("overview", "Overview")
    page.get_by_role("link", name="1 h", exact=True).click()
    settled(page, "Overview")
    views.get_by_role("link", name="Inventory").click()
    look("inventory", "Inventory")
    page.get_by_role("combobox", name="Order").select_option("errors")
    page.wait_for_url("**sort=errors*")
    settled(page, "Inventory")
    if page.locator("main .row-link").count():
        page.locator("main .row-link").first.click()
        page.wait_for_url("**/inventory/*")
        look("endpoint")
        page.get_by_text("As a table").first.click()
        page.go_back()
        settled(page, "Inventory")
    views.get_by_role("link", name="Findings").click()
    settled(page, "Findings")
    page.get_by_role("link", name="All", exact=True).click()
    look("findings", "Findings")
    if page.locator("main .row-link").count():
        page.locator("main .row-link").first.click()
        page.wait_for_url("**/findings/*")
        look("finding")
    views.get_by_role("link", name="Transactions").click()
    look("transactions", "Transactions")
    if page.locator("main .row-link").count():
        page.locator("main .row-link").first.click()
        page.wait_for_url("**/transactions/*")
        page.get_by_text("As JSON").click()
        look("transaction")
    views.get_by_role("link", name="Health").click()
    look("health", "Health")
    views.get_by_role("link", name="Live").click()
    settled(page, "Live")
    with suppress(PlaywrightTimeout):  # a node may be quiet
        page.locator("main .row-link").first.wait_for(timeout=QUIET_MS)
    page.get_by_role("button", name="Pause").click()
    if page.locator("main .row-link").count():
        page.locator("main .row-link").first.click()
        page.locator("aside h2").first.wait_for()
    look("live", "Live")


def _keyboard(page: Page) -> None:
    """Everything by keys alone."""
    for key, heading in VIEWS.items():
        page.keyboard.press("g")
        page.keyboard.press(key)
        settled(page, heading)
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keyboard").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")
    page.keyboard.press("g")
    page.keyboard.press("i")
    settled(page, "Inventory")
    page.keyboard.press("/")
    page.keyboard.type("a")
    page.wait_for_url("**search=a*")
    settled(page, "Inventory")
    assert page.evaluate("document.activeElement.id") == "search", "the search keeps the focus while it searches"
    page.keyboard.press("Escape")
    if page.locator("main .row-link").count() > 1:
        page.keyboard.press("j")
        page.keyboard.press("j")
        page.keyboard.press("k")
        page.keyboard.press("Enter")
        page.wait_for_url("**/inventory/*")
        settled(page)
        page.keyboard.press("Escape")
        settled(page, "Inventory")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_label("Colours").select_option("dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    page.reload()
    settled(page, "Inventory")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before, "the choice is remembered"


def _narrow(chromium: Browser, base: str, token: str, report: Report, shots: Path | None) -> None:
    """On a telephone nothing lies beside the screen."""
    page = opened(chromium, base, token, report)
    page.set_viewport_size({"width": 390, "height": 844})
    for path, heading in (("/", "Overview"), ("/inventory", "Inventory"), ("/findings?state=all", "Findings")):
        page.goto(base + path)
        settled(page, heading)
        wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert not wide, f"{path} is wider than the screen"
    checked(page, report, "narrow", shots)
    page.context.close()


if __name__ == "__main__":
    _seen = tour(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    print("\n".join([*_seen.problems, *_seen.accessibility, f"{len(_seen.views)} views"]))
