"""Compiled programs that are kept: what comes back is what was kept, and what is wrong with the file is said."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from apisensor.loader.cache import key, read, write
from apisensor.loader.errors import CacheError
from apisensor.loader.kernel import Definition
from apisensor.loader.programs import Compiled, relocate

COMPILED = Compiled(
    [Definition(27, 0, 0, 4096, 0, None, "ring_template"), Definition(12, 4, 4, 16, 0, 0, "rings")],
    {"one": bytes(range(256)) * 8, "two": b"\x95" + bytes(7)},
    {"layout_record": {"fields": [["time_ns", 0, 8]], "size": 8}},
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "programs")


def test_what_was_kept_comes_back(path: str) -> None:
    assert read(path, "key") is None
    write(path, "key", COMPILED)
    assert read(path, "key") == COMPILED
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.listdir(os.path.dirname(path)) == ["programs"]


def test_another_key_finds_nothing(path: str) -> None:
    write(path, "key", COMPILED)
    assert read(path, "another") is None
    write(path, "another", COMPILED)
    assert read(path, "key") is None


def test_the_key_is_of_everything_that_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {key("text", "flags"), key("text", "flags2"), key("textflags")}
    monkeypatch.setattr("platform.machine", lambda: "another")
    keys.add(key("text", "flags"))
    assert len(keys) == 4


def _rewrite(change: Callable[[bytes], bytes]) -> Callable[[str], None]:
    def apply(path: str) -> None:
        content = Path(path).read_bytes()
        Path(path).write_bytes(change(content))

    return apply


def _replace(make: Callable[[str], None]) -> Callable[[str], None]:
    def apply(path: str) -> None:
        os.unlink(path)
        make(path)

    return apply


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_rewrite(lambda content: content[:-1]), "damaged"),
        (_rewrite(lambda content: content[:200] + bytes([content[200] ^ 1]) + content[201:]), "damaged"),
        (_rewrite(lambda _: b""), "damaged"),
        (_rewrite(lambda _: os.urandom(4096)), "damaged"),
        (lambda path: os.chmod(path, 0o640), "only its owner"),
        (lambda path: os.chmod(path, 0o602), "only its owner"),
        (_replace(lambda path: os.symlink("/etc/passwd", path)), "cannot be read"),
        (_replace(lambda path: os.mkfifo(path, 0o600)), "only its owner"),
        (_replace(os.mkdir), "only its owner|cannot be read"),
    ],
)
def test_a_file_that_cannot_be_trusted_is_refused_in_one_line(
    harm: Callable[[str], None], said: str, path: str
) -> None:
    write(path, "key", COMPILED)
    harm(path)
    with pytest.raises(CacheError, match=said) as refusal:
        read(path, "key")
    assert "\n" not in str(refusal.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else_is_refused(path: str) -> None:
    write(path, "key", COMPILED)
    os.chown(path, 65534, 65534)
    with pytest.raises(CacheError, match="only its owner"):
        read(path, "key")


def test_where_it_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="cannot be written: No such file"):
        write(str(tmp_path / "missing" / "programs"), "key", COMPILED)


def _load(descriptor: int, source: int = 1) -> bytes:
    return struct.pack("<BBhi", 0x18, source << 4 | 1, 0, descriptor) + bytes(8)


MOVE = struct.pack("<BBhi", 0xB7, 0, 0, 7)


def test_places_of_maps_are_replaced_and_nothing_else() -> None:
    code = _load(7) + MOVE + _load(9) + _load(7, source=0) + MOVE
    assert relocate(code, {7: 0, 9: 1}) == _load(0) + MOVE + _load(1) + _load(7, source=0) + MOVE
    assert relocate(relocate(code, {7: 0, 9: 1}), {0: 7, 1: 9}) == code


@pytest.mark.parametrize("code", [_load(8), _load(7, source=2), _load(7, source=3)])
def test_a_reference_to_something_else_is_not_kept(code: bytes) -> None:
    with pytest.raises(CacheError, match="no known map"):
        relocate(code, {7: 0})
