"""A finding's life, and the transactions that show it."""

# ruff: noqa: ARG005  (all filters have one shape)
from __future__ import annotations

from typing import Any

import msgspec
import pytest

from apisensor.detect.model import SEVERITIES, Finding, State
from apisensor.sections import Store
from apisensor.store import findings as module
from apisensor.store.commands import SetState
from apisensor.store.errors import StoreError
from apisensor.store.model import FindingQuery
from apisensor.store.reader import StoreReader
from apisensor.store.writer import Writer
from tests.store.conftest import Write
from tests.store.rows import NOW_NS, SECOND, delta, finding, inventory, number, stored

ID = finding().id


def life(reader: StoreReader) -> list[tuple[str, str, str]]:
    record = reader.finding(ID)
    assert record is not None
    assert record.events[-1].state == record.state
    return [(event.who, event.state, event.comment) for event in record.events]


def later(n: int, **changes: Any) -> Finding:
    return finding(last_ns=NOW_NS + n * SECOND, count=12 + n, **changes)


def test_it_opens_and_grows(write: Write, reader: StoreReader) -> None:
    write(findings=(finding(),))
    write(findings=(later(5),))
    assert life(reader) == [("sensor", "open", "")]
    record = reader.finding(ID)
    assert record is not None
    assert record.finding == later(5)
    assert record.events[0].time == "2027-01-15T08:00:00.000000000Z"
    assert reader.finding("0" * 16) is None


def test_closed_and_happened_again_is_open_again(write: Write, writer: Writer, reader: StoreReader) -> None:
    write(findings=(finding(),))
    writer.set_state(SetState(finding=ID, state="closed", who="ann", comment="fixed"), NOW_NS)
    write(findings=(finding(),))
    assert life(reader)[-1] == ("ann", "closed", "fixed")
    write(findings=(later(1),))
    assert life(reader) == [("sensor", "open", ""), ("ann", "closed", "fixed"), ("sensor", "open", "happened again")]


def test_what_was_a_false_positive_is_one_when_it_begins_again(
    write: Write, writer: Writer, reader: StoreReader
) -> None:
    write(findings=(finding(),))
    writer.set_state(SetState(finding=ID, state="false_positive", who="ann", comment="a scanner of ours"), NOW_NS)
    same, other = finding(id="a" * 16), finding(id="b" * 16, key="another")
    write(findings=(same, other))
    record = reader.finding(same.id)
    assert record is not None
    assert [(event.who, event.state) for event in record.events] == [("sensor", "false_positive")]
    assert ID in record.events[0].comment
    beside = reader.finding(other.id)
    assert beside is not None
    assert beside.state == "open"
    writer.set_state(SetState(finding=ID, state="closed", who="ann"), NOW_NS)
    writer.set_state(SetState(finding=same.id, state="closed", who="ann"), NOW_NS)
    write(findings=(finding(id="c" * 16),))
    third = reader.finding("c" * 16)
    assert third is not None
    assert third.state == "open"


@pytest.mark.parametrize("state", ["false_positive", "acknowledged"])
def test_what_a_person_said_stays(write: Write, writer: Writer, reader: StoreReader, state: State) -> None:
    write(findings=(finding(),))
    writer.set_state(SetState(finding=ID, state=state, who="ann"), NOW_NS)
    write(findings=(later(1),))
    assert life(reader) == [("sensor", "open", ""), ("ann", state, "")]
    write(findings=(later(2, severity="high"),))
    assert life(reader)[-1] == ("sensor", state, "severity rose from medium to high")


def test_a_long_life_keeps_its_beginning_and_its_end(
    write: Write, writer: Writer, reader: StoreReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_EVENTS", 5)
    write(findings=(finding(),))
    for n in range(20):
        writer.set_state(SetState(finding=ID, state="closed", who=f"user {n}"), NOW_NS)
    assert [who for who, _, _ in life(reader)] == ["sensor", *(f"user {n}" for n in range(16, 20))]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (SetState(finding="0" * 16, state="closed", who="ann"), "no finding '0000000000000000'"),
        (SetState(finding=ID, state=msgspec.json.decode(b'"gone"'), who="ann"), "it is one of open"),
        (SetState(finding=ID, state="closed", who=""), "who has 1 to 100"),
        (SetState(finding=ID, state="closed", who="ann", comment="x" * 2_001), "a comment 2,000 at most"),
    ],
)
def test_a_step_that_cannot_be(write: Write, writer: Writer, command: SetState, message: str) -> None:
    write(findings=(finding(),))
    with pytest.raises(StoreError, match=message):
        writer.set_state(command, NOW_NS)


def shown(reader: StoreReader, which: str = ID) -> list[str]:
    return [row.id for row in reader.finding_transactions(which)]


