"""The store as the handlers ask it: from threads, so that a slow disk holds up one question and not the live stream."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from apisensor.store.model import (
    Document,
    EndpointDetail,
    EndpointQuery,
    EndpointRow,
    FindingQuery,
    FindingRecord,
    Overview,
    Page,
    StoreFacts,
    TrafficPoint,
    TransactionQuery,
    TransactionRow,
)
from apisensor.web.errors import ApiError

T = TypeVar("T")

THREADS = 2
"""Questions answered at once: SQLite reads from memory or disk, more threads only wait for the same lock."""
MAX_WAITING = 64
"""Questions that wait for a thread; further ones are refused (503)."""


class Reader(Protocol):
    """What store/reader.py offers."""

    def overview(self, hours: int, now: int) -> Overview: ...
    def endpoints(self, query: EndpointQuery) -> Page[EndpointRow]: ...
    def endpoint(self, id: str) -> EndpointDetail | None: ...
    def traffic(self, endpoint: str | None, since: int, until: int, step: int) -> list[TrafficPoint]: ...
    def transactions(self, query: TransactionQuery) -> Page[TransactionRow]: ...
    def transaction(self, id: str) -> Document | None: ...
    def findings(self, query: FindingQuery) -> Page[FindingRecord]: ...
    def finding(self, id: str) -> FindingRecord | None: ...
    def finding_transactions(self, id: str) -> list[TransactionRow]: ...
    def owners(self) -> list[str]: ...
    def facts(self) -> StoreFacts: ...


class Store:
    """Asks readers, one for each thread, opened when it is first needed."""

    def __init__(self, open_reader: Callable[[], Reader]) -> None:
        """
        Args:
            open_reader: makes a reader. Raises ApiError where there is no store yet; the next question tries again.
        """
        self._open = open_reader
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="store")
        self._local = threading.local()
        self._waiting = 0

    async def ask(self, question: Callable[[Reader], T]) -> T:
        """What the reader answers.

        Raises:
            ApiError: there is no store, or too many questions wait already; or what the question raised.
        """
        if self._waiting >= MAX_WAITING:
            raise ApiError("unavailable", f"more than {MAX_WAITING} questions wait for the store", retry_after_s=1)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._answer, question)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _answer(self, question: Callable[[Reader], T]) -> T:
        reader: Reader | None = getattr(self._local, "reader", None)
        if reader is None:
            reader = self._local.reader = self._open()
        return question(reader)
