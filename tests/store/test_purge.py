"""What somebody wants gone is gone: from the rows, and from the bytes of the files."""

from __future__ import annotations

from pathlib import Path

import pytest

from apisensor.inventory.model import Caller
from apisensor.store.commands import Done, Purge
from apisensor.store.errors import StoreError
from apisensor.store.model import EndpointQuery, FindingQuery, TransactionQuery
from apisensor.store.reader import StoreReader
from apisensor.store.writer import Writer
from apisensor.transactions.model import Auth
from tests.store.conftest import Write
from tests.store.rows import NOW_S, delta, finding, inventory, number, profile, stored

WHO = "deadbeefcafef00d" * 2


def purge(writer: Writer, command: Purge) -> Done:
    steps = writer.purge(command)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            done: Done = stop.value
            return done


@pytest.fixture
def filled(write: Write) -> None:
    def caller(identity: str) -> Caller:
        return Caller(identity, None, None, "bearer", 1, 1, 2)

    write(
        [stored(n, number(n % 2), auth=Auth("bearer", WHO) if n % 10 == 0 else None) for n in range(90)]
        + [stored(n, login_identity=WHO) for n in range(90, 100)],
        inventory(
            delta(0, profile(50, callers={"a": caller(WHO), "b": caller("ab" * 16)}), owner="service-0"),
            delta(1, profile(50, first=NOW_S + 80), owner="service-1"),
        ),
        findings=(
            finding(1, identity=WHO, service="service-1", transactions=[number(10), number(1)]),
            finding(2, identity="ab" * 16, service="service-0", transactions=[number(20), number(2)]),
        ),
    )


@pytest.mark.usefixtures("filled")
def test_by_identity(writer: Writer, reader: StoreReader, path: str) -> None:
    assert purge(writer, Purge(identity=WHO)) == Done(transactions=19 + 2 + 1, endpoints=1, findings=1)
    assert reader.transactions(TransactionQuery(identity=WHO)).rows == []
    assert reader.facts().transactions == 81
    assert [row.finding.id for row in reader.findings(FindingQuery()).rows] == [finding(2).id]
    assert [row.id for row in reader.finding_transactions(finding(2).id)] == [number(2)]
    detail = reader.endpoint(number(0))
    assert detail is not None
    assert list(detail.profile.callers) == ["b"]
    assert detail.row.callers == 1
    for file in (path, path + "-wal"):
        content = Path(file).read_bytes()
        assert WHO.encode() not in content
        assert bytes.fromhex(WHO) not in content


@pytest.mark.usefixtures("filled")
def test_by_service(writer: Writer, reader: StoreReader) -> None:
    assert purge(writer, Purge(service="service-1")) == Done(transactions=33 + 2 + 0, endpoints=1, findings=1)
    assert reader.transactions(TransactionQuery(service="service-1")).rows == []
    assert [row.owner for row in reader.endpoints(EndpointQuery()).rows] == ["service-0"]
    assert [row.owner for row in reader.owners()] == ["service-0"]
    assert reader.overview(24, NOW_S + 100).services == [("service-0", 50)]
    assert [row.finding.id for row in reader.findings(FindingQuery()).rows] == [finding(2).id]


@pytest.mark.usefixtures("filled")
def test_by_age(writer: Writer, reader: StoreReader) -> None:
    assert purge(writer, Purge(before=NOW_S + 40)) == Done(transactions=40 + 4, endpoints=1, findings=2)
    facts = reader.facts()
    assert (facts.transactions, facts.endpoints, facts.findings) == (60, 1, 0)
    assert facts.oldest == "2027-01-15T08:00:40.000000000Z"


@pytest.mark.usefixtures("filled")
def test_what_is_not_there(writer: Writer, reader: StoreReader) -> None:
    for command in (Purge(identity="ff" * 16), Purge(service="nobody"), Purge(before=0)):
        assert purge(writer, command) == Done()
    assert reader.facts().transactions == 100


@pytest.mark.parametrize("command", [Purge(), Purge(before=1, service="a"), Purge(service="a", identity="b")])
def test_exactly_one_thing_to_go_by(writer: Writer, command: Purge) -> None:
    with pytest.raises(StoreError, match="exactly one of"):
        writer.purge(command)
