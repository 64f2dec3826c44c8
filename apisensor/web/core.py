"""Core's socket for asyncio: status, metrics, triage and the live stream (live/server.py has the protocol).

A live stream holds no more than one line and one read: it reads on when its browser has taken the line before, so a
slow browser is core's to drop transactions for, and core counts and says them.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from apisensor.live import status as status_document
from apisensor.live.filters import Filter
from apisensor.live.public import Refusal, Subscribed, decode_line
from apisensor.live.received import ANSWER_SECONDS, READ_BYTES, Lines
from apisensor.live.status import Status
from apisensor.store.commands import SetState
from apisensor.web.errors import ApiError

HEARTBEAT_SECONDS = 15.0
"""A quiet stream says so this often: else nobody notices a browser that went away."""

_encode = msgspec.json.Encoder().encode


class _Kind(msgspec.Struct):
    kind: str
    message: str = ""
    text: str = ""


class _Connection:
    """Lines of one connection to core."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lines = Lines()

    async def send(self, request: dict[str, Any]) -> None:
        await asyncio.get_running_loop().sock_sendall(self._sock, _encode(request) + b"\n")

    async def line(self) -> bytes | None:
        """The next line with its newline; None: core closed. A cancelled call loses nothing."""
        while (line := self._lines.next()) is None:
            if self._lines.too_long:
                return None
            received = await asyncio.get_running_loop().sock_recv(self._sock, READ_BYTES)
            if not received:
                return None
            self._lines.feed(received)
        return line


class Core:
    """Asks the sensor's core at the socket `path`; each question is a connection of its own."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def status(self) -> Status:
        """Raises ApiError where no core answers."""
        line, _ = await self._ask({"status": True}, "status")
        try:
            return status_document.decode(line)
        except msgspec.MsgspecError:
            raise ApiError("unavailable", "the sensor is of another version: its status is not understood") from None

    async def metrics(self) -> str:
        """The metrics in Prometheus' text form. Raises ApiError where no core answers."""
        return (await self._ask({"metrics": True}, "metrics"))[1].text

    async def triage(self, change: SetState) -> None:
        """Sets a finding's state; on return it is stored. Raises ApiError: core refused (its words), or is away."""
        await self._ask({"command": change}, "result", refused="conflict")

    async def live(self, wanted: Filter) -> AsyncIterator[bytes]:
        """Lines of transactions, findings and drops as core sends them; b"" where it was quiet for HEARTBEAT_SECONDS.

        The first item (b"") comes when the subscription holds. Ends when core ends.

        Raises:
            ApiError: core is not there or refused, before the first item.
        """
        async with self._connect() as connection:
            answer = await self._first_answer(connection, {"subscribe": wanted})
            try:
                subscribed = decode_line(answer)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                raise ApiError("unavailable", "the sensor is of another version: it is not understood") from None
            if isinstance(subscribed, Refusal):
                raise ApiError("bad_request", f"the sensor refused: {subscribed.message}")
            assert isinstance(subscribed, Subscribed)
            yield b""
            while True:
                try:
                    line = await asyncio.wait_for(connection.line(), HEARTBEAT_SECONDS)
                except TimeoutError:
                    yield b""
                    continue
                except OSError:
                    return
                if line is None:
                    return
                yield line

    async def _ask(self, request: dict[str, Any], expected: str, refused: str = "unavailable") -> tuple[bytes, _Kind]:
        async with self._connect() as connection:
            line = await self._first_answer(connection, request)
        try:
            answer = msgspec.json.decode(line, type=_Kind)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise ApiError("unavailable", "the sensor is of another version: it is not understood") from None
        if answer.kind == "error":
            raise ApiError(refused, f"the sensor refused: {answer.message}")
        if answer.kind != expected:
            raise ApiError("unavailable", "the sensor is of another version: it is not understood")
        return line, answer

    @staticmethod
    async def _first_answer(connection: _Connection, request: dict[str, Any]) -> bytes:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                # core may refuse and close before it has read: what it said is still there to be read
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    await connection.send(request)
                line = await connection.line()
        except TimeoutError:
            raise ApiError("unavailable", "the sensor does not answer; `apisensor doctor` may say why") from None
        except OSError as error:
            raise ApiError("unavailable", f"the sensor does not answer: {error.strerror or error}") from None
        if line is None:
            raise ApiError("unavailable", "the sensor closed the connection")
        return line

    @contextlib.asynccontextmanager
    async def _connect(self) -> AsyncIterator[_Connection]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await asyncio.get_running_loop().sock_connect(sock, self._path)
            except OSError as error:
                why = error.strerror or type(error).__name__
                raise ApiError(
                    "unavailable", f"no sensor answers on this node ({why}); `apisensor run` starts one"
                ) from None
            yield _Connection(sock)
