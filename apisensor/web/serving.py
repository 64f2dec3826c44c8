"""uvicorn with what it has to be told: no log of requests, no version, a limit for everything, and when to rest."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from typing import Any

import anyio._backends._asyncio  # noqa: F401  (starlette's streams would load it when they are first used)
import h11
import uvicorn
import uvicorn.lifespan.off
import uvicorn.loops.asyncio
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_BYTES = 16 * 1024
"""Request line and headers; browsers send below 4 KiB."""
HEAD_SECONDS = 10.0
"""From the first byte of a request (or from the connection) to the end of its head."""
KEEP_ALIVE_SECONDS = 30
MAX_CONNECTIONS = 128
"""Open at once; further ones are answered 503."""
UNVISITED_SECONDS = 30.0
"""From the start, without any connection, until it rests."""
VISITED_SECONDS = 300.0
"""From the end of the last connection until it rests: longer than what reads /metrics pauses."""
END_SECONDS = 2
"""What is under way when the part ends gets so long; live streams never end by themselves."""


class TimedProtocol(H11Protocol):
    """Closes connections that do not finish the head of a request: uvicorn waits for it for ever."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        if self.conn.their_state is not h11.IDLE:
            self._stop_timer()
        elif self._head_timer is None and self.conn.trailing_data[0]:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        self.transport.close()


class RestingServer(uvicorn.Server):
    """Says when nobody has been there for a while."""

    def __init__(self, config: uvicorn.Config, rest: Callable[[], None]) -> None:
        """`rest` is called in the event loop, between two of its turns."""
        super().__init__(config)
        self._rest = rest
        self._served = 0
        self._until = time.monotonic() + UNVISITED_SECONDS

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second."""
        now = time.monotonic()
        if self.server_state.connections or self.server_state.total_requests != self._served:
            self._served = self.server_state.total_requests
            self._until = now + VISITED_SECONDS
        # A connection that was accepted a moment ago is a task, and not yet among the connections.
        elif now >= self._until and len(asyncio.all_tasks()) == 1:
            self._rest()
        return await super().on_tick(counter)


def serve(app: ASGIApp, listening: socket.socket, rest: Callable[[], None]) -> None:
    """Serves until SIGTERM or SIGINT; calls `rest` when nobody has been there for a while."""
    RestingServer(configuration(app), rest).run(sockets=[listening])


def configuration(app: ASGIApp) -> uvicorn.Config:
    """uvicorn's configuration."""
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # its lines quote requests; what fails, app.py says
    options: dict[str, Any] = {
        "http": TimedProtocol,
        # By its class and not by "auto": what is looked for later is not found by a user that may not read it.
        "loop": "asyncio",
        "ws": "none",
        "lifespan": "off",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "date_header": True,
        "proxy_headers": False,
        "h11_max_incomplete_event_size": HEAD_BYTES,
        "limit_concurrency": MAX_CONNECTIONS,
        "timeout_keep_alive": KEEP_ALIVE_SECONDS,
        "timeout_graceful_shutdown": END_SECONDS,
    }
    return uvicorn.Config(app, **options)
