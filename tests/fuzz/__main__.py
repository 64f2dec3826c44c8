"""`python -m tests.fuzz NAME --runs N`: coverage-guided fuzzing with atheris (PyPI; `pip install atheris`).

What crashes is written to the current folder as crash-*, timeout-* or oom-*; once fixed it belongs in corpus/NAME.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

try:
    import atheris
except ImportError:
    sys.exit("atheris is not installed: .venv/bin/pip install atheris")

os.environ["APISENSOR_PLAIN"] = "1"  # what is compiled has no bytecode to instrument

with atheris.instrument_imports(include=["apisensor", "hpack", "hyperframe"], enable_loader_override=False):
    from tests.fuzz.seeds import CORPUS, inputs
    from tests.fuzz.targets import TARGETS

MEMORY_MIB = 1024
"""Resident size that stops a run: imports and corpus take some 200 MiB."""
SECONDS = 30
"""Time of one input that stops a run, by the clock on the wall. The slowest legitimate ones take milliseconds, and
whatever else the machine does may take seconds."""
LONGEST = 4096
"""Bytes of an input."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("name", choices=TARGETS)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", metavar="FOLDER", help="keep what reaches new code in FOLDER")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for number, data in enumerate(inputs(chosen.name)):
            (Path(scratch) / f"{number}").write_bytes(data)
        folders = [chosen.keep] if chosen.keep else []
        options = [f"-runs={chosen.runs}", f"-seed={chosen.seed}", f"-max_len={LONGEST}", f"-timeout={SECONDS}"]
        options += [f"-rss_limit_mb={MEMORY_MIB}", "-print_final_stats=1", "-verbosity=1"]
        own = [str(CORPUS / chosen.name)] if (CORPUS / chosen.name).is_dir() else []
        atheris.Setup([sys.argv[0], *options, *folders, scratch, *own], TARGETS[chosen.name])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
