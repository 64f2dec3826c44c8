"""docs/api.md is compared with the code."""

from __future__ import annotations

import re

from apisensor.store.model import LARGEST_PAGE
from apisensor.web import access, answers, app, parameters, reading, serving
from apisensor.web.errors import STATUSES
from apisensor.web.routes import PREFIX, ROUTES
from tests.test_docs import DOCS, rows, sections

TEXT = (DOCS / "api.md").read_text()


def test_routes() -> None:
    documented = rows(sections("api.md")["Routes"])
    assert {name: cells[0].replace("`", "") for name, cells in documented.items()} == {
        f"{route.method} {route.path}": route.does.replace("`", "") for route in ROUTES
    }


def test_errors() -> None:
    documented = rows(sections("api.md")["Errors"])
    assert {name: int(cells[0]) for name, cells in documented.items()} == STATUSES


def test_limits() -> None:
    limits = sections("api.md")["Limits"]
    for line in (
        f"| connections | {serving.MAX_CONNECTIONS};",
        f"| head of a request | {serving.HEAD_BYTES // 1024} KiB, within {serving.HEAD_SECONDS:g} s |",
        f"| live streams | {answers.MAX_STREAMS} |",
        f"| questions that wait for the store | {reading.MAX_WAITING} |",
        f"| points of `traffic` | {answers.MAX_POINTS:,} |",
    ):
        assert line in limits
    assert f"`limit` is 1 to {LARGEST_PAGE}" in TEXT
    assert parameters.BOUNDS["limit"] == (1, LARGEST_PAGE)
    assert f"longer than {app.BODY_BYTES // 1024} KiB" in TEXT
    assert access.SESSION_SECONDS == 7 * 86_400
    assert "session of seven days" in TEXT
    words = " ".join(TEXT.split())
    assert f"After {access.WRONG_PER_WINDOW} wrong tokens from one address within a minute" in words
    assert access.WINDOW_SECONDS == 60


def test_examples_ask_for_what_there_is() -> None:
    paths = {route.path for route in ROUTES}
    asked = re.findall(rf"http://127.0.0.1:8090{PREFIX}(/[^\s'?]+)\??([^\s']*)", TEXT)
    assert len(asked) > 4
    for path, query in asked:
        template = path.replace("/ID/", "/{id}/")
        assert template in paths
        fields = {name for route in ROUTES if route.path == template for name in route.parameters.__struct_fields__}
        assert {pair.partition("=")[0] for pair in query.split("&") if pair} <= fields


def test_the_token_file_is_listed() -> None:
    assert "`/var/lib/apisensor/web.token` | root:apisensor 0640 |" in (DOCS / "files.md").read_text()
