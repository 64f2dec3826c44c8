"""The named core of the suite, for kernels other than this machine's. `test_machine` runs it inside a virtual machine:

python -m pytest tests/kernels/core.py
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import os
import shutil
import signal
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.patience import PATIENCE
from tests.peers.certificates import Certificate
from tests.peers.curl import Curl
from tests.peers.nginx import Nginx
from tests.peers.plan import new_run, plan
from tests.peers.process import Peer, program
from tests.peers.scenario import Scenario
from tests.peers.scenarios import BY_NAME
from tests.sensor import Sensor
from tests.truth import Call, compare

pytestmark = pytest.mark.kernel

CHOSEN_VARIABLE = "APISENSOR_TEST_CHOSEN"
"""What the sensor has to choose on this kernel, in the words of its status."""
PROGRAMS = Path("/run/machine/programs")
"""Compiled ahead, for a sensor with default settings (compile.py)."""
KPROBES = Path("/sys/kernel/debug/kprobes/list")
COUNT = 100
"""Requests of a scenario: an emulated processor makes some tens in a second."""
CORE = [
    *("curl-nginx", "curl-nginx-plain", "curl-nginx-sendfile", "curl-nginx-h2"),
    *("requests-threads-50", "requests-threads-plain-50", "aiohttp-50"),
    *("node-plain-50", "go-50", "gnutls", "unix-vectors-fork"),
    *("sockets-several", "sockets-splice", "sockets-uring", "unix-splice"),
]
"""Not Node.js with TLS: to find OpenSSL in its 100 MB takes an emulated processor longer than the finder may."""
KERNEL_TLS = Scenario("curl-nginx-ktls", "nginx", "curl", sendfile=True, ktls=True)
OP_ENABLE_KTLS = ssl.Options(1 << 3)
"""SSL_OP_ENABLE_KTLS of OpenSSL 3; the ssl module names it from Python 3.12 on."""
WAIT_S = 20.0 * PATIENCE
BPF_CALL, BPF_PROG_GET_NEXT_ID = 321, 11


def kernel_tls_sessions() -> int:
    """Directions of sockets that the kernel has encrypted or decrypted so far."""
    told = dict(line.split() for line in Path("/proc/net/tls_stat").read_text().splitlines())
    return sum(int(told[name]) for name in ("TlsTxSw", "TlsRxSw", "TlsTxDevice", "TlsRxDevice"))


def programs() -> set[int]:
    """The ids of all BPF programs that the kernel holds, whoever or whatever has hold of them."""
    libc, found = ctypes.CDLL(None, use_errno=True), set()
    attributes = (ctypes.c_uint32 * 3)()  # where to begin, the next one, flags
    while libc.syscall(BPF_CALL, BPF_PROG_GET_NEXT_ID, attributes, ctypes.sizeof(attributes)) == 0:
        attributes[0] = attributes[1]
        found.add(attributes[1])
    return found


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


class Early:
    """A client and an nginx that hand their TLS to the kernel, and were connected before the sensor was started."""

    def __init__(self, directory: Path, certificate: Certificate) -> None:
        self.nginx = Nginx(directory, certificate, ktls=True)
        context = ssl.create_default_context(cafile=str(certificate.certificate))
        context.options |= OP_ENABLE_KTLS
        self.connection = http.client.HTTPSConnection("127.0.0.1", self.nginx.ports.tls, context=context)
        before = kernel_tls_sessions()
        self.get("/before")
        self.directions = kernel_tls_sessions() - before
        """Of the connection, that the kernel encrypts or decrypts."""

    def get(self, path: str) -> int:
        self.connection.request("GET", f"{path}?status=200&size=100")
        answer = self.connection.getresponse()
        answer.read()
        return answer.status


@pytest.fixture(scope="module")
def early(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[Early]:
    made = Early(tmp_path_factory.mktemp("early"), certificate)
    yield made
    made.connection.close()
    made.nginx.stop()


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A curl of which nothing may be captured."""
    path = tmp_path_factory.mktemp("secret") / "secret-curl"
    shutil.copy2(program("curl"), path)
    return path


@pytest.fixture(scope="module")
def programs_before() -> set[int]:
    """What others have loaded."""
    return programs()


@pytest.fixture(scope="module")
def calls() -> list[Call]:
    """Of all scenarios so far, by the peers' account."""
    return []


@pytest.fixture(scope="module")
def sensor(early: Early, secret: Path, programs_before: set[int]) -> Iterator[Sensor]:  # noqa: ARG001 - both are first
    made = Sensor(settings=[f"capture.never_executables={secret}"])
    if PROGRAMS.exists():
        state = made.directory / "state"
        state.mkdir(mode=0o755)
        shutil.copyfile(PROGRAMS, state / "programs")
        (state / "programs").chmod(0o600)
    with made as running:
        yield running


