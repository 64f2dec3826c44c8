"""docs/inventory.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from apisensor.inventory import inventory as module
from apisensor.inventory.callers import LATEST, MAX_CALLERS
from apisensor.inventory.evidence import GRPC_WALL, NOTHING, WALL, WALL_METHODS
from apisensor.inventory.histogram import ERROR
from apisensor.inventory.inventory import Inventory
from apisensor.inventory.owners import DESTINATIONS_PER_PROCESS
from apisensor.inventory.profile import LIMITS, NAMES_PER_CALL
from apisensor.inventory.routes import MAX_SEGMENTS, is_word, segment
from apisensor.inventory.shapes import LONGEST_LITERAL, SHAPES
from tests.test_docs import sections

TEXT = (Path(__file__).parents[2] / "docs" / "inventory.md").read_text()


def table(heading: str) -> list[list[str]]:
    """Cells of the table below these column names."""
    body = TEXT.partition(heading)[2].partition("\n|---")[2].partition("\n")[2].partition("\n\n")[0]
    assert body, heading
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in body.splitlines()]


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_shapes() -> None:
    rows = table("| shape | what it is | examples |")
    assert [quoted(row[0])[0] for row in rows] == [f"{{{name}}}" for name in SHAPES]
    assert {row[1] for row in rows} == {shape.meaning for shape in SHAPES.values()}
    for shape, _, examples in rows:
        assert quoted(examples) == list(SHAPES[quoted(shape)[0].strip("{}")].examples)
        assert all(f"`{segment(example)}`" == shape for example in quoted(examples))


def test_segments_with_parameters() -> None:
    rows = table("| segment | in the route |")
    assert rows
    for text, template in rows:
        assert f"`{segment(quoted(text)[0])}`" == template


def test_words() -> None:
    (words,) = re.findall(r"well-known words \(([^)]+) and versions\)", TEXT)
    assert all(map(is_word, quoted(words)))
    (looking,) = re.findall(r"looks like a value stays a word: (.+)\.", TEXT)
    assert all(segment(text) == text for text in quoted(looking))


def test_answers() -> None:
    nothing, wall, _ = (row[0] for row in table("| answer | consequence |"))
    redirects = {status for status in WALL if 300 <= status < 400}
    assert set(map(int, re.findall(r"\d{3}", nothing))) == NOTHING
    assert set(map(int, re.findall(r"\d{3}", wall))) | redirects == WALL
    assert set(re.findall(r"\b(OPTIONS|TRACE|CONNECT|GET|POST)\b", wall)) == WALL_METHODS
    assert len(re.findall(r"[A-Z]+_[A-Z]+|UNAVAILABLE|UNAUTHENTICATED", wall)) == len(GRPC_WALL)


def test_bounds() -> None:
    bounds = {row[0]: row[1] for row in table("| what | bound | beyond it |")}
    assert bounds["endpoints of an owner"] == f"{module.ENDPOINTS_PER_OWNER:,}"
    assert bounds["endpoints of an owner known by a wall's answers alone"] == str(module.WALLED_PER_OWNER)
    assert bounds["destinations that one process names"] == str(DESTINATIONS_PER_PROCESS)
    assert bounds["owners with unmatched calls, per flush"] == f"{module.UNMATCHED_OWNERS:,}"
    assert bounds["keys of a dictionary of an endpoint"] == f"{min(LIMITS.values())} to {max(LIMITS.values())}"
    assert bounds["names of query parameters of one call"] == str(NAMES_PER_CALL)
    assert bounds["callers of an endpoint"] == str(MAX_CALLERS)
    assert f"The {MAX_CALLERS - LATEST} that called most and the {LATEST} latest" in TEXT
    assert f"within {ERROR:.1%}".replace("%", " %") in TEXT
    assert f"longer than {LONGEST_LITERAL} characters" in TEXT
    assert f"with more than {MAX_SEGMENTS} is `{{rest}}`" in TEXT.replace("\n", " ")


def test_counters() -> None:
    named = re.findall(r"`(inventory\.\w+)`", sections("inventory.md")["Bounds"].partition("Counters:")[2])
    assert named == list(Inventory(1, 1).counters())
