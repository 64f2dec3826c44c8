"""The store as the handlers ask it: from threads, so that a slow disk holds up one question and not the live stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from apisensor.store.errors import StoreError
from apisensor.store.reader import StoreReader
from apisensor.web.errors import ApiError

T = TypeVar("T")

THREADS = 3
"""Questions answered at once: SQLite reads from memory or disk, more threads only wait for the same lock."""
MAX_WAITING = 64
"""Questions that wait for a thread; further ones are refused (503)."""


class Store:
    """Asks the store's reader."""

    def __init__(self, path: str) -> None:
        """
        Args:
            path: of the database (settings.store_file); it need not exist yet.
        """
        self._reader = StoreReader(path)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="store")
        self._waiting = 0

    async def ask(self, question: Callable[[StoreReader], T]) -> T:
        """What the reader answers.

        Raises:
            ApiError: there is no store, it cannot answer, the question is none, or too many wait already.
        """
        if self._waiting >= MAX_WAITING:
            raise ApiError("unavailable", f"more than {MAX_WAITING} questions wait for the store", retry_after_s=1)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, question, self._reader)
        except StoreError as error:
            # Without a cause it is the question that is wrong (a cursor of another list, no such status).
            raise ApiError("bad_request" if error.cause is None else "unavailable", str(error)) from None
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Answers what is under way."""
        self._threads.shutdown(cancel_futures=True)
        self._reader.close()
