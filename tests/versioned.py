"""The files under version control."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def versioned_files() -> list[Path]:
    """Paths relative to the project's folder, without what the work tree has deleted. Links are not followed."""
    # safe.directory: the tests run as root, the clone may belong to someone else.
    command = ["git", "-C", str(PROJECT), "-c", "safe.directory=*", "ls-files", "-z"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
    return [Path(name) for name in listed.split("\0") if name and os.path.lexists(PROJECT / name)]
