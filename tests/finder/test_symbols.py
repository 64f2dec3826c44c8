"""The finder's answers, against nm and readelf's view of the same files and on files that no linker made."""

from __future__ import annotations

import glob
import io
import random
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from apisensor.finder.functions import GO, ROLES
from apisensor.finder.symbols import MOST_PARTS, MOST_RETURNS, find_functions, find_version
from apisensor.processes.link import PACKET_BYTES
from apisensor.processes.messages import encode
from tests.fuzz import elf
from tests.peers.go import go_peers

LIBSSL = "/usr/lib/x86_64-linux-gnu/libssl.so.3"


def _file_offsets(path: str) -> dict[str, int]:
    """What nm and readelf say: virtual addresses moved by the executable segment's offset."""
    names = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True, check=True).stdout
    segments = subprocess.run(["readelf", "-lW", path], capture_output=True, text=True, check=True).stdout
    load = next(line.split() for line in segments.splitlines() if re.search(r"LOAD.* R E ", line))
    shift = int(load[1], 16) - int(load[2], 16)
    found = {}
    for line in names.splitlines():
        address, _, name = line.split()
        name = name.split("@")[0]
        if name in ROLES:
            found[name] = int(address, 16) + shift
    return found


def test_openssl_as_nm_sees_it() -> None:
    with open(LIBSSL, "rb") as file:
        found = find_functions(file)
    assert found.error is None
    assert found.offsets == _file_offsets(LIBSSL)
    assert {"SSL_read", "SSL_write", "SSL_read_ex", "SSL_write_ex", "SSL_set_fd", "SSL_free"} <= set(found.offsets)


def test_the_version_is_in_libcrypto() -> None:
    with open(LIBSSL.replace("libssl", "libcrypto"), "rb") as file:
        found, version = find_functions(file), find_version(file).version
    stated = subprocess.run(["openssl", "version"], capture_output=True, text=True, check=True).stdout.split()[1]
    assert version == stated
    assert set(found.offsets) == {"BIO_write"}


def test_node_has_openssl_in_its_own_binary() -> None:
    node = shutil.which("node")
    assert node is not None
    with open(Path(node).resolve(), "rb") as file:
        found, found_version = find_functions(file), find_version(file).version
    version = subprocess.run(
        [node, "-p", "process.versions.openssl"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert found_version is not None
    assert version.startswith(found_version)
    assert {"SSL_read", "SSL_write", "BIO_write"} <= set(found.offsets)


@pytest.mark.parametrize("path", ["/bin/ls", "/usr/bin/env"])
def test_other_programs_have_none(path: str) -> None:
    with open(path, "rb") as file:
        assert find_functions(file).offsets == {}


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"\x7fELF" + bytes(60), b"#!/bin/sh\n", bytes(4096)])
def test_what_is_no_elf_file_is_said(content: bytes) -> None:
    found = find_functions(io.BytesIO(content))
    assert found.offsets == {}


def test_damaged_files_never_raise() -> None:
    original = Path(glob.glob(LIBSSL)[0]).read_bytes()
    chance = random.Random(7)
    for _ in range(60):
        damaged = bytearray(original)
        for _ in range(chance.choice([1, 8, 200])):
            damaged[chance.randrange(len(damaged) if chance.random() < 0.5 else 4096)] = chance.randrange(256)
        found = find_functions(io.BytesIO(bytes(damaged[: chance.choice([len(damaged), 5000, 70000])])))
        assert set(found.offsets) <= set(ROLES)


@pytest.mark.parametrize("form", ["go", "go-stripped", "go-pie"])
def test_go_with_and_without_symbols(form: str) -> None:
    """Held beside what objdump makes of the program that has symbols: as many return instructions, at the same
    distances; addresses differ with the form."""
    with open(go_peers(form), "rb") as file:
        found, version = find_functions(file), find_version(file).version
    assert found.error is None
    assert set(found.offsets) == set(GO.functions)
    stated = subprocess.run(["go", "version", str(go_peers(form))], capture_output=True, text=True, check=True).stdout
    assert f"go{version}" in stated
    for function, offset in found.offsets.items():
        distances = [at - offset for at in found.returns[function]]
        if form == "go-pie":  # other instructions: it only must have some, in order
            assert distances == sorted(set(distances))
            assert distances
        else:
            assert distances == _returns(str(go_peers("go")), function)


