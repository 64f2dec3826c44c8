"""A core with nothing but its live socket: the real server, turned by a thread."""

from __future__ import annotations

import queue
import selectors
import socket
import threading
from types import TracebackType
from typing import Self

from apisensor.live import answers
from apisensor.live.listening import listen
from apisensor.live.server import LiveServer
from apisensor.live.status import LibraryStatus, Part, ProcessStatus, Status
from apisensor.transactions.model import Transaction

STATUS = Status(
    version="1.2.3",
    started=1_700_000_000.0,
    parts=[
        Part(name="run", pid=100, user="root", uptime_seconds=3600.0, memory_bytes=30_000_000),
        Part(name="worker-0", pid=None, user="nobody", restarts=2, last_exit="signal 9"),
    ],
    counters={"kernel.lost.ring_full": 17, "kernel.lost.copy_fault": 0, "worker.transactions": 123_456},
    libraries=[
        LibraryStatus(path="/usr/lib/libssl.so.3", library="openssl", version="3.0.11", probes=12, processes=3),
        LibraryStatus(path="/usr/lib/libgnutls.so.30", library="gnutls", reason="not hooked yet"),
    ],
    processes=[
        ProcessStatus(pid=7, executable="/usr/sbin/nginx", service="shop", attached=True, transactions=5),
        ProcessStatus(
            pid=9, executable="/opt/\x1b[2Jcaddy", encrypted_bytes=5_000_000, blind=True, note="TLS library not known"
        ),
    ],
    export={"endpoint": "grpc http://127.0.0.1:4317", "sent": 1000, "last_error": None},
    notes=["sockets: sock tracepoints"],
)


class Sensor:
    """Serves `path` until it is left; what is published is what subscribers get."""

    def __init__(self, path: str, queue_bytes: int = 4 << 20) -> None:
        self.path = path
        self.status = STATUS
        self.selector = selectors.DefaultSelector()
        self._pending: queue.SimpleQueue[Transaction | None] = queue.SimpleQueue()
        self._wake, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._running = True
        self._server = LiveServer(
            listen(path), self.selector, {"status": answers.status(lambda: self.status)}, queue_bytes=queue_bytes
        )
        self.selector.register(self._woken, selectors.EVENT_READ, self._publish)
        self.thread = threading.Thread(target=self._turn, daemon=True)
        self.thread.start()

    def publish(self, t: Transaction | None) -> None:
        self._pending.put(t)
        self._wake.send(b"x")

    @property
    def subscribers(self) -> int:
        return self._server.counters()["live.subscribers"]

    def stop(self) -> None:
        if self._running:
            self.publish(None)
            self.thread.join(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._wake.close()
        self._woken.close()

    def _publish(self, _: int) -> None:
        for _byte in self._woken.recv(4096):
            t = self._pending.get()
            if t is None:
                self._running = False
                return
            self._server.publish(t)

    def _turn(self) -> None:
        while self._running:
            for key, mask in self.selector.select(1.0):
                key.data(mask)
        self._server.close()
