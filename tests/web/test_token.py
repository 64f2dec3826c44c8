from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from apisensor.secret_file import SecretFileError
from apisensor.sections import Settings, Web
from apisensor.web.listening import listen
from apisensor.web.token import link, login_token

GROUP = os.getgid()
TOKEN = "A" * 43


def load_or_create_token(file: Path | str, group: int) -> str:
    return login_token(str(file), group).load_or_create().decode().strip()


def written(tmp_path: Path, text: str = TOKEN + "\n", mode: int = 0o640) -> Path:
    file = tmp_path / "web.token"
    file.write_text(text)
    file.chmod(mode)
    return file


def test_created_then_loaded(tmp_path: Path) -> None:
    file = tmp_path / "web.token"
    before = os.umask(0o777)
    try:
        token = load_or_create_token(file, GROUP)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert file.stat().st_gid == GROUP
    assert file.read_text() == token + "\n"
    assert load_or_create_token(str(file), GROUP) == token
    assert [entry.name for entry in tmp_path.iterdir()] == ["web.token"]
    assert load_or_create_token(tmp_path / "other", GROUP) != token


def test_all_who_create_it_at_once_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        tokens = set(pool.map(lambda _number: load_or_create_token(tmp_path / "t", GROUP), range(64)))
    assert len(tokens) == 1
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("mode", [0o644, 0o641, 0o660, 0o604, 0o666])
def test_at_hand_for_others(tmp_path: Path, mode: int) -> None:
    with pytest.raises(SecretFileError, match=f"mode {mode:04o} lets others at it; remove it") as caught:
        load_or_create_token(written(tmp_path, mode=mode), GROUP)
    assert "\n" not in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_a_mode_that_is_stricter_will_do(tmp_path: Path) -> None:
    assert load_or_create_token(written(tmp_path, mode=0o600), GROUP) == TOKEN


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_owner_or_group(tmp_path: Path) -> None:
    file = written(tmp_path)
    os.chown(file, 0, 12345)
    with pytest.raises(SecretFileError, match="lets group 12345 at it"):
        load_or_create_token(file, GROUP)
    assert load_or_create_token(file, 12345) == TOKEN
    os.chown(file, 12345, -1)
    with pytest.raises(SecretFileError, match="belongs to user 12345"):
        load_or_create_token(file, 12345)


@pytest.mark.parametrize("text", ["", "short\n", TOKEN + "A\n", "Ä" * 43, "A" * 42 + "=", f"{TOKEN}\n{TOKEN}\n"])
def test_what_is_no_token(tmp_path: Path, text: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(SecretFileError, match="holds no token; remove it"):
        load_or_create_token(file, GROUP)
    assert file.read_text() == text


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SecretFileError, match="not a regular file"):
        load_or_create_token(tmp_path, GROUP)
    os.mkfifo(tmp_path / "fifo", 0o640)
    with pytest.raises(SecretFileError, match="not a regular file"):
        load_or_create_token(tmp_path / "fifo", GROUP)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(SecretFileError, match="dangling link"):
        load_or_create_token(tmp_path / "dangling", GROUP)
    with pytest.raises(SecretFileError, match="No such file or directory"):
        load_or_create_token(tmp_path / "missing" / "t", GROUP)


@pytest.mark.parametrize(
    ("address", "hosts", "begins"),
    [
        ("127.0.0.1", [], "http://127.0.0.1:{port}/login?token="),
        ("::1", [], "http://[::1]:{port}/login?token="),
        ("0.0.0.0", [], "http://127.0.0.1:{port}/login?token="),
        ("0.0.0.0", ["node7.example"], "http://node7.example:{port}/login?token="),
        ("0.0.0.0", ["node7.example:444"], "http://node7.example:444/login?token="),
    ],
)
def test_the_link(address: str, hosts: list[str], begins: str) -> None:
    settings = Settings(web=Web(address=address, port=0, hosts=hosts))
    with listen(settings) as listening:
        assert link(settings, listening, TOKEN) == begins.format(port=listening.getsockname()[1]) + TOKEN
