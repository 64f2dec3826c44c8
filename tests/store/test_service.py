"""What core calls: it never blocks, never raises, counts what is lost, and answers commands from its thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from apisensor.inventory.model import Alias
from apisensor.sections import MIB, Store
from apisensor.store.commands import Command, Done, Failed, Purge, SetState
from apisensor.store.model import TransactionQuery
from apisensor.store.reader import StoreReader
from apisensor.store.service import StoreService, size_of
from tests.store.rows import NOW_NS, SECOND, call, delta, finding, inventory, number, profile

WITHIN_S = 20.0


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.02)


def ask(service: StoreService, command: Command) -> Done | Failed:
    answers: list[Done | Failed] = []
    answered = threading.Event()

    def reply(result: Done | Failed) -> None:
        answers.append(result)
        answered.set()

    service.execute(command, reply)
    assert answered.wait(WITHIN_S)
    assert len(answers) == 1
    return answers[0]


def lost(service: StoreService) -> dict[str, int]:
    counters = service.counters()
    return {name: count for name, count in counters.items() if name.startswith("store.lost.") and count}


def test_what_core_says_is_read_back_and_given_back(path: str, reader: StoreReader) -> None:
    service = StoreService(path, Store())
    assert (service.endpoints(), service.aliases(), service.findings(), service.notes()) == ([], [], [], [])
    service.start()
    for n in range(2_000):
        service.put(call(n), number(n % 3), n % 2 == 0)
    service.inventory(inventory(delta(1, profile(7))))
    growing = finding(transactions=[number(3)])
    service.finding(growing)
    growing.count = 99  # after it was handed over
    until(lambda: service.counters()["store.stored"] == 2_000)
    assert ask(service, SetState(finding=growing.id, state="acknowledged", who="ann")) == Done(findings=1)
    record = reader.finding(growing.id)
    assert record is not None
    assert (record.state, record.finding.count) == ("acknowledged", 12)
    assert len(reader.transactions(TransactionQuery(limit=500)).rows) == 500
    assert [row.id for row in reader.finding_transactions(growing.id)] == [number(3)]
    service.inventory(inventory(delta(1, profile(1))))
    service.close(WITHIN_S)
    assert lost(service) == {}
    again = StoreService(path, Store())
    assert [i for i, _ in again.endpoints()] == [number(1)]
    assert [f.id for f in again.findings()] == [growing.id]
    again.close(WITHIN_S)
    detail = reader.endpoint(number(1))
    assert detail is not None
    assert detail.row.count == 8


def test_what_has_no_room_in_the_queue_is_counted(path: str) -> None:
    service = StoreService(path, Store(queue_bytes=MIB))
    t = call(1)
    room = MIB * 3 // 4 // size_of(t)
    for _ in range(room + 50):
        service.put(t, None, True)
    assert lost(service) == {"store.lost.queue_full": 50}
    for n in range(200):
        service.inventory(inventory(delta(n)))
    assert lost(service)["store.lost.control"] > 0
    service.start()
    service.close(WITHIN_S)
    assert service.counters()["store.stored"] == room


def test_the_queue_counts_what_a_peer_sent() -> None:
    long = call(1, request_headers=[("x", "y" * 50_000)], path="/" + "z" * 20_000)
    assert size_of(long) > 70_000
    assert size_of(call(1, request_headers=None, response_headers=None, path=None)) > 0


def test_commands_that_cannot_be_done_say_so_in_one_line(path: str) -> None:
    service = StoreService(path, Store())
    service.start()
    for command in (SetState(finding="0" * 16, state="closed", who="ann"), Purge()):
        answer = ask(service, command)
        assert isinstance(answer, Failed)
        assert "\n" not in answer.message
    service.close(WITHIN_S)
    assert isinstance(ask(service, Purge(before=1)), Failed)


def test_a_purge_does_not_stop_the_store(path: str, reader: StoreReader) -> None:
    service = StoreService(path, Store())
    service.start()
    for n in range(500):
        service.put(call(n), None, True)
    assert ask(service, Purge(identity=f"{7:032x}")) == Done(transactions=10)
    service.put(call(1_000), None, True)
    until(lambda: service.counters()["store.stored"] == 501)
    assert reader.facts().transactions == 491
    service.close(WITHIN_S)


def test_who_asked_may_be_gone(path: str) -> None:
    def reply(_: Done | Failed) -> None:
        raise BrokenPipeError

    service = StoreService(path, Store())
    service.start()
    service.execute(Purge(before=1), reply)
    assert ask(service, Purge(before=1)) == Done()
    service.put(call(1), None, True)
    service.close(WITHIN_S)
    assert service.counters()["store.stored"] == 1
    assert service.notes() == []


def test_a_transaction_that_cannot_be_written_costs_itself(path: str) -> None:
    service = StoreService(path, Store())
    service.start()
    service.put(call(1, path="/\ud800"), None, True)
    service.put(call(2), None, True)
    service.close(WITHIN_S)
    assert lost(service) == {"store.lost.encode_error": 1}
    assert service.counters()["store.stored"] == 1


def test_a_mistake_in_the_store_costs_one_commit(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    service = StoreService(path, Store())
    service.put(call(1), None, True)
    service.inventory(inventory(delta(1, profile(5)), aliases=[Alias(number(2), number(1))]))
    with monkeypatch.context() as patch:
        patch.setattr("apisensor.store.transactions.SEGMENT_BITS", None)
        service.start()
        until(lambda: bool(lost(service)))
    assert lost(service) == {"store.lost.internal": 1, "store.lost.inventory": 5, "store.lost.control": 1}
    assert "TypeError" in service.notes()[0]
    service.put(call(2), None, True)
    service.close(WITHIN_S)
    assert service.counters()["store.stored"] == 1


def test_retention_runs_by_itself(path: str, reader: StoreReader) -> None:
    now = [NOW_NS]
    service = StoreService(path, Store(max_days=1), lambda: now[0])
    service.start()
    for n in range(100):
        service.put(call(n), None, True)
    until(lambda: service.counters()["store.stored"] == 100)
    now[0] += (86_400 + 50) * SECOND
    until(lambda: service.counters()["store.deleted"] == 50)
    assert reader.facts().transactions == 50
    service.close(WITHIN_S)


def test_another_process_holds_the_lock_for_a_while(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3  # noqa: PLC0415

    monkeypatch.setattr("apisensor.store.opening.BUSY_S", 0.05)
    monkeypatch.setattr("apisensor.store.keeper.RETRY_S", 0.1)
    service = StoreService(path, Store())
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    service.start()
    for n in range(1_000):
        service.put(call(n), None, True)
    until(lambda: bool(service.notes()))
    assert service.notes()[0].startswith("another process has the store locked since 20")
    other.execute("COMMIT")
    other.close()
    until(lambda: service.counters()["store.stored"] == 1_000)
    service.close(WITHIN_S)
    assert lost(service) == {}


def test_a_file_that_was_removed_is_made_again(path: str, reader: StoreReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apisensor.store.keeper.LOOK_S", 0.0)
    service = StoreService(path, Store())
    service.start()
    service.put(call(1), None, True)
    until(lambda: service.counters()["store.stored"] == 1)
    for suffix in ("", "-wal", "-shm"):
        Path(path + suffix).unlink()
    until(lambda: bool(service.notes()))
    assert "was removed or replaced" in service.notes()[0]
    service.put(call(2), None, True)
    until(lambda: service.counters()["store.stored"] == 2)
    assert [row.id for row in reader.transactions(TransactionQuery()).rows] == [number(2)]
    service.close(WITHIN_S)
