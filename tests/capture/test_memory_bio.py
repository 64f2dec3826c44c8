"""Links for the memory BIOs of processes: one each while they are few, one for all where they are many."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from apisensor.capture.memory_bio import MOST_OF_A_FILE, MemoryBios
from apisensor.capture.probes import Programs


class Attaching(Programs):
    """Attaches to nothing; a "link" is the process that it is for."""

    def __init__(self) -> None:
        self.fails = False

    def attach_process(self, descriptor: int, offsets: Mapping[str, int], pid: int) -> list[int]:  # noqa: ARG002
        if self.fails:
            raise PermissionError(1, "not permitted")
        return [pid]


class Room:
    """What is held, by label: the links, as the supervisor has them."""

    def __init__(self) -> None:
        self.programs, self.held = Attaching(), dict[str, list[int]]()
        self.bios = self.new()

    def new(self) -> MemoryBios:
        return MemoryBios(self.programs, self.keep, self.drop)

    def keep(self, label: str, library: None, links: list[int]) -> None:  # noqa: ARG002
        assert label not in self.held
        self.held[label] = links

    def drop(self, label: str) -> None:
        del self.held[label]

    def observe(self, *pids: int, file: str = "8:1:7") -> None:
        for pid in pids:
            assert self.bios.observe(pid, file, 3, {"BIO_write": 64})

    @property
    def links(self) -> list[int]:
        return sorted(link for links in self.held.values() for link in links)


def test_few_have_links_of_their_own_which_go_with_them() -> None:
    room = Room()
    room.observe(*range(1, MOST_OF_A_FILE + 1))
    assert room.links == list(range(1, MOST_OF_A_FILE + 1))
    room.bios.gone(1)
    room.bios.gone(1)
    assert 1 not in room.bios
    assert 2 in room.bios
    assert room.links == list(range(2, MOST_OF_A_FILE + 1))


def test_many_share_one_and_other_files_have_their_own() -> None:
    room = Room()
    room.observe(*range(1, 501))
    assert room.links == [0]
    room.observe(600, file="8:1:8")
    assert room.links == [0, 600]
    for pid in range(1, 501):
        assert pid in room.bios
        room.bios.gone(pid)
    assert room.links == [0, 600]


def test_what_a_predecessor_attached_is_taken_over() -> None:
    room = Room()
    room.observe(*range(1, MOST_OF_A_FILE + 5))
    room.observe(600, 601, file="overlay:1:2")
    labels = list(room.held)
    room.bios = room.new()
    for label in ("tracepoints", "8:1:7", *labels):
        room.bios.restore(label)
    assert 600 in room.bios
    assert 1 not in room.bios
    room.observe(1)
    assert room.links == [0, 600, 601]
    room.bios.gone(600)
    assert room.links == [0, 601]


def test_one_that_cannot_be_attached_to_holds_nothing() -> None:
    room = Room()
    room.programs.fails = True
    with pytest.raises(PermissionError):
        room.observe(1)
    assert 1 not in room.bios
    assert room.held == {}


def test_links_stay_few_whoever_comes_and_goes() -> None:
    room, chance, alive = Room(), random.Random(5), set[int]()
    for pid in range(1, 3000):
        room.observe(pid)
        alive.add(pid)
        while alive and chance.random() < 0.48:
            gone = alive.pop()
            room.bios.gone(gone)
        assert len(room.held) <= MOST_OF_A_FILE
        assert all(one in room.bios for one in alive)