def _returns(path: str, function: str) -> list[int]:
    command = ["objdump", "-d", f"--disassemble={function}", "--no-show-raw-insn", path]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    begin = next(int(line.split()[0], 16) for line in lines if line.endswith(f"<{function}>:"))
    return [int(line.split(":")[0], 16) - begin for line in lines if re.search(r"\tret", line)]


def test_damaged_go_programs_never_raise() -> None:
    original = go_peers("go-stripped").read_bytes()
    chance = random.Random(7)
    for _ in range(6):
        damaged = bytearray(original)
        for _ in range(2000):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        found = find_functions(io.BytesIO(bytes(damaged)))
        assert set(found.offsets) <= set(GO.functions)


def test_offsets_lie_in_the_file() -> None:
    for whole in (elf.library(), elf.go_stripped()):
        assert find_functions(io.BytesIO(whole)).offsets
        for at in range(len(whole)):
            found = find_functions(io.BytesIO(whole[:at] + b"\x01" + whole[at + 1 :]))
            assert all(0 <= offset < len(whole) for offset in found.offsets.values())


def test_a_function_of_nothing_but_returns_is_refused_in_a_line() -> None:
    """Its answer would not fit into a message, and capture, which has rights, would have to read what is left of it."""
    returns = elf.FUNCTION[:4] + b"\xc3" * 60_000
    found = find_functions(io.BytesIO(elf.go_with_symbols(returns)))
    assert (found.offsets, found.returns) == ({}, {})
    assert found.error is not None
    assert "returns in more than" in found.error
    most = find_functions(io.BytesIO(elf.go_with_symbols(elf.FUNCTION[:4] + b"\xc3" * MOST_RETURNS)))
    assert {len(places) for places in most.returns.values()} == {MOST_RETURNS}
    assert len(encode(most)) < PACKET_BYTES // 10


def _table(symbols: int, places: int) -> bytes:
    """A library whose texts have a name in many places, and whose symbols have another."""
    texts = b"\0" + b"SSL_read\0" * places
    section = ".dynsym", 11, 3, bytes(24) + b"\xff" * 24 * symbols
    return elf.elf((".text", 1, 0, elf.FUNCTION), section, (".dynstr", 3, 0, texts))


def test_time_grows_with_a_table_of_symbols_and_no_faster() -> None:
    times = []
    for size in (5_000, 40_000):
        content = _table(size, size)
        best = float("inf")
        for _ in range(3):
            begun = time.process_time()
            assert find_functions(io.BytesIO(content)).offsets == {}
            best = min(best, time.process_time() - begun)
        times.append(best)
    assert times[1] < 24 * (times[0] + 1e-3)  # 8 times as much; quadratic would be 64


def test_a_table_of_more_symbols_than_any_program_is_refused_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apisensor.finder.table.MOST_SYMBOLS", 100)
    found = find_functions(io.BytesIO(_table(100, 1)))  # and the one that is no symbol
    assert found.error == "ELFError: more than 100 symbols"


@pytest.mark.parametrize(("place", "said"), [(60, 0), (56, 0xFFFF)], ids=["sections", "segments"])
def test_parts_without_end_are_refused_in_a_line(place: int, said: int) -> None:
    """e_shnum and e_phnum; 0 and 0xffff say that the first section header has the number (the ELF specification)."""
    content = bytearray(elf.library())
    table = int.from_bytes(content[40:48], "little")
    content[place : place + 2] = said.to_bytes(2, "little")
    content[table + 32 : table + 48] = b"\xff\xff\xff\x7f" * 4
    assert find_functions(io.BytesIO(bytes(content))).error == f"ELFError: more than {MOST_PARTS} sections or segments"
