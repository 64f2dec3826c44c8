"""Markers and fixtures that all tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
from hypothesis import settings

from apisensor import compiled
from tests import kernel_support
from tests.peers import certificates
from tests.peers.certificates import Certificate
from tests.peers.process import free_port

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")
"""How long an example takes says nothing about it where others compute beside it."""

signal.signal(signal.SIGINT, signal.default_int_handler)
"""Programs that tests start inherit how a signal is handled, and a shell has its background jobs ignore this one."""

_skipped = pytest.StashKey[int]()


def pytest_report_header() -> str:
    return f"modules on the path of every record: {compiled.told()}"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"kernel: needs root, BPF and uprobes; fails where they are missing unless {kernel_support.ALLOW_VARIABLE}=1",
    )
    config.stash[_skipped] = 0


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("kernel") is None or (missing := kernel_support.missing()) is None:
        return
    if os.environ.get(kernel_support.ALLOW_VARIABLE) == "1":
        item.config.stash[_skipped] += 1
        pytest.skip(f"kernel test: {missing}")
    pytest.fail(f"kernel tests cannot run: {missing}; {kernel_support.ALLOW_VARIABLE}=1 skips them", pytrace=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if count := config.stash[_skipped]:
        terminalreporter.write_line(
            f"{count} kernel tests were NOT run ({kernel_support.missing()}): the sensor itself is untested here",
            red=True,
        )


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A self-signed certificate for 127.0.0.1, ::1 and localhost."""
    return certificates.make(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def port() -> Callable[[], int]:
    """Each call gives a port on which nobody listens, on 127.0.0.1."""
    return lambda: free_port("127.0.0.1")
