from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from apisensor.redact.key import KEY_SIZE, identity_key
from apisensor.secret_file import SecretFileError


def load_or_create_key(file: Path | str) -> bytes:
    return identity_key(str(file)).load_or_create()


def test_created_then_loaded(tmp_path: Path) -> None:
    file = tmp_path / "identity.key"
    before = os.umask(0o777)
    try:
        key = load_or_create_key(file)
    finally:
        os.umask(before)
    assert len(key) == KEY_SIZE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_bytes() == key == load_or_create_key(str(file))
    assert [entry.name for entry in tmp_path.iterdir()] == ["identity.key"]


def test_two_keys_differ(tmp_path: Path) -> None:
    assert load_or_create_key(tmp_path / "a") != load_or_create_key(tmp_path / "b")


def test_all_who_create_it_at_once_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _number: load_or_create_key(tmp_path / "k"), range(64)))
    assert keys == {(tmp_path / "k").read_bytes()}
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o610])
def test_readable_by_others(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "k"
    file.write_bytes(bytes(KEY_SIZE))
    file.chmod(mode)
    with pytest.raises(SecretFileError, match=f"mode {mode:04o} .*chmod 600") as caught:
        load_or_create_key(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [0, 31, 33, 5000])
def test_wrong_size(tmp_path: Path, size: int) -> None:
    file = tmp_path / "k"
    file.write_bytes(bytes(size))
    file.chmod(0o600)
    with pytest.raises(SecretFileError, match="must have 32"):
        load_or_create_key(file)
    assert file.stat().st_size == size


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SecretFileError, match="not a regular file"):
        load_or_create_key(tmp_path)
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(SecretFileError, match="not a regular file"):
        load_or_create_key(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(SecretFileError, match="dangling link"):
        load_or_create_key(tmp_path / "dangling")
    with pytest.raises(SecretFileError, match="No such file or directory"):
        load_or_create_key(tmp_path / "missing" / "k")


def test_symbolic_link_is_followed(tmp_path: Path) -> None:
    key = load_or_create_key(tmp_path / "k")
    (tmp_path / "link").symlink_to("k")
    assert load_or_create_key(tmp_path / "link") == key


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_belongs_to_somebody_else(tmp_path: Path) -> None:
    file = tmp_path / "k"
    load_or_create_key(file)
    os.chown(file, 12345, -1)
    with pytest.raises(SecretFileError, match="belongs to user 12345"):
        load_or_create_key(file)


def test_only_a_start_of_the_sensor_makes_one(tmp_path: Path) -> None:
    with pytest.raises(SecretFileError, match="there is none; the first"):
        identity_key(str(tmp_path / "k")).load()
    assert list(tmp_path.iterdir()) == []
