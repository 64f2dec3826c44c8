"""Learning: what is learnt, and that the order does not matter."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.inventory.inventory import Inventory
from apisensor.inventory.model import Alias, EndpointDelta, Profile
from apisensor.inventory.profile import merge
from apisensor.inventory.routes import LEARNT, is_parameter, is_word, segments
from tests.inventory.calls import MAX_ENDPOINTS, fed, routes, served, small_paths

Path = tuple[str, ...]

statuses = st.sampled_from([200, 200, 200, 201, 401, 403, 302, 404, None])
calls = st.lists(st.tuples(small_paths, statuses, st.sampled_from(["GET", "POST", "OPTIONS"])), max_size=40)


def reference(paths: dict[Path, bool], limit: int) -> dict[Path, Path]:
    """Path: its template, by the definition: from the root down, over the whole set. `paths`: answered or not."""
    result = {path: path for path in paths if not path}
    places: dict[str, dict[Path, bool]] = defaultdict(dict)
    for path, answered in paths.items():
        if path:
            places[path[0]][path] = answered
    words = {name for name in places if not is_parameter(name) and not is_word(name)}
    if sum(any(places[name].values()) for name in words) > limit:
        merged = {name: LEARNT for name in places if not is_word(name)}
    else:
        merged = {}
    groups: dict[str, dict[Path, bool]] = defaultdict(dict)
    for name, group in places.items():
        groups[merged.get(name, name)].update(group)
    for name, group in groups.items():
        below: dict[Path, bool] = {}
        for path, answered in group.items():
            below[path[1:]] = below.get(path[1:], False) or answered
        templates = reference(below, limit)
        result.update({path: (name, *templates[path[1:]]) for path in group})
    return result


@settings(max_examples=300)
@given(calls, st.integers(2, 4), st.randoms())
def test_the_result_is_that_of_the_definition_in_any_order(
    seen: list[tuple[str, int | None, str]], limit: int, chance: Any
) -> None:
    answered: dict[Path, bool] = {}
    endpoints = set()
    for path, status, method in seen:
        place = segments(path) or ()
        if status not in (404, None):
            answered[place] = answered.get(place, False) or (status in (200, 201) and method != "OPTIONS")
            endpoints.add((method, place))
    templates = reference(answered, limit)
    expected = {f"{method} /{'/'.join(templates[place])}" for method, place in endpoints}
    for _ in range(3):
        chance.shuffle(seen)
        inventory = fed([served(path, status, method=method) for path, status, method in seen], limit)
        assert inventory.counters()["inventory.endpoints"] == len(expected)
        assert routes(inventory) == expected
        for path, _, _ in seen:
            t = served(path)
            inventory.route(t)
            if (place := segments(path) or ()) in answered:
                assert t.route == "/" + "/".join(templates[place])


class Rows:
    """A store in memory: writes deltas as the store has to."""

    def __init__(self) -> None:
        self.rows: dict[str, EndpointDelta] = {}
        self.aliases: dict[str, str] = {}

    def write(self, inventory: Inventory) -> None:
        delta = inventory.flush()
        for new in delta.endpoints:
            old = self.rows.get(new.id)
            assert old is None or old.key == new.key
            merged = merge(old.profile if old else Profile(), new.profile)
            self.rows[new.id] = EndpointDelta(new.id, new.key, merged, walled=new.walled, rpc=new.rpc)
        for alias in delta.aliases:
            assert alias.old != alias.new
            self.aliases[alias.old] = alias.new
            gone = self.rows.pop(alias.old, None)
            if gone is not None:
                merge(self.rows[alias.new].profile, gone.profile)

    def resolve(self, id: str) -> str:
        while id in self.aliases:
            id = self.aliases[id]
        return id

    def restarted(self, limit: int) -> Inventory:
        known = [(row.id, row.key) for row in self.rows.values()]
        random.Random(0).shuffle(known)
        return Inventory(
            MAX_ENDPOINTS,
            limit,
            known,
            [Alias(old, new) for old, new in self.aliases.items()],
            walled={row.id for row in self.rows.values() if row.walled},
            rpc={row.id for row in self.rows.values() if row.rpc},
        )


@settings(max_examples=200)
@given(calls, st.integers(2, 3), st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)))
def test_flushes_and_restarts_change_nothing(
    seen: list[tuple[str, int | None, str]], limit: int, flushes: set[int], restarts: set[int]
) -> None:
    inventory, rows, counted = Inventory(MAX_ENDPOINTS, limit), Rows(), defaultdict[str, int](int)
    straight = Inventory(MAX_ENDPOINTS, limit)
    for number, (path, status, method) in enumerate(seen):
        if number in flushes | restarts:
            rows.write(inventory)
        if number in restarts:
            inventory = rows.restarted(limit)
            assert not inventory.flush().endpoints
        t = served(path, status, method=method)
        id = inventory.observe(t)
        assert id == straight.observe(t)
        if id is not None:
            counted[id] += 1
    rows.write(inventory)
    assert {f"{row.key.method} {row.key.route}" for row in rows.rows.values()} == routes(straight)
    totals = defaultdict[str, int](int)
    for id, count in counted.items():
        totals[rows.resolve(id)] += count
    assert {row.id: row.profile.count for row in rows.rows.values()} == totals
    assert inventory.counters()["inventory.endpoints"] == len(rows.rows)


def test_a_lower_limit_is_learnt_at_the_start_and_a_higher_one_unlearns_nothing() -> None:
    rows = Rows()
    rows.write(fed([served(f"/x/{word}/y") for word in ("aa", "bb", "cc")], 5))
    assert len(rows.rows) == 3
    rows.write(rows.restarted(2))
    assert [row.key.route for row in rows.rows.values()] == ["/x/{value}/y"]
    assert next(iter(rows.rows.values())).profile.count == 3
    again = rows.restarted(50)
    again.observe(served("/x/dd/y"))
    rows.write(again)
    assert len(rows.rows) == 1


def test_what_was_learnt_in_two_subtrees_becomes_one() -> None:
    paths = [f"/{first}/s/w{second}q" for first in ("aa", "bb", "cc", "dd") for second in "efgh"]
    assert routes(fed([served(path) for path in paths], 3)) == {"GET /{value}/s/{value}"}
