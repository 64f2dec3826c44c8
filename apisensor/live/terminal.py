"""Prints transactions on standard output without ever making the caller wait.

A slow reader (a stopped terminal, `| less`) fills a pipe; a writer that waits for it would stop the core. So a thread
writes, from a queue with a bound; what does not fit is dropped by whole lines, counted, and said where it happened.
Descriptor flags stay as they are: O_NONBLOCK would reach every other program that shares the terminal.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Literal, TextIO

from apisensor.live.line import LineFormat
from apisensor.live.public import PublicFinding, decode_line, view
from apisensor.live.retold import Retold
from apisensor.transactions.json_form import json_line
from apisensor.transactions.model import Transaction

OutputFormat = Literal["table", "jsonl", "none"]

QUEUE_BYTES = 4 << 20
"""What waits for a slow reader: some thousand transactions; beyond, lines are dropped."""
BATCH_BYTES = 32 << 10
"""Written at once, then told: what is written and not yet told is what a killed process leaves in doubt."""
DEFAULT_WIDTH = 120


def wants_color(stream: TextIO, environ: dict[str, str] | None = None) -> bool:
    """Colours on a terminal alone, and not where NO_COLOR is set (no-color.org) or TERM is dumb."""
    environ = dict(os.environ) if environ is None else environ
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def line_format(stream: TextIO, color: bool | None = None, width: int | None = None) -> LineFormat:
    """How lines look on this stream. Cut to the terminal's width on a terminal; whole elsewhere."""
    if width is None and stream.isatty():
        width = shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns
    encoding = (stream.encoding or "").lower().replace("-", "")
    return LineFormat(width, wants_color(stream) if color is None else color, encoding.startswith("utf"))


class TransactionPrinter:
    """Lines on a stream, as a table or as JSON; a slow reader costs lines, never time.

    Made in the process that uses it (after any fork): it has a thread.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        format: OutputFormat = "table",
        *,
        color: bool | None = None,
        width: int | None = None,
        queue_bytes: int = QUEUE_BYTES,
        on_writing: Callable[[int], object] = lambda _count: None,
        on_written: Callable[[int], object] = lambda _count: None,
    ) -> None:
        """
        Args:
            stream: a text stream with a descriptor; None: standard output.
            format: "table", "jsonl" (one object a line and nothing else) or "none" (nothing is written).
            color: None: as the stream allows.
            width: places of a line; None: the terminal's, unbounded elsewhere.
            queue_bytes: that wait for a slow reader.
            on_writing: told how many transactions' lines are to be written now, by the printer's own thread.
            on_written: told, likewise, that so many were written. A process killed between the two may have written
                some of them.
        """
        stream = sys.stdout if stream is None else stream
        self.format = format
        self.dropped = 0
        """Lines dropped since the start because the reader was too slow, or has gone. Only `write` changes it."""
        self.findings_dropped = 0
        """Findings that were not printed, for the same reasons."""
        self.written = 0
        """Lines given to the stream since the start."""
        self.broken = False
        """The reader has gone (`| head`): nothing is written any more."""
        self._stream = stream
        self._lines = line_format(stream, color, width)
        self._retold = Retold()
        self._encoding = stream.encoding or "utf-8"
        self._fd = stream.fileno() if format != "none" else -1
        self._queue: deque[tuple[bytes, int]] = deque()
        """Lines, and how many transactions each shows (1, or 0 for a note)."""
        self._queued = 0
        self._unsent = 0
        """Transactions that were queued when the reader went, until `write` has counted them as dropped."""
        self._on_writing, self._on_written = on_writing, on_written
        self._queue_bytes = queue_bytes
        self._untold = 0
        self._closing = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._write_all, name="printer", daemon=True)
        if format != "none":
            stream.flush()
            self._thread.start()

    def write(self, t: Transaction) -> None:
        """Prints the transaction, soon."""
        if self.format == "none":
            return
        if self.broken:
            unsent, self._unsent = self._unsent, 0
            self.dropped += 1 + unsent
            return
        if self._queued >= self._queue_bytes:  # before the line is made: dropping has to be cheap
            self._untold += 1
            self.dropped += 1
            return
        if self._untold:
            count, self._untold = self._untold, 0
            self._put(self._dropped_line(count), 0)
        self._put(json_line(t) if self.format == "jsonl" else self._table_line(self._lines.transaction(view(t))), 1)

    def finding(self, line: bytes) -> None:
        """Prints a finding, given as its JSON line; with a slow reader, in the room that transactions leave.

        JSON lines tell each time that it grew, the table where that is worth a line."""
        if self.format == "none":
            return
        if self.broken or self._queued >= 2 * self._queue_bytes:
            self.findings_dropped += 1
            return
        if self.format == "table":
            finding = decode_line(line)
            assert isinstance(finding, PublicFinding)
            if not self._retold.worth(finding):
                return
            line = self._table_line(self._lines.finding(finding))
        self._put(line, 0)

    def note(self, text: str) -> None:
        """Says something about the sensor itself: a line between the table's. JSON lines hold no notes."""
        if self.format == "table" and not self.broken and self._queued < self._queue_bytes:
            self._put(self._table_line(self._lines.note(text)), 0)

    def close(self, timeout: float = 1.0) -> bool:
        """Waits up to `timeout` seconds for what is queued. Whether all of it was written."""
        with self._wake:
            if self._untold and not self.broken and self.format != "none":
                self._queue.append((self._dropped_line(self._untold), 0))
                self._untold = 0
            self._closing = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)
        return not self._thread.is_alive() and not self.broken

    def _table_line(self, line: str) -> bytes:
        return (line + "\n").encode(self._encoding, "backslashreplace")

    def _dropped_line(self, count: int) -> bytes:
        if self.format == "jsonl":
            return b'{"kind":"dropped","count":%d}\n' % count
        return self._table_line(self._lines.note(f"{count:,} transactions not shown: the reader is too slow"))

    def _put(self, line: bytes, counts: int) -> None:
        with self._wake:
            self._queue.append((line, counts))
            self._queued += len(line)
            self.written += counts
            self._wake.notify()

    def _write_all(self) -> None:
        while batch := self._take():
            rest = memoryview(b"".join(line for line, _ in batch))
            counts = sum(count for _, count in batch)
            length = len(rest)
            self._on_writing(counts)
            try:
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
            except OSError:  # the reader is gone, or the terminal; nobody is left to be told
                with self._wake:
                    self._unsent = counts + sum(count for _, count in self._queue)
                    self._queue.clear()
                    self._queued = 0
                    self.broken = True
                return
            self._on_written(counts)
            with self._wake:
                self._queued -= length

    def _take(self) -> list[tuple[bytes, int]]:
        """The next lines to be written, waiting for them; none where it is over."""
        with self._wake:
            while not self._queue and not self._closing:
                self._wake.wait()
            batch, length = [], 0
            while self._queue and length < BATCH_BYTES:
                batch.append(self._queue.popleft())
                length += len(batch[-1][0])
            return batch
