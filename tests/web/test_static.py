"""The files of the page: text never becomes markup, and nothing is loaded from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from apisensor.events.model import Binding
from apisensor.export.semantics import PROTOCOL
from apisensor.live.filters import Filter, compile_filter
from apisensor.store.model import TransactionQuery
from apisensor.web.app import PAGES, STATIC, TYPES
from apisensor.web.routes import ROUTES
from tests.live.transactions import transaction

FILES = sorted(path for path in STATIC.rglob("*") if path.is_file())
SCRIPTS = [path for path in FILES if path.suffix == ".js"]

MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|setHTML|srcdoc"
    r"|\beval\b|new Function|javascript:|setTimeout\(\s*[\"'`]|\.cssText|setAttribute\(\s*[\"']style"
)
"""Ways from text to markup or code."""


def name(path: Path) -> str:
    return str(path.relative_to(STATIC))


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_text_stays_text(path: Path) -> None:
    assert not MARKUP.findall(path.read_text())


def test_the_search_for_markup_finds_it() -> None:
    for wrong in ("a.innerHTML = b", "eval(x)", "setTimeout('x()', 1)", "e.setAttribute('style', s)"):
        assert MARKUP.search(wrong)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_nothing_from_elsewhere(path: Path) -> None:
    allowed = {"http://www.w3.org/2000/svg", "https://owasp.org/API-Security/editions/2023/en/0x11-t10/"}
    assert set(re.findall(r"(?:https?:)?//[a-z][\w.-]+\.[a-z]{2,}[^\s\"'`<>]*", path.read_text())) <= allowed
    assert path.suffix in TYPES


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".html"], ids=name)
def test_nothing_inline(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", text)
    for target in re.findall(r'(?:src|href)="/static/([^"]+)"', text):
        assert (STATIC / target).is_file(), target


def test_every_file_is_used() -> None:
    texts = {path: path.read_text() for path in FILES}
    for path in FILES:
        if path.suffix != ".html":
            others = "".join(text for other, text in texts.items() if other != path)
            assert path.name in others, f"{name(path)} is loaded by nobody"


def test_imports_lead_somewhere_and_are_used() -> None:
    for path in SCRIPTS:
        text = path.read_text()
        for names, target in re.findall(r"^import (.+?) from \"(.+?)\";$", text, re.MULTILINE):
            source = (path.parent / target).resolve()
            assert source.is_file(), f"{name(path)}: {target}"
            for one in re.findall(r"\w+", names.replace("* as", "").replace("{", "").replace("}", "")):
                assert len(re.findall(rf"\b{one}\b", text)) > 1, f"{name(path)}: {one} is not used"
                if "* as" not in names:
                    assert re.search(rf"export (?:async )?(?:function|const|class) {one}\b", source.read_text()), one


def test_modules_are_short() -> None:
    assert not {name(path): lines for path in FILES if (lines := path.read_text().count("\n")) > 300}


def test_addresses_are_those_that_the_server_knows() -> None:
    app = (STATIC / "app.js").read_text()
    assert set(re.findall(r"\{ name: \"(\w*)\", title", app)) == set(PAGES)


def test_words_are_the_codes() -> None:
    transaction = (STATIC / "views/transaction.js").read_text()
    table = transaction.partition("const BINDINGS = {")[2].partition("};")[0]
    assert set(re.findall(r"^  (\w+):", table, re.MULTILINE)) == {binding.name.lower() for binding in Binding}
    given = (STATIC / "views/transactions.js").read_text().partition("const GIVEN = {")[2].partition("};")[0]
    assert set(re.findall(r"(\w+):", given)) <= set(TransactionQuery.__struct_fields__)


def test_every_filter_of_the_live_view_is_asked_for() -> None:
    live = (STATIC / "views/live.js").read_text()
    asked = set(re.findall(r'"(\w+)"', live.partition("const FILTERS = [")[2].partition("]")[0]))
    shown = set(re.findall(r'(?:field|choice)\("[^"]+", "(\w+)"', live)) | {"incomplete"}
    assert asked == shown
    assert asked <= set(Filter.__struct_fields__)


def test_every_protocol_can_be_chosen() -> None:
    live = (STATIC / "views/live.js").read_text()
    choices = re.findall(r"\[\"([\w/.]+)\", ", live.partition('choice("Protocol"')[2].partition("], query)")[0])
    chosen = {choice: compile_filter(Filter(protocol=[choice])) for choice in choices}
    found = {
        protocol: [choice for choice, passes in chosen.items() if passes(transaction(protocol=protocol))]
        for protocol in PROTOCOL
    }
    assert all(len(by) == 1 for by in found.values()), found
    assert {by[0] for by in found.values()} == set(choices)


def test_every_route_that_the_page_asks_for_is_there() -> None:
    known = {route.path.replace("{id}", "*") for route in ROUTES}
    asked = set()
    for path in SCRIPTS:
        for parts in re.findall(r"\b(?:get|post)\(\[(.+?)\]", path.read_text()):
            names = [part.strip() for part in parts.split(",")]
            asked.add("/" + "/".join(part.strip('"') if part.startswith('"') else "*" for part in names))
    assert asked
    assert asked <= known