def test_the_back_end_is_the_one_for_this_kernel(sensor: Sensor) -> None:
    notes = sensor.status()["notes"]
    expected = os.environ.get(CHOSEN_VARIABLE, "sock; uprobes: uprobe_multi links")
    assert any(f"back end {expected};" in note for note in notes), notes
    assert not PROGRAMS.exists() or any("programs from the cache" in note for note in notes), notes
    by_kprobes = {"tcp_sendmsg", "tcp_recvmsg"} <= probed()
    assert by_kprobes == expected.startswith("kprobe")


def probed() -> set[str]:
    """Functions of the kernel with a kprobe: "ffffffff81a0  k  tcp_sendmsg+0x0    [FTRACE]"."""
    return {line.split()[2].partition("+")[0] for line in KPROBES.read_text().splitlines()}


def test_kernel_tls_that_was_joined_late_is_told_once(sensor: Sensor, early: Early) -> None:
    """By the library's calls, as TLS: the plaintext of the socket calls is not taken for a connection without TLS."""
    assert early.directions >= 2  # at least what each end sends
    paths = [f"/early/{new_run()}/{number}" for number in range(10)]
    assert {early.get(path) for path in paths} == {200}

    def of(path: str) -> list[dict[str, Any]]:
        return [one for one in sensor.transactions if str(one["path"]).partition("?")[0] == path]

    until(lambda: all(len(of(path)) >= 2 for path in paths[1:]), f"{sensor.transactions[-20:]}{sensor.log()}")
    sensor.wait_for_report()
    for path in paths[1:]:  # the first may be told late, or not at all
        assert sorted(one["side"] for one in of(path)) == ["client", "server"], of(path)
        assert {(one["scheme"], one["status"]) for one in of(path)} == {("https", 200)}, of(path)
        # The peer may not be known; another it never is.
        assert {one["server"]["port"] for one in of(path) if one["server"]} <= {early.nginx.ports.tls}


@pytest.mark.parametrize("scenario", [*(BY_NAME[name] for name in CORE), KERNEL_TLS], ids=lambda one: one.name)
def test_every_call_is_reported(scenario: Scenario, sensor: Sensor, calls: list[Call], tmp_path: Path) -> None:
    before = kernel_tls_sessions()
    # Without TLS nothing is to be attached first: that Node.js could speak it takes long to find out here.
    truth = replace(scenario, count=COUNT).run(tmp_path, sensor.attached if scenario.tls else None)
    verdict = sensor.verdict(truth.calls)
    assert verdict.passes(), verdict.report() + sensor.log()
    assert not scenario.ktls or kernel_tls_sessions() > before
    calls += truth.calls


def test_never_capture_holds(sensor: Sensor, secret: Path, certificate: Certificate, tmp_path: Path) -> None:
    nginx = Nginx(tmp_path / "nginx", certificate)
    try:
        curl = Curl(tmp_path / "curl", nginx.base("127.0.0.1", "http/1.1", False), certificate.certificate, "http/1.1")
        peer = Peer([str(secret), *curl.arguments], curl.directory / "stderr")
        requests = plan("never", 20, new_run())
        curl.drive(peer, requests)
        paths = {request.path for request in requests}
        verdict = sensor.verdict(nginx.calls_to(paths))
        assert verdict.passes(), verdict.report() + sensor.log()
    finally:
        nginx.stop()
    assert {one["side"] for one in sensor.transactions if one["path"] in paths} == {"server"}


def test_nothing_was_lost_or_told_twice(sensor: Sensor, calls: list[Call]) -> None:
    """Runs after them: no loss counter rose, and nothing has come since that should not."""
    sensor.wait_for_report()
    assert sensor.losses() == {}
    verdict = compare(calls, sensor.transactions)
    assert verdict.passes(), verdict.report() + sensor.log()


def test_a_killed_capture_is_restarted_and_misses_nothing(sensor: Sensor, tmp_path: Path) -> None:
    def pid() -> int | None:
        with contextlib.suppress(Exception):
            found: int = next(part["pid"] for part in sensor.status()["parts"] if part["name"] == "capture")
            return found
        return None

    first = pid()
    assert first is not None
    with replace(BY_NAME["curl-nginx-plain"], count=COUNT).start(tmp_path / "load") as run:
        os.kill(first, signal.SIGKILL)
        truth = run.drive()
    until(lambda: pid() not in (None, first), "capture was not restarted")
    verdict = sensor.verdict(truth.calls)
    assert verdict.passes(), verdict.report() + sensor.log()


def test_no_probe_outlives_the_sensor(sensor: Sensor, programs_before: set[int]) -> None:
    """Runs last: it ends the sensor the hard way."""
    loaded = programs() - programs_before
    assert len(loaded) > 10
    os.kill(sensor.pid, signal.SIGKILL)
    until(lambda: not loaded & programs(), "programs were left")
    assert not probed() & {"tcp_sendmsg", "tcp_recvmsg"}
