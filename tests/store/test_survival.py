"""kill -9, a full disk, a damaged file: the store goes on, says what happened, and counts what it lost."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from apisensor.sections import Store
from apisensor.store.keeper import Keeper
from apisensor.store.model import TransactionQuery
from apisensor.store.reader import StoreReader
from apisensor.store.service import StoreService
from apisensor.store.transactions import Stored
from tests.store.rows import NOW_NS, NOW_S, call, delta, finding, inventory, number, profile, stored
from tests.store.test_service import WITHIN_S, lost, until

KILLS = 12

CHILD = """
import sys
from apisensor.sections import Store
from apisensor.store.pending import Pending
from apisensor.store.writer import Writer
from tests.store.rows import NOW_S, delta, finding, inventory, number, profile, stored

writer = Writer(sys.argv[1], Store(max_bytes=16 << 20))
n = int(sys.argv[2])
while True:
    pending = Pending()
    pending.add(inventory(delta(1, profile(50))), NOW_S)
    writer.write([stored(m) for m in range(n, n + 50)], pending, [finding(transactions=[number(n)])])
    n += 50
    print(n, flush=True)
    writer.retention.step(0)
"""


def test_kill_at_any_moment(path: str, reader: StoreReader) -> None:
    chance = random.Random(7)
    committed = 0
    for _ in range(KILLS):
        child = subprocess.Popen([sys.executable, "-c", CHILD, path, str(committed)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        first = child.stdout.readline()
        time.sleep(chance.uniform(0, 0.25))
        child.send_signal(signal.SIGKILL)
        lines = [first, *child.stdout]
        child.stdout.close()
        assert child.wait() == -signal.SIGKILL
        said = int([line for line in lines if line.endswith("\n")][-1])
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = connection.execute("SELECT count(*) FROM transactions").fetchone()[0]
        documents, segments = connection.execute(
            "SELECT (SELECT count(*) FROM documents), (SELECT sum(rows) FROM segments)"
        ).fetchone()
        connection.close()
        # What was said to be committed is there; at most the commit under way is there, too, and is whole.
        assert rows in (said, said + 50)
        assert documents == segments == rows
        detail = reader.endpoint(number(1))
        assert detail is not None
        assert detail.row.count == rows
        assert sum(point.count for point in reader.traffic(None, NOW_S - 60, NOW_S + 60, 60)) == rows
        assert [row.id for row in reader.finding_transactions(finding().id)] == [number(rows - 50)]
        committed = rows
    assert committed > KILLS * 50


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=755", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.kernel
def test_full_disk(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apisensor.store.keeper.RETRY_S", 0.1)
    monkeypatch.setattr("apisensor.store.service.GROUP_S", 0.05)
    path = str(small_disk / "store" / "apisensor.db")
    service = StoreService(path, Store())
    service.start()
    chance = random.Random(1)
    n = calls = 0

    def put(count: int) -> None:
        nonlocal n, calls
        for _ in range(count):
            service.put(call(n, response_headers=[("x", chance.randbytes(2_000).hex())]), number(1), True)
            n += 1
        service.inventory(inventory(delta(1, profile(count))))
        calls += count
        until(lambda: service.counters()["store.queued"] == 0)

    put(100)
    until(lambda: service.counters()["store.stored"] == 100)
    for _ in range(200):
        put(100)
        if service.notes():
            break
    (note,) = service.notes()
    assert note.startswith("the disk is full since 20")
    put(300)
    service.finding(finding(transactions=[number(n - 1)]))
    until(lambda: lost(service).get("store.lost.disk_full", 0) >= 300)
    assert set(lost(service)) == {"store.lost.disk_full"}
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    until(lambda: service.notes()[-1].startswith("the disk is full: from 20"))
    put(100)
    service.close(WITHIN_S)
    counters = service.counters()
    assert set(lost(service)) == {"store.lost.disk_full"}
    assert counters["store.stored"] + counters["store.lost.disk_full"] == n
    reader = StoreReader(path)
    assert reader.facts().transactions == counters["store.stored"]
    detail = reader.endpoint(number(1))
    assert detail is not None
    assert detail.row.count == calls
    assert reader.finding(finding().id) is not None
    reader.close()


@pytest.mark.kernel
def test_a_disk_that_is_full_from_the_start(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apisensor.store.keeper.RETRY_S", 0.1)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    assert os.statvfs(small_disk).f_bavail == 0
    service = StoreService(str(small_disk / "store" / "apisensor.db"), Store())
    assert service.notes()[0].startswith("the disk is full since 20")
    assert service.endpoints() == []
    service.start()
    service.put(call(1), None, True)
    until(lambda: lost(service) == {"store.lost.disk_full": 1})
    filler.unlink()
    # Without any traffic: who looks at the page is told, and triage works again.
    until(lambda: service.notes()[-1].startswith("the disk is full: from 20"))
    service.put(call(2), None, True)
    service.close(WITHIN_S)
    assert service.counters()["store.stored"] == 1


def overwrite(path: str, offset: int, content: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(content)


def truncate(path: str) -> None:
    os.truncate(path, os.stat(path).st_size // 2)


DAMAGES: dict[str, Callable[[str], None]] = {
    "header": lambda path: overwrite(path, 0, b"\xff" * 100),
    "truncated": truncate,
    "all garbage": lambda path: overwrite(path, 0, random.Random(1).randbytes(os.stat(path).st_size)),
    "schema": lambda path: overwrite(path, 100, b"\x55" * 3_000),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_set_aside_at_the_start(path: str, reader: StoreReader, damage: str) -> None:
    keeper = Keeper(path, Store(), lambda: NOW_NS)
    for n in range(2_000):
        keeper.put(stored(n), 2_000)
    keeper.inventory(inventory(delta(1)))
    keeper.flush(all_of_it=True)
    keeper.close()
    DAMAGES[damage](path)
    service = StoreService(path, Store(), lambda: NOW_NS)
    service.start()
    for n in range(3_000, 5_000):
        service.put(call(n), number(1), True)
    service.inventory(inventory(delta(1)))
    service.close(WITHIN_S)
    aside = f"{path}.damaged-20270115T080000Z"
    assert Path(aside).exists()
    (note,) = service.notes()
    assert note.startswith(f"a damaged database was set aside as {aside} at 2027-01-15 08:00:00 UTC, a new one begun (")
    assert service.counters()["store.set_aside"] == 1
    assert lost(service) == {}
    facts = reader.facts()
    assert (facts.transactions, facts.endpoints, facts.notes) == (2_000, 1, [note])


def test_garbage_pages_found_while_running(path: str, reader: StoreReader, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing of it in the cache: as if it were far larger.
    monkeypatch.setattr("apisensor.store.opening.CACHE_KIB", 40)
    service = StoreService(path, Store(), lambda: NOW_NS)
    service.start()
    for n in range(3_000):
        service.put(call(n), number(1), True)
    service.inventory(inventory(*(delta(n) for n in range(2_000))))
    service.finding(finding(transactions=[number(5)]))
    until(lambda: service.counters()["store.stored"] == 3_000)
    assert reader.facts().transactions == 3_000
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
    size = os.stat(path).st_size
    overwrite(path, 8_192, random.Random(1).randbytes(size - 8_192))
    for n in range(3_000, 4_000):
        service.put(call(n), number(1), True)
    service.inventory(inventory(*(delta(n) for n in range(2_000))))
    until(lambda: service.counters()["store.set_aside"] == 1)
    service.put(call(4_000), number(1), True)
    service.close(WITHIN_S)
    assert lost(service) == {}
    assert service.notes()[0].startswith("a damaged database was set aside as")
    assert reader.transactions(TransactionQuery()).rows[0].id == number(4_000)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_one_damaged_database_is_kept_the_latest(path: str) -> None:
    now = [NOW_NS]
    for _ in range(3):
        keeper = Keeper(path, Store(), lambda: now[0])
        keeper.put(Stored(call(1), None, True), 1)
        keeper.flush()
        keeper.close()
        overwrite(path, 0, b"\xff" * 100)
        now[0] += 60 * 10**9
    Keeper(path, Store(), lambda: now[0]).close()
    assert sorted(name for name in os.listdir(Path(path).parent) if "damaged" in name) == [
        "apisensor.db.damaged-20270115T080300Z"
    ]
