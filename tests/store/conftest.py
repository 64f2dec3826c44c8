"""A store in a temporary folder, its writer, and a reader beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from apisensor.detect.model import Finding
from apisensor.inventory.model import InventoryDelta
from apisensor.sections import GIB, Store
from apisensor.store.pending import Pending
from apisensor.store.reader import StoreReader
from apisensor.store.transactions import Stored
from apisensor.store.writer import Writer
from tests.store.rows import NOW_S

Write = Callable[..., None]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "store" / "apisensor.db")


@pytest.fixture
def writer(path: str) -> Iterator[Writer]:
    writer = Writer(path, Store(max_bytes=GIB))
    yield writer
    writer.close()


@pytest.fixture
def reader(path: str) -> Iterator[StoreReader]:
    reader = StoreReader(path)
    yield reader
    reader.close()


@pytest.fixture
def write(writer: Writer) -> Write:
    """One commit of whatever is given."""

    def write(
        items: list[Stored] | None = None,
        inventory: InventoryDelta | None = None,
        findings: tuple[Finding, ...] = (),
    ) -> None:
        pending = Pending()
        if inventory is not None:
            pending.add(inventory, NOW_S)
        assert writer.write(items or [], pending, findings) == 0

    return write
