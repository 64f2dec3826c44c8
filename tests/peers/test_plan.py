"""A plan has everything in its mix, is the same each time, and no path twice."""

from __future__ import annotations

from collections import Counter
from urllib.parse import parse_qs, urlsplit

from tests.peers.plan import METHODS, SIZES, STATUSES, new_run, plan


def test_the_mix_is_complete() -> None:
    requests = plan("mix", 1000, "run")
    assert {request.method for request in requests} == set(METHODS)
    queries = [parse_qs(urlsplit(request.path).query) for request in requests]
    assert {int(query["status"][0]) for query in queries} == set(STATUSES)
    assert {int(query["size"][0]) for query in queries} == set(SIZES)
    assert {request.size for request in requests} == set(SIZES)
    for flag in ("chunked", "expect"):
        assert {getattr(request, flag) for request in requests} == {True, False}
    assert sum("traceparent" in dict(request.headers) for request in requests) == 200
    assert max(Counter(request.path for request in requests).values()) == 1


def test_contents_are_determined_and_some_look_like_messages() -> None:
    requests = plan("mix", 1000, "run")
    assert requests == plan("mix", 1000, "run")
    assert [r.content for r in requests] == [r.content for r in plan("mix", 1000, "another")]
    assert all(len(request.content) == request.size for request in requests)
    assert any(b"GET /decoy/" in request.content for request in requests)


def test_runs_are_told_apart() -> None:
    paths = {request.path for run in (new_run(), new_run()) for request in plan("mix", 100, run)}
    assert len(paths) == 200