def forget(writer: Writer) -> None:
    for table in ("transactions", "documents", "segments"):
        writer.connection.execute(f"DELETE FROM {table}")


def test_transactions_that_came_before_are_held(write: Write, writer: Writer, reader: StoreReader) -> None:
    write([stored(n) for n in range(5)])
    write(findings=(finding(transactions=[number(3), number(1)]),))
    forget(writer)
    assert shown(reader) == [number(3), number(1)]
    document = reader.transaction(number(3))
    assert document is not None
    assert document["path"] == "/users/3?limit=5"
    assert reader.transaction(number(2)) is None


def test_transactions_of_the_same_commit_and_later_ones_are_held(
    write: Write, writer: Writer, reader: StoreReader
) -> None:
    write([stored(1)], findings=(finding(transactions=[number(1), number(2)]),))
    assert shown(reader) == [number(1)]
    write([stored(2)])
    forget(writer)
    assert shown(reader) == [number(1), number(2)]


def test_what_is_awaited_is_awaited_after_a_restart(
    path: str, write: Write, writer: Writer, reader: StoreReader
) -> None:
    write(findings=(finding(transactions=[number(7)]),))
    writer.close()
    again = Writer(path, Store())
    again.write([stored(7)], None, [])
    forget(again)
    again.close()
    assert shown(reader) == [number(7)]


def test_what_no_finding_names_any_more_is_let_go(write: Write, writer: Writer, reader: StoreReader) -> None:
    write([stored(n) for n in range(4)])
    write(findings=(finding(1, transactions=[number(1), number(2)]), finding(2, transactions=[number(2)])))
    write(findings=(finding(1, transactions=[number(3)]),))
    forget(writer)
    assert shown(reader) == [number(3)]
    assert shown(reader, finding(2).id) == [number(2)]
    assert reader.transaction(number(1)) is None


def test_awaited_ids_have_a_bound(write: Write, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_AWAITED", 10)
    write(findings=tuple(finding(n, transactions=[number(n)]) for n in range(30)))
    assert len(writer._findings.awaited) == 10
    writer.reload()
    assert len(writer._findings.awaited) == 10


def test_an_endpoint_that_was_merged(write: Write, reader: StoreReader) -> None:
    from apisensor.inventory.model import Alias  # noqa: PLC0415

    write(inventory=inventory(delta(1), delta(2)), findings=(finding(1, endpoint=number(1)),))
    write(inventory=inventory(aliases=[Alias(number(1), number(2))]))
    write(findings=(finding(2, endpoint=number(1)),))
    for endpoint in (number(1), number(2)):
        rows = reader.findings(FindingQuery(endpoint=endpoint)).rows
        assert [row.finding.endpoint for row in rows] == [number(2)] * 2


def test_filters_and_pages(write: Write, writer: Writer, reader: StoreReader) -> None:
    made = [
        finding(
            n, severity=SEVERITIES[n % 5], rule=f"rule-{n % 3}", service=f"s-{n % 2}", identity=f"i-{n % 4}",
            client=f"c-{n % 4}", last_ns=NOW_NS + n % 7, title=f"50% of Something {n}",
        )
        for n in range(60)
    ]  # fmt: skip
    write(findings=tuple(made))
    for n in range(0, 60, 2):
        writer.set_state(SetState(finding=finding(n).id, state="closed", who="ann"), NOW_NS)
    order = sorted(made, key=lambda f: (SEVERITIES.index(f.severity), f.last_ns, f.id), reverse=True)
    cases: dict[str, tuple[FindingQuery, Any]] = {
        "all": (FindingQuery(limit=7), lambda f, n: True),
        "state": (FindingQuery(limit=7, state="open"), lambda f, n: n % 2),
        "severity": (FindingQuery(limit=7, severity="high"), lambda f, n: f.severity in ("high", "critical")),
        "rule": (FindingQuery(limit=7, rule="rule-1"), lambda f, n: n % 3 == 1),
        "service": (FindingQuery(limit=7, service="s-1", state="open"), lambda f, n: n % 2 == 1),
        "identity": (FindingQuery(limit=7, identity="i-1"), lambda f, n: n % 4 == 1),
        "client": (FindingQuery(limit=7, client="c-1"), lambda f, n: n % 4 == 1),
        "search": (FindingQuery(limit=7, search="0% OF something 1"), lambda f, n: str(n).startswith("1")),
    }
    for first, holds in cases.values():
        query = first
        expected = [f.id for f in order if holds(f, int(f.key[4:]))]
        found = []
        while True:
            page = reader.findings(query)
            assert page.total == (None if query.search else len(expected))
            found += [row.finding.id for row in page.rows]
            if page.next is None:
                break
            query = msgspec.structs.replace(query, cursor=page.next)
        assert found == expected
    assert {f.id for f in writer.findings()} == {f.id for f in made if int(f.key[4:]) % 2}
