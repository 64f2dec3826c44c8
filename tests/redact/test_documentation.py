"""docs/redaction.md says what the code does."""

from __future__ import annotations

from pathlib import Path

from apisensor.content import codings, logins
from apisensor.content.bodies import FINDS_PER_SHAPE
from apisensor.content.inspector import Inspector
from apisensor.content.model import KINDS, PLACES
from apisensor.redact.ids import IdSource
from apisensor.redact.redactor import INVALID_UTF8, Redactor
from apisensor.redact.text import MARKER
from tests.content.exchanges import exchange
from tests.content.tokens import basic

inspect = Inspector().inspect

TEXT = (Path(__file__).parents[2] / "docs" / "redaction.md").read_text()


def test_kinds() -> None:
    table = TEXT.partition("| kind | meaning |\n|---|---|\n")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert {kind.strip("`"): meaning for kind, meaning in rows} == KINDS
    assert [kind.strip("`") for kind, _ in rows] == list(KINDS)


def test_places() -> None:
    assert not [place for place in PLACES if f"`{place}`" not in TEXT]


def test_words_and_numbers() -> None:
    for word in (MARKER, INVALID_UTF8):
        assert f"`{word}`" in TEXT
    assert f"{FINDS_PER_SHAPE:,} finds" in TEXT
    assert f"up to {codings.STACKED} of them" in TEXT
    assert f"first {codings.DECODED_BYTES:,} bytes" in TEXT
    assert f"{codings.RATIO} times what" in TEXT
    assert f"({codings.RATIO_FROM:,} bytes always)" in TEXT
    assert f"at most {logins.LARGEST:,} bytes long" in TEXT


def test_examples() -> None:
    raw = exchange([(b"Authorization", basic("a", "b")), (b"From", b"alice@example.com")])
    out = Redactor(bytes(32), IdSource()).transaction(raw, inspect(raw))
    assert out.request_headers is not None
    assert all(value is not None and f"`{value.removeprefix('Basic ')}`" in TEXT for _, value in out.request_headers)
