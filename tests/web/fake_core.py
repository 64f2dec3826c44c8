"""Core's socket as the page sees it: answers by a thread for each connection."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

import msgspec

from apisensor.live import status as status_document
from apisensor.live.status import Status
from apisensor.store.commands import SetState


class FakeCore:
    """Listens at `path` until it is left."""

    def __init__(
        self,
        path: str,
        *,
        status: Callable[[], Status] | None = None,
        triage: Callable[[SetState], None] | None = None,
        live: Iterable[bytes] = (),
    ) -> None:
        """
        Args:
            path: of the socket.
            status: makes the status; None: refuses.
            triage: does what is commanded; raises ValueError where it refuses.
            live: lines that each subscriber gets; the stream ends after them.
        """
        self.asked: list[dict[str, Any]] = []
        self._status, self._live = status, live
        self.triage = triage
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(path)
        self._listening.listen(64)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, sock.makefile("rb") as lines, contextlib.suppress(OSError):
            request = json.loads(lines.readline())
            self.asked.append(request)
            if "subscribe" in request:
                sock.sendall(b'{"kind":"subscribed","schema":1}\n')
                for line in self._live:
                    sock.sendall(line)
            else:
                sock.sendall(msgspec.json.encode(self._answer(request)) + b"\n")

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if request.get("metrics"):
            return {"kind": "metrics", "text": "# TYPE apisensor_up gauge\napisensor_up 1\n"}
        if request.get("status") and self._status is not None:
            return {"kind": "status", **json.loads(status_document.encode(self._status()))}
        if "command" in request and self.triage is not None:
            try:
                self.triage(msgspec.convert(request["command"], SetState))
            except ValueError as error:
                return {"kind": "error", "message": str(error)}
            return {"kind": "result"}
        return {"kind": "error", "message": "the request is not understood"}
