"""docs/runtimes.md beside the table of functions."""

from __future__ import annotations

import re

from apisensor.finder.functions import LIBRARIES
from tests.peers.process import ROOT


def test_every_function_is_documented_with_its_role() -> None:
    text = (ROOT / "docs" / "runtimes.md").read_text().split("## The functions")[1]
    documented = {
        (library, role, function)
        for library, role, functions in re.findall(r"^\| (\w+) \| (\w+) \| (.*) \|$", text, re.MULTILINE)
        for function in re.findall(r"`([^`]+)`", functions)
    }
    assert documented == {
        (library.name, str(role), function) for library in LIBRARIES for function, role in library.functions.items()
    }
