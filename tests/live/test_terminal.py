from __future__ import annotations

import fcntl
import io
import os
import pty
import threading
from pathlib import Path

import msgspec
import pytest

from apisensor.live.terminal import BATCH_BYTES, TransactionPrinter, wants_color
from apisensor.transactions.json_form import json_line
from tests.live.transactions import transaction


def pipe(encoding: str = "utf-8") -> tuple[io.BufferedReader, io.TextIOWrapper]:
    reading, writing = os.pipe()
    return open(reading, "rb"), open(writing, "w", encoding=encoding)


def test_json_lines_and_nothing_else() -> None:
    reader, stream = pipe()
    printer = TransactionPrinter(stream, "jsonl")
    printer.write(transaction(path="/é"))
    printer.note("a note")
    printer.write(transaction(status=None))
    assert printer.close(10)
    stream.close()
    assert reader.read() == json_line(transaction(path="/é")) + json_line(transaction(status=None))
    assert (printer.written, printer.dropped, printer.broken) == (2, 0, False)
    reader.close()


def test_a_table_without_colours_where_there_is_no_terminal() -> None:
    reader, stream = pipe()
    printer = TransactionPrinter(stream, "table")
    printer.write(transaction())
    printer.note("quiet")
    assert printer.close(10)
    stream.close()
    lines = reader.read().decode().splitlines()
    assert "api.example.com/users/12?limit=5 200" in lines[0]
    assert lines[1] == "-- quiet"
    assert "\x1b" not in "".join(lines)
    reader.close()


def test_a_stream_of_another_encoding_gets_what_it_can_take() -> None:
    reader, stream = pipe("ascii")
    printer = TransactionPrinter(stream, "table")
    printer.write(transaction(path="/é日"))
    assert printer.close(10)
    stream.close()
    assert b"api.example.com/\\xe9\\u65e5" in reader.read()
    reader.close()


def test_none_writes_nothing_and_needs_no_thread(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as stream:
        before = threading.active_count()
        printer = TransactionPrinter(stream, "none")
        printer.write(transaction())
        printer.note("x")
        assert threading.active_count() == before
        printer.close()
    assert (tmp_path / "out").read_bytes() == b""


@pytest.mark.parametrize("form", ["table", "jsonl"])
def test_a_reader_that_does_not_read_costs_lines_and_no_time(form: str) -> None:
    """Were the caller made to wait for the full pipe, this test would never end."""
    reader, stream = pipe()
    fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, 4096)
    printer = TransactionPrinter(stream, form, queue_bytes=20_000)  # type: ignore[arg-type]
    total = 3_000
    for _ in range(total):
        printer.write(transaction())
    assert printer.dropped > 0
    assert printer.written + printer.dropped == total
    assert not printer.close(0.05)
    lines: list[bytes] = []

    def read() -> None:
        lines.extend(reader.read().splitlines())

    thread = threading.Thread(target=read)
    thread.start()
    assert printer.close(10)
    stream.close()
    thread.join(10)
    reader.close()
    if form == "jsonl":
        objects = [msgspec.json.decode(line) for line in lines]
        shown = sum(o["kind"] == "transaction" for o in objects)
        told = sum(o["count"] for o in objects if o["kind"] == "dropped")
    else:
        shown = sum(b"api.example.com" in line for line in lines)
        told = sum(int(line.split()[1].replace(b",", b"")) for line in lines if line.startswith(b"-- "))
    assert (shown, told) == (printer.written, printer.dropped)


def test_a_reader_that_has_gone_is_noticed() -> None:
    reader, stream = pipe()
    printer = TransactionPrinter(stream, "jsonl")
    reader.close()
    printer.write(transaction())
    printer._thread.join(10)
    assert printer.broken
    printer.write(transaction())
    assert (printer.written, printer.dropped) == (1, 2)  # the first was in hand when the reader went
    assert not printer.close(1)
    with pytest.raises(BrokenPipeError):
        os.write(stream.fileno(), b"x")
    stream.detach()


def test_what_is_written_is_told_in_small_pieces() -> None:
    reader, stream = pipe()
    fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, 4096)
    told: list[int] = []
    printer = TransactionPrinter(stream, "jsonl", on_written=told.append)
    for _ in range(500):
        printer.write(transaction())
    printer.note("counts for nothing")
    lines = [reader.readline() for _ in range(500)]
    assert printer.close(10)
    stream.close()
    assert all(lines)
    assert reader.read() == b""
    assert sum(told) == printer.written == 500
    assert max(told) * len(lines[0]) < 2 * BATCH_BYTES
    reader.close()


def test_colours_on_a_terminal_unless_they_are_not_wanted() -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as stream:
        assert wants_color(stream, {"TERM": "xterm"})
        assert not wants_color(stream, {"TERM": "xterm", "NO_COLOR": "1"})
        assert wants_color(stream, {"TERM": "xterm", "NO_COLOR": ""})
        assert not wants_color(stream, {"TERM": "dumb"})
        printer = TransactionPrinter(stream, "table", color=True, width=80)
        printer.write(transaction(status=500))
        assert printer.close(10)
        assert b"\x1b[31m500\x1b[0m" in os.read(master, 4096)
    os.close(master)
    assert not wants_color(io.StringIO(), {})
