"""A client of core's live socket."""

from __future__ import annotations

import grp
import os
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import msgspec

from apisensor.live import status as status_document
from apisensor.live.filters import Filter
from apisensor.live.listening import LiveError
from apisensor.live.public import Dropped, PublicFinding, PublicTransaction, Refusal, decode_line
from apisensor.live.received import ANSWER_SECONDS, LINE_BYTES, READ_BYTES, Lines
from apisensor.live.status import Status

_encode = msgspec.json.Encoder().encode


class _Kind(msgspec.Struct):
    kind: str


class LiveClient:
    """A connection to the sensor of this node. A context manager."""

    def __init__(self, path: str) -> None:
        """Connects.

        Args:
            path: of the socket (settings.live_socket).

        Raises:
            LiveError: no sensor is running, or this user may not ask it.
        """
        self._path = path
        self._lines = Lines()
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._sock.settimeout(ANSWER_SECONDS)
            self._sock.connect(path)
        except OSError as error:
            self._sock.close()
            raise LiveError(_why_not(path, error)) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._sock.close()

    def status(self) -> Status:
        """The status document.

        Raises:
            LiveError: the sensor does not answer, or is of another version.
        """
        line = self._answer("status", True)
        try:
            return status_document.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise LiveError(f"the sensor at {self._path} is of another version: its status is not understood") from None

    def ask(self, question: str, value: object) -> dict[str, Any]:
        """The answer to a question of core's (live/answers.py and processes/commands.py have them).

        Raises:
            LiveError: the sensor refused (its words), or does not answer.
        """
        answer: dict[str, Any] = msgspec.json.decode(self._answer(question, value))
        return answer

    def _answer(self, question: str, value: object) -> bytes:
        """The one line that answers a question."""
        self._ask({question: value})
        line = self._line()
        if line is None:
            raise LiveError(f"the sensor at {self._path} closed the connection")
        try:
            if msgspec.json.decode(line, type=_Kind).kind != "error":
                return line
            refusal = msgspec.json.decode(line, type=Refusal)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise LiveError(f"the sensor at {self._path} is of another version: it is not understood") from None
        raise LiveError(f"the sensor refused: {refusal.message}")

    def subscribe(self, wanted: Filter) -> None:
        """Subscribes; transactions() then gives what comes.

        Raises:
            LiveError: the sensor refused (its words), or does not answer.
        """
        self._ask({"subscribe": wanted})
        line = self._line()
        if line is None:
            raise LiveError(f"the sensor at {self._path} closed the connection")
        answer = self._decoded(line)
        if isinstance(answer, Refusal):
            raise LiveError(f"the sensor refused: {answer.message}")
        self._sock.settimeout(None)

    def lines(self) -> Iterator[tuple[bytes, PublicTransaction | PublicFinding | Dropped]]:
        """Each line as it was sent, newline included, and as an object; ends when the sensor ends.

        Raises:
            LiveError: what comes is not what a sensor of this version sends.
        """
        while (line := self._line()) is not None:
            answer = self._decoded(line)
            if isinstance(answer, Refusal):
                raise LiveError(f"the sensor ended the subscription: {answer.message}")
            if isinstance(answer, PublicTransaction | PublicFinding | Dropped):
                yield line, answer

    def _ask(self, request: dict[str, object]) -> None:
        try:
            self._sock.sendall(_encode(request) + b"\n")
        except OSError as error:
            if self._lines.waiting or not isinstance(error, BrokenPipeError | ConnectionResetError):
                raise LiveError(f"{self._path}: {error.strerror or error}") from None
            # the sensor has closed already; what it said first says why, and is still there to be read

    def _line(self) -> bytes | None:
        while (line := self._lines.next()) is None:
            if self._lines.too_long:
                raise LiveError(f"{self._path}: a line longer than {LINE_BYTES >> 20} MiB: this is no sensor")
            try:
                received = self._sock.recv(READ_BYTES)
            except TimeoutError:
                raise LiveError(f"the sensor at {self._path} does not answer; `apisensor doctor` may say why") from None
            except ConnectionResetError:
                return None
            if not received:
                return None
            self._lines.feed(received)
        return line

    def _decoded(self, line: bytes) -> object:
        try:
            return decode_line(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise LiveError(f"the sensor at {self._path} is of another version: it is not understood") from None


def _why_not(path: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError | ConnectionRefusedError | NotADirectoryError):
        return f"no sensor is running on this node (nothing listens at {path}): start it with `apisensor run`"
    if isinstance(error, PermissionError):
        return f"no permission to ask the sensor at {path}: be root{_or_member(path)}"
    if isinstance(error, BlockingIOError | TimeoutError):
        return f"the sensor at {path} does not answer; `apisensor doctor` may say why"
    return f"{path}: {error.strerror or error}"


def _or_member(path: str) -> str:
    """Which group would do, as far as this user may know; root's own opens nothing."""
    for place in (path, os.path.dirname(path)):
        try:
            gid = os.stat(place).st_gid
        except OSError:
            continue
        if gid == 0:
            return ""
        try:
            return f", or a member of the group {grp.getgrgid(gid).gr_name}"
        except KeyError:
            return f", or a member of the group {gid}"
    return ""
