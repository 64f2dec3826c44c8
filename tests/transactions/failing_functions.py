"""`python -m tests.transactions.failing_functions`: each function inside an engine fails at each of its calls.

Prints how many did, or which of them broke a promise. In plain modules only: a compiled class keeps its functions.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

from apisensor.protocols.http1_reader import Reader
from apisensor.protocols.http1_request import RequestReader
from apisensor.protocols.http1_response import ResponseReader
from apisensor.protocols.http2 import FrameReader
from apisensor.transactions.analyzer import Count
from apisensor.transactions.http1_pairing import Http1Pairing
from apisensor.transactions.http2_pairing import Http2Pairing
from tests.transactions.test_failures import TALKS, check, hear

INSIDE = [Http1Pairing, RequestReader, ResponseReader, Reader, Http2Pairing, FrameReader]


def functions() -> Iterator[tuple[type, str]]:
    for owner in INSIDE:
        for name, member in vars(owner).items():
            if inspect.isfunction(member) and name != "__init__":
                yield owner, name


def fails_at_each_of_its_calls(owner: type, name: str, *, idle: bool) -> int:
    """How often it was called, and so failed."""
    good = getattr(owner, name)
    calls = fatal = 0

    def failing(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if fatal and calls >= fatal:
            raise RuntimeError("a bug")
        return good(*arguments, **options)

    failed = 0
    with mock.patch.object(owner, name, failing):
        for _, talk in TALKS:
            calls = fatal = 0
            check(hear(talk, tls=False, idle=idle))
            for at in range(1, calls + 1):
                calls, fatal = 0, at
                sensor = hear(talk, tls=False, idle=idle)
                assert sensor.count(Count.FLOWS_FAILED) >= 1
                check(sensor)
                failed += 1
    return failed


def main() -> int:
    failed = []
    for owner, name in functions():
        for idle in (False, True):
            try:
                failed.append(fails_at_each_of_its_calls(owner, name, idle=idle))
            except BaseException:
                print(f"{owner.__name__}.{name}, idle: {idle}", file=sys.stderr)
                raise
    print(len(failed), sum(failed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
