"""The loader: what it answers, and what it says where it cannot."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from apisensor.events.decode import LayoutError, check_layouts
from apisensor.loader import __main__ as program
from apisensor.loader.btf import Btf
from apisensor.loader.errors import LoaderError
from apisensor.loader.load import load
from apisensor.loader.macros import unix_macros
from apisensor.loader.source import flatten
from apisensor.processes.loading import LOADER_PYTHON, MAX_WORKERS, SKIP_SLOTS
from tests.peers.process import ROOT

pytestmark = pytest.mark.kernel

BPF = ROOT / "bpf"
PARAMETERS = {
    "macros": {
        "RING_PAGES": 16,
        "MAX_WORKERS": MAX_WORKERS,
        "MAX_CONNECTIONS": 1024,
        "MAX_UNIX_CONNECTIONS": 1024,
        "MAX_TLS_SESSIONS": 1024,
        "SKIP_SLOTS": SKIP_SLOTS,
    },
    "workers": 2,
    "back_end": "auto",
    "uprobe_multi": True,
}


def ask(
    python: list[str], directory: Path = BPF, parameters: dict[str, Any] = PARAMETERS
) -> tuple[dict[str, Any], int, int, str]:
    """The loader's answer, how many descriptors came with it, its exit status and its standard error."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            done = subprocess.run(
                [*python, str(theirs.fileno()), str(directory)],
                input=json.dumps(parameters), capture_output=True, text=True, pass_fds=[theirs.fileno()], timeout=120,
                env={"PATH": "/usr/bin:/bin"}, check=False,
            )  # fmt: skip
        message, descriptors, _, _ = socket.recv_fds(ours, 1 << 20, 253)
    for descriptor in descriptors:
        os.close(descriptor)
    return json.loads(message), len(descriptors), done.returncode, done.stderr


def test_its_layouts_are_the_decoders() -> None:
    answer, count, status, _ = ask([LOADER_PYTHON, "-I", program.__file__])
    assert status == 0
    assert count == len(answer["descriptors"])
    assert {"map:notices", "map:rings", "ring:0", "ring:1"} <= set(answer["descriptors"])
    check_layouts(answer["layouts"])
    for name in ("layout_record", "layout_endpoints", "layout_notice"):
        broken = json.loads(json.dumps(answer["layouts"]))
        broken[name]["fields"][1][1] += 4
        with pytest.raises(LayoutError, match=name):
            check_layouts(broken)


def refusal(python: list[str]) -> str:
    answer, count, status, errors = ask(python)
    assert (list(answer), count, status) == (["error"], 0, 1)
    assert "\n" not in answer["error"]
    assert "Traceback" not in errors
    return str(answer["error"])


def test_without_bcc() -> None:
    # -S leaves out the distribution's packages, where bcc lies.
    assert "install the package python3-bpfcc" in refusal([LOADER_PYTHON, "-I", "-S", program.__file__])


def test_with_the_other_project_of_that_name(tmp_path: Path) -> None:
    """PyPI's bcc is about crystal lattices."""
    (tmp_path / "bcc.py").write_text("lattice = 1\n")
    first = f"import runpy, sys; sys.path.insert(0, {str(tmp_path)!r})"
    said = refusal([LOADER_PYTHON, "-I", "-c", f"{first}; runpy.run_path({program.__file__!r}, {{}}, '__main__')"])
    assert "crystal-lattice" in said
    assert "python3-bpfcc" in said


def test_on_another_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(LoaderError, match=r"aarch64.*only x86-64"):
        load(PARAMETERS, str(BPF))


def test_a_compile_error_names_the_real_file_and_line(tmp_path: Path) -> None:
    for file in BPF.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    broken = tmp_path / "emit.h"
    text = broken.read_text()
    broken.write_text(text + "static int nonsense(void) { return no_such_name; }\n")
    line = text.count("\n") + 1
    answer, _, status, errors = ask([LOADER_PYTHON, "-I", program.__file__], tmp_path)
    assert status == 1
    assert "does not compile" in answer["error"]
    assert re.search(rf"emit\.h:{line}:\d+: error: .*no_such_name", errors), errors[-2000:]


def test_every_line_keeps_its_place() -> None:
    """By its #line directives every line of the flattened text is the line of the file that it came from."""
    name, number = "", 0
    lines: dict[str, dict[int, str]] = {}
    for line in flatten(str(BPF)).splitlines():
        if found := re.fullmatch(r'#line (\d+) "([\w.]+)"', line):
            number, name = int(found[1]), found[2]
            continue
        lines.setdefault(name or "apisensor.c", {})[number if name else number + 1] = line
        number += 1
    assert set(lines) == {file.name for file in BPF.glob("*.[ch]")}
    for file, found_lines in lines.items():
        real = (BPF / file).read_text().splitlines()
        for at, line in found_lines.items():
            if line.strip() and at <= len(real):
                assert line == real[at - 1], f"{file}:{at}"


def test_without_unix_sockets_in_the_kernel_s_types(capsys: pytest.CaptureFixture[str]) -> None:
    """CONFIG_UNIX=m: everything else is captured, and one line says so."""

    class Partial(Btf):
        def __init__(self) -> None:
            pass

        def offset(self, structure: str, path: str) -> int:
            if structure == "unix_sock":
                raise LoaderError(f"no unix_sock.{path}")
            return 8

    macros = unix_macros(Partial(), 1024)
    assert macros["MAX_UNIX_CONNECTIONS"] == 0
    assert capsys.readouterr().err == "apisensor: unix sockets are not captured: no unix_sock.peer\n"
    assert unix_macros(Partial(), 0)["MAX_UNIX_CONNECTIONS"] == 0
    assert capsys.readouterr().err == ""


def test_the_second_time_no_compiler_is_needed(tmp_path: Path) -> None:
    """The same programs and maps, in a process that does not import bcc; a damaged file is said and written anew."""
    python = [LOADER_PYTHON, "-I", program.__file__]
    kept = tmp_path / "programs"
    parameters: dict[str, Any] = {**PARAMETERS, "cache": str(kept)}
    first, count, _, _ = ask(python, parameters=parameters)
    assert first.pop("programs") == "compiled"
    second, again, status, errors = ask(python, parameters=parameters)
    assert second.pop("programs") == "from the cache"
    assert (second, again, status, errors) == (first, count, 0, "")
    # A kernel of another name in which nothing has moved (util-linux is on every Debian).
    another = [str(shutil.which("setarch")), platform.machine(), "--uname-2.6", *python]
    assert ask(another, parameters=parameters)[0]["programs"] == "from the cache"
    kept.write_bytes(kept.read_bytes()[:-9])
    third, count, _, _ = ask(python, parameters=parameters)
    assert re.fullmatch(r"compiled, as the cache cannot be used \(.* is damaged\)", third["programs"])
    assert count == again
    # Other settings make other maps.
    macros: dict[str, int] = parameters["macros"]
    other = {**parameters, "macros": {**macros, "MAX_CONNECTIONS": 2048}}
    assert ask(python, parameters=other)[0]["programs"] == "compiled"
