"""Capture's questions to a finder that may say anything, or nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from apisensor.finder.answer import Found, Question
from apisensor.processes import asking
from apisensor.processes.asking import Asking
from apisensor.processes.link import Link, pair
from apisensor.processes.messages import encode

SIZE = 100
"""Of the file that is asked about."""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "library"
    path.write_bytes(bytes(SIZE))
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def answer_to(file: int, says: Callable[[int], list[bytes]]) -> tuple[Found | None, bytes]:
    """What capture takes from a finder that says this (number of the question -> messages), and what it was asked."""
    ours, theirs = pair()
    finder = Link(theirs)
    asked = []

    def serve() -> None:
        theirs.setblocking(True)
        message, descriptors = finder.receive() or (b"", [])
        for descriptor in descriptors:
            os.close(descriptor)
        asked.append(message)
        for said in says(int.from_bytes(message[:8], "little")):
            theirs.send(said)

    thread = threading.Thread(target=serve)
    thread.start()
    found = Asking(Link(ours)).ask(file, Question.VERSION)
    thread.join()
    ours.close()
    theirs.close()
    return found, asked[0]


def test_an_answer_is_taken(file: int) -> None:
    said = Found({"SSL_read": 8}, version="3.0.1")
    found, asked = answer_to(file, lambda number: [encode(msgspec.structs.replace(said, question=number))])
    assert found == msgspec.structs.replace(said, question=1)
    assert asked == b"\1\0\0\0\0\0\0\0v"


def test_an_answer_to_an_earlier_question_is_passed_over(file: int) -> None:
    found, _ = answer_to(
        file, lambda number: [encode(Found({"SSL_read": 9}, question=0)), encode(Found({}, question=number))]
    )
    assert found == Found({}, question=1)


@pytest.mark.parametrize(
    "said",
    [
        b"nonsense",
        encode({"offsets": {}, "question": 1, "more": 1}),
        encode(Found({"SSL_read": SIZE}, question=1)),
        encode(Found({"SSL_read": 0}, question=1)),
        encode(Found({}, {"read": [4, -1]}, question=1)),
    ],
)
def test_what_cannot_be_an_answer_is_none(file: int, said: bytes) -> None:
    assert answer_to(file, lambda _: [said])[0] is None


def test_a_finder_that_is_silent_is_not_waited_for_long(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "WAIT_S", 0.05)
    assert answer_to(file, lambda _: [])[0] is None
