"""Whose files these are: a writer that may not, and readers of another user beside a writer, after it, and after its
death."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from apisensor.sections import Store
from apisensor.store.errors import StoreError
from apisensor.store.keeper import Keeper
from apisensor.store.reader import StoreReader
from apisensor.store.writer import Writer
from tests.store.conftest import Write
from tests.store.rows import NOW_NS, stored

NOBODY = 65_534


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter; pytest's own are private."""
    with tempfile.TemporaryDirectory(prefix="apisensor-test-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def as_nobody(do: Callable[[], object]) -> str:
    """What `do` returns, or its error, in a child of this process without any right."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            said = repr(do())
        except BaseException as error:  # noqa: BLE001  (it goes to the parent)
            said = f"{type(error).__name__}: {error}"
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


def test_modes_of_the_files(path: str, write: Write) -> None:
    write([stored(1)])
    modes = {name: stat.S_IMODE(os.stat(path + name).st_mode) for name in ("", "-wal", "-shm")}
    assert modes == {"": 0o640, "-wal": 0o640, "-shm": 0o640}
    assert stat.S_IMODE(os.stat(Path(path).parent).st_mode) == 0o750


def test_a_link_is_not_followed(path: str, tmp_path: Path) -> None:
    Path(path).parent.mkdir()
    (tmp_path / "other").write_bytes(b"precious")
    os.symlink(tmp_path / "other", path)
    keeper = Keeper(path, Store(), lambda: NOW_NS)
    assert keeper.notes()[0].startswith("the store may not be written since 2027")
    keeper.close()
    assert (tmp_path / "other").read_bytes() == b"precious"


@pytest.mark.kernel
def test_a_folder_of_somebody_else_is_one_clear_line(open_folder: Path) -> None:
    def start() -> object:
        keeper = Keeper(str(open_folder / "store" / "apisensor.db"), Store(), lambda: NOW_NS)
        keeper.put(stored(1), 1)
        keeper.flush()
        assert keeper.counters()["store.lost.not_allowed"] == 1
        return keeper.notes()

    (open_folder / "store").mkdir(mode=0o755)
    said = as_nobody(start)
    assert said.startswith("['the store may not be written since 2027-01-15 08:00:00 UTC; ")
    assert "cannot be written by user nobody (Permission denied)" in said
    assert f"{open_folder / 'store'} and what is in it must belong to general.user" in said


def test_no_store_yet(path: str, reader: StoreReader) -> None:
    with pytest.raises(StoreError, match=f"no sensor has kept anything here yet: {path} does not exist"):
        reader.facts()
    Path(path).parent.mkdir()
    Path(path).touch()
    with pytest.raises(StoreError, match=f"no sensor has kept anything here yet: {path} is empty"):
        reader.facts()
    Path(path).write_bytes(b"something else" * 1_000)
    with pytest.raises(StoreError, match="is damaged"):
        reader.facts()


def test_a_reader_outlives_what_it_reads(path: str, reader: StoreReader) -> None:
    for n in range(3):
        writer = Writer(path, Store())
        writer.write([stored(m) for m in range(n + 1)], None, [])
        assert reader.facts().transactions == n + 1
        writer.close()
        assert reader.facts().transactions == n + 1
        for suffix in ("", "-wal", "-shm"):
            Path(path + suffix).unlink(missing_ok=True)
        with pytest.raises(StoreError, match="no sensor"):
            reader.facts()


@pytest.mark.kernel
def test_a_reader_without_the_right_to_write(open_folder: Path) -> None:
    path = str(open_folder / "apisensor.db")

    def read() -> object:
        return StoreReader(path).facts().transactions

    writer = Writer(path, Store())
    writer.write([stored(1)], None, [])
    assert as_nobody(read).startswith(f"StoreError: the store {path} may not be read by this user")
    for suffix in ("", "-wal", "-shm"):
        os.chmod(path + suffix, 0o644)
    assert as_nobody(read) == "1"
    writer.write([stored(2)], None, [])
    writer.close()
    assert not Path(path + "-wal").exists()
    assert as_nobody(read) == "2"

    def read_beside_a_new_writer() -> object:
        reader = StoreReader(path)
        first = reader.facts().transactions
        os.write(ready, b"x")
        os.read(wait, 1)
        return first, reader.facts().transactions

    # A reader that took the file for one that nobody writes notices when somebody does.
    wait, wake = os.pipe()
    started, ready = os.pipe()
    child = os.fork()
    if child == 0:
        said = as_nobody(read_beside_a_new_writer)
        os._exit(0 if said == "(2, 3)" else 1)
    os.close(ready)
    assert os.read(started, 1) == b"x"
    writer = Writer(path, Store())
    writer.write([stored(3)], None, [])
    os.write(wake, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    writer.close()
    for descriptor in (wait, wake, started):
        os.close(descriptor)


@pytest.mark.kernel
def test_a_reader_after_the_writer_was_killed(open_folder: Path) -> None:
    path = str(open_folder / "apisensor.db")
    code = (
        "import sys, os, signal\nfrom apisensor.sections import Store\nfrom apisensor.store.writer import Writer\n"
        "from tests.store.rows import stored\nw = Writer(sys.argv[1], Store())\n"
        "w.write([stored(1)], None, [])\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    child = subprocess.run([sys.executable, "-c", code, path], check=False)
    assert child.returncode == -signal.SIGKILL
    for suffix in ("", "-wal", "-shm"):
        os.chmod(path + suffix, 0o644)
    assert as_nobody(lambda: StoreReader(path).facts().transactions) == "1"


def test_many_threads(write: Write, reader: StoreReader) -> None:
    import threading  # noqa: PLC0415

    write([stored(n) for n in range(300)])
    wrong: list[object] = []

    def read() -> None:
        for _ in range(20):
            try:
                facts = reader.facts()
                if facts.transactions % 300:
                    wrong.append(facts)
            except StoreError as error:
                wrong.append(error)

    threads = [threading.Thread(target=read) for _ in range(16)]
    for thread in threads:
        thread.start()
    for n in range(5):
        write([stored(m) for m in range(n * 300, n * 300 + 300)])
    for thread in threads:
        thread.join()
    assert wrong == []
