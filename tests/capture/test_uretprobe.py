from __future__ import annotations

import contextlib
import os
import platform
import signal
from pathlib import Path

import pytest

from apisensor.capture import uretprobe
from apisensor.capture.uretprobe import DONE, NOT_FILTERED, NUMBER, affected_version, end_of_child, passes_seccomp

x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="the system call exists on x86-64 only")
GETPID = 39


@x86_64
def test_the_filter_judges_a_call_and_only_that_one() -> None:
    assert end_of_child(GETPID, filtered=False) == NOT_FILTERED
    assert end_of_child(GETPID, filtered=True) == DONE


@x86_64
def test_this_kernel() -> None:
    """Whatever this kernel is, the answer agrees with what upstream's versions say where it could be had."""
    version = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])
    answer = passes_seccomp()
    if version < (6, 11):
        assert answer is None
    elif version >= (6, 14):
        assert answer is True


@x86_64
@pytest.mark.parametrize(
    ("bare", "filtered", "answer"),
    [
        (-signal.SIGILL, -signal.SIGILL, True),
        (-signal.SIGILL, DONE, False),
        (-signal.SIGILL, uretprobe.NO_FILTER, None),
        (NOT_FILTERED, DONE, None),  # ENOSYS: a kernel before 6.11
    ],
)
def test_what_the_children_say(monkeypatch: pytest.MonkeyPatch, bare: int, filtered: int, answer: bool | None) -> None:
    asked: list[int] = []

    def end(number: int, filtered: bool) -> int:
        asked.append(number)
        return ends[filtered]

    ends = {False: bare, True: filtered}
    monkeypatch.setattr(uretprobe, "end_of_child", end)
    assert passes_seccomp() is answer
    assert set(asked) == {NUMBER}


def _children() -> set[str]:
    """Process ids, those that ended and were not waited for included. Other tests may have left some, and threads."""
    found: set[str] = set()
    for task in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread is gone
            found.update(task.read_text(encoding="ascii").split())
    return found


@x86_64
def test_no_child_and_no_core_file_is_left(tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = _children()
    passes_seccomp()
    assert os.listdir(tmp_path) == []
    assert _children() <= before


@pytest.mark.parametrize(
    ("release", "affected"),
    [
        ("6.10.14", False),
        ("6.11", True),
        ("6.11.0-8-generic", True),
        ("6.11.11", True),
        ("6.12.0", True),
        ("6.12.13-amd64", True),
        ("6.12.14", False),
        ("6.13.2-arch1-1", True),
        ("6.13.3+deb13", False),
        ("6.14.0-rc1", False),
        ("5.8.0", False),
        ("7.0", False),
        ("", None),
        ("six", None),
    ],
)
def test_versions(release: str, affected: bool | None) -> None:
    assert affected_version(release) is affected
