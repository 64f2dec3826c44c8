"""The page with a filled store and a core that is none, served as the web process serves it.

python -m tests.web.page        serves it for a person to look at, until Ctrl-C
"""

from __future__ import annotations

import itertools
import json
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn

from apisensor.sections import Settings, Web
from apisensor.transactions.json_form import json_line
from apisensor.web import serving
from apisensor.web.access import Access
from apisensor.web.answers import Sources
from apisensor.web.app import create_app
from apisensor.web.core import Core
from apisensor.web.guard import allowed_hosts
from apisensor.web.listening import listen, place
from apisensor.web.reading import Store
from apisensor.web.token import link
from tests.web import node
from tests.web.fake_core import FakeCore
from tests.web.filled import FilledStore

TOKEN = "t" * 43
LIVE_CALLS = 3_000
FINDING = {
    "id": node.finding_id(1),
    "rule": "login-after-failures",
    "severity": "critical",
    "title": "A login succeeded after repeated failures",
    "category": "API2:2023",
    "time": "2026-11-26T18:00:00Z",
    "service": "accounts",
    "route": f"POST {node.HOSTILE[1]}",
    "client": "10.0.5.4",
    "identity": None,
    "count": 1,
}


def live_lines() -> Iterator[bytes]:
    """Calls as they happen: a burst, a drop that is told, then some each second."""
    for index in range(LIVE_CALLS):
        yield json_line(node.call(index % 97, int(time.time())))
        if index == 30:
            yield b'{"kind":"dropped","count":4}\n'
            yield json.dumps({"kind": "finding", **FINDING}).encode() + b"\n"
        if index > 30:
            time.sleep(0.15)


class _Lines:
    def __iter__(self) -> Iterator[bytes]:
        return live_lines()


class Page:
    """A served page; a context manager."""

    def __init__(self, empty: bool = False, port: int = 0, with_core: bool = True) -> None:
        self._directory = tempfile.TemporaryDirectory()
        path = str(Path(self._directory.name) / "live.sock")
        now = int(time.time())
        self.store = FilledStore(str(Path(self._directory.name) / "apisensor.db"), now, empty)
        self.core = None
        if with_core:
            self.core = FakeCore(
                path,
                status=lambda: node.status(now),
                triage=self.store.triage,
                live=() if empty else _Lines(),
            )
        settings = Settings(web=Web(port=port))
        self._listening: socket.socket = listen(settings)
        address, self.port = place(self._listening)
        self.url = f"http://127.0.0.1:{self.port}"
        self.link = link(settings, self._listening, TOKEN)
        self.sources = Sources(Store(self.store.path), Core(path))
        self.access = Access(TOKEN)
        app = create_app(self.sources, self.access, allowed_hosts(address, self.port, ()), self.port)
        self._server = uvicorn.Server(serving.configuration(app))
        self._thread = threading.Thread(target=self._server.run, args=([self._listening],), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self.sources.store.close()
        self.store.close()
        if self.core is not None:
            self.core.__exit__(None, None, None)
        self._directory.cleanup()


if __name__ == "__main__":
    with Page(port=8099) as _page:
        print(_page.link, flush=True)
        for _ in itertools.count():
            time.sleep(1)
