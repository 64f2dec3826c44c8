"""Runs scenarios under one sensor and prints the verdict of each; for whoever works on the sensor. Needs root.

python -m tests.peers.judge [--set SECTION.KEY=VALUE] [SCENARIO ...]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.peers.scenarios import BY_NAME
from tests.sensor import Sensor


def main() -> int:
    """0 where every scenario passed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of: {', '.join(BY_NAME)}; all where none")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the sensor")
    options = parser.parse_args()
    if unknown := [name for name in options.scenarios if name not in BY_NAME]:
        parser.error(f"no such scenario: {', '.join(unknown)}")
    failed = []
    with tempfile.TemporaryDirectory(prefix="apisensor-judge-") as directory, Sensor(options.set) as sensor:
        print(sensor.log())
        for name in options.scenarios or BY_NAME:
            scenario = BY_NAME[name]
            verdict = sensor.verdict(scenario.run(Path(directory) / name, sensor.attached).calls)
            passed = verdict.passes()
            print(f"{'ok    ' if passed else 'FAILED'} {name}: {verdict.report()}", flush=True)
            if not passed:
                failed.append(name)
        print(f"lost: {sensor.losses()}")
        if sensor.unexpected:
            print(f"on standard output, and no transaction: {sensor.unexpected[:3]}")
    print(f"{len(failed)} of {len(options.scenarios or BY_NAME)} scenarios failed: {' '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
