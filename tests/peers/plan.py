"""What is asked in a scenario: a list of requests that is the same for the same name and count, in any language."""

from __future__ import annotations

import random
import secrets
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

_T = TypeVar("_T")

METHODS: Final = {"GET": 40, "POST": 20, "PUT": 10, "PATCH": 10, "DELETE": 8, "HEAD": 6, "OPTIONS": 6}
"""Method: weight in the mix."""
STATUSES: Final = {200: 64, 201: 8, 204: 6, 301: 4, 304: 4, 404: 8, 500: 6}
SIZES: Final = {0: 8, 1: 8, 17: 10, 400: 24, 1000: 22, 4096: 12, 16_384: 7, 16_385: 3, 65_536: 4, 200_000: 2}
"""Bytes of content: weight. 16,384 fill a TLS record and an HTTP/2 frame, one more takes two. Servers know no other."""
EDGES: Final = (0, 1, 16_383, 16_384, 16_385, 65_536, 1 << 20, 50 << 20)
"""Around a TLS record, the largest call that is copied whole, and far beyond it."""
HUGE: Final = 1 << 24
"""A call of more is left out from some byte on: its length is known where the message states it."""
_WITH_CONTENT: Final = {"POST": 1.0, "PUT": 1.0, "PATCH": 1.0, "DELETE": 0.25}
"""Method: share of its requests that carry content."""
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
_DECOY: Final = "GET /decoy/{n} HTTP/1.1\r\nHost: decoy\r\n\r\n"
"""Content that looks like a message: whoever looks for start lines inside content reports calls that never were."""


class Request(msgspec.Struct, frozen=True):
    """One planned request. Content is `unit` repeated and cut to `size` bytes."""

    n: int
    method: str
    path: str
    """/SCENARIO-RUN/N/WORD?status=...&size=...: distinct. Letters where a redactor might see a secret in digits."""
    headers: list[tuple[str, str]]
    size: int
    unit: str
    chunked: bool
    """Without Content-Length: chunked transfer coding in HTTP/1.1, just DATA frames in HTTP/2."""
    expect: bool
    """With `Expect: 100-continue`, where the client can."""

    @property
    def content(self) -> bytes:
        unit = self.unit.encode()
        return (unit * (self.size // len(unit) + 1))[: self.size]


class Mix(msgspec.Struct, frozen=True):
    """What is asked how often."""

    methods: dict[str, int]
    statuses: dict[int, int]
    chunked: bool = True
    """Some requests are sent in chunks."""
    largest: int = max(SIZES)
    """Bytes of a content."""


WEB: Final = Mix(METHODS, STATUSES)
FORMS: Final = Mix({"GET": 50, "POST": 30, "PUT": 10, "HEAD": 6, "OPTIONS": 4}, STATUSES, chunked=False)
"""For a server that reads contents of POST and PUT only, and none in chunks."""
FETCHES: Final = Mix({"GET": 1}, {200: 8, 201: 1, 204: 1})
"""For a client that only fetches files, and reads no content of an error."""
CALLS: Final = Mix({"POST": 1}, {200: 8, 404: 1, 500: 1}, largest=65_536)
"""gRPC: the status is HTTP's for the one that the answer is to have. Every request has content: less of it."""


def plan(scenario: str, count: int, run: str, mix: Mix = WEB) -> list[Request]:
    """`count` requests with every method, status and size in the mix; determined by the arguments alone.

    `run` only tells runs apart: a sensor sees those of the whole node, also when two happen at once.
    """
    chance = random.Random(f"{scenario}/{count}")
    return [_request(f"{scenario}-{run}", n, chance, mix) for n in range(count)]


def plan_of_sizes(scenario: str, sizes: Sequence[int], run: str) -> list[Request]:
    """One request of each size, answered with as much; those that are not huge in chunks too."""
    planned: list[Request] = []
    for size in sizes:
        for chunked in (False, True) if 0 < size < HUGE else (False,):
            n = len(planned)
            query = f"status=200&size={size}{'&chunked=1' if chunked else ''}"
            path = f"/{scenario}-{run}/{n}/sized?{query}"
            headers = [("Content-Type", "application/octet-stream")]
            planned.append(Request(n, "POST", path, headers, size, f"<{n}> ", chunked, expect=False))
    return planned


def new_run() -> str:
    """A name that no other run has: letters, of which a redactor makes nothing."""
    return "".join(secrets.choice(_LETTERS) for _ in range(6))


def _pick(weights: dict[_T, int], chance: random.Random) -> _T:
    return chance.choices(list(weights), list(weights.values()))[0]


def _request(first: str, n: int, chance: random.Random, mix: Mix) -> Request:
    method = _pick(mix.methods, chance)
    status = _pick(mix.statuses, chance)
    word = "".join(chance.choices(_LETTERS, k=8))
    # Files are what nginx sends with sendfile; the other servers do not care about the name.
    is_file = method in ("GET", "HEAD") and status == 200 and n % 2 == 0
    sizes = {size: weight for size, weight in SIZES.items() if size <= mix.largest}
    query = f"status={status}&size={_pick(sizes, chance)}"
    query += "&chunked=1" if chance.random() < 0.25 else ""
    query += "&gzip=1" if chance.random() < 0.1 else ""
    size = _pick(sizes, chance) if chance.random() < _WITH_CONTENT.get(method, 0.0) else 0
    headers = [("Accept-Encoding", "gzip")]
    if size:
        headers.append(("Content-Type", "application/octet-stream"))
    if n % 5 == 0:
        headers.append(("traceparent", f"00-{chance.getrandbits(128):032x}-{chance.getrandbits(64):016x}-01"))
    return Request(
        n=n,
        method=method,
        path=f"/{first}/{n}/{word}{'.bin' if is_file else ''}?{query}",
        headers=headers,
        size=size,
        unit=_DECOY.format(n=n) if n % 8 == 0 else f"<{n}> ",
        chunked=mix.chunked and size > 0 and chance.random() < 0.25,
        expect=size >= 16_384 and chance.random() < 0.5,
    )
