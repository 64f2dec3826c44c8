"""The web process as `run` starts it: rights given up, token and socket inherited, an end in order."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from apisensor.processes.messages import PartParameters, Ready, decode_to_run
from apisensor.sections import General, Settings, Web
from apisensor.web.listening import listen, place
from apisensor.web.serving import END_SECONDS
from tests.web import node
from tests.web.fake_core import FakeCore
from tests.web.filled import FilledStore
from tests.web.page import TOKEN

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

USER = "nobody"


class Part:
    """The process, its socket and its link."""

    def __init__(self, directory: Path) -> None:
        self.settings = Settings(
            general=General(user=USER, state_directory=str(directory), runtime_directory=str(directory)),
            web=Web(port=0),
        )
        listening = listen(self.settings)
        self.port = place(listening)[1]
        token = os.memfd_create("token")
        os.write(token, TOKEN.encode())
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parameters = PartParameters(
            settings=self.settings,
            run=theirs.fileno(),
            descriptors={"web": listening.fileno(), "token": token},
        )
        self.process = subprocess.Popen(
            [sys.executable, "-m", "apisensor.processes.web", msgspec.json.encode(parameters).decode()],
            pass_fds=[theirs.fileno(), listening.fileno(), token],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": "/usr/bin:/bin"},
        )
        for descriptor in (listening, theirs):
            descriptor.close()
        os.close(token)
        self._link = ours
        ours.settimeout(30)
        self.ready = ours.recv(65_536)
        self.base = f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._link.close()


def silent(end: threading.Event) -> Iterator[bytes]:
    """A live stream in which nothing happens until the end."""
    end.wait()
    yield from ()


@pytest.fixture
def part() -> Iterator[Part]:
    user = pwd.getpwnam(USER)
    with tempfile.TemporaryDirectory() as name:  # pytest's own lets nobody else in
        directory = Path(name)
        directory.chmod(0o755)
        folder = directory / "store"
        folder.mkdir()
        FilledStore(str(folder / "apisensor.db"), int(time.time())).close()
        for path in (folder, *folder.iterdir()):
            os.chown(path, user.pw_uid, user.pw_gid)
        quiet = threading.Event()
        with FakeCore(str(directory / "live.sock"), status=lambda: node.status(int(time.time())), live=silent(quiet)):
            os.chown(directory / "live.sock", user.pw_uid, user.pw_gid)
            started = Part(directory)
            try:
                yield started
            finally:
                started.close()
                quiet.set()


def test_it_serves_without_any_right(part: Part) -> None:
    assert isinstance(decode_to_run(part.ready), Ready)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert httpx.get(f"{part.base}/api/v1/endpoints", headers=headers).json()["total"] == len(node.ENDPOINTS)
    assert httpx.get(f"{part.base}/api/v1/status", headers=headers).status_code == 200
    assert httpx.get(f"{part.base}/api/v1/endpoints").status_code == 401
    status = Path(f"/proc/{part.process.pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert set(fields["Uid"].split()) == {str(pwd.getpwnam(USER).pw_uid)}
    assert {fields[name] for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")} == {"0" * 16}
    assert fields["NoNewPrivs"] == "1"
    assert TOKEN not in Path(f"/proc/{part.process.pid}/cmdline").read_text()


def test_it_ends_in_order_with_a_stream_open(part: Part) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.stream("GET", f"{part.base}/api/v1/live", headers=headers) as stream:
        assert next(stream.iter_lines()) == ": the stream begins"
        part.process.send_signal(signal.SIGTERM)
        assert part.process.wait(END_SECONDS + 20) == 0
    assert part.process.stdout is not None
    assert part.process.stdout.read() == b""
