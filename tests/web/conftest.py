from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.web.page import Page


@pytest.fixture(scope="package")
def served() -> Iterator[Page]:
    """The page over a filled store. Tests that change a finding take one of their own."""
    with Page() as page:
        yield page
