"""The command line as a user has it: a process, its exit status and its two streams."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

COMMAND = [sys.executable, "-m", "apisensor.cli.main"]


def environment(**variables: str) -> dict[str, str]:
    """Without what this machine's environment says about the sensor or its export."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("APISENSOR_", "OTEL_"))}
    return {**kept, **variables}


def apisensor(
    *arguments: str, variables: Mapping[str, str] | None = None, timeout: float = 60, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Runs it to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=environment(**(variables or {})),
        **options,
    )


def one_line(text: str) -> str:
    """The only line of standard error; anything else is what the product promises never to print."""
    assert text.endswith("\n"), text
    assert text.count("\n") == 1, text
    assert "Traceback" not in text
    return text[:-1]
