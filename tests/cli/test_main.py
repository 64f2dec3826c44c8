from __future__ import annotations

import os
import re
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner

from apisensor.cli import main as module
from apisensor.cli.main import COMMANDS, cli, main
from apisensor.live.listening import LiveError
from tests.cli.invoke import COMMAND, apisensor, environment, one_line


def test_version() -> None:
    done = apisensor("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"apisensor {metadata.version('apisensor')}\n", "")


def test_help_names_every_command() -> None:
    done = apisensor("--help")
    assert done.returncode == 0
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output


def test_the_installed_command_is_this_one() -> None:
    (entry,) = (e for e in metadata.entry_points(group="console_scripts") if e.name == "apisensor")
    assert entry.load() is main


@pytest.mark.parametrize(
    "arguments",
    [
        ["--nope"],
        ["nope"],
        ["tail", "--nope"],
        ["tail", "extra"],
        ["tail", "--status", "6xx"],
        ["tail", "--pid", "0"],
        ["tail", "--pid", "x"],
        ["tail", "--side", "both"],
        ["tail", "--path", ""],
        ["tail", "--path", "x" * 513],
        ["tail", "--protocol", "http/9"],
        ["findings", "set", "x", "done"],
        ["tail", "--format", "xml"],
        ["tail", "-n", "0"],
        ["run", "--format", "xml"],
        ["run", "--log-level", "loud"],
        ["record"],
        ["record", "f", "--duration", "0"],
        ["record", "f", "--duration", "1d"],
        ["record", "f", "--max-bytes", "1"],
        ["record", "f", "--max-bytes", "many"],
        ["replay"],
        ["status", "--format", "jsonl"],
        ["doctor", "--format", "toml"],
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str], tmp_path: Path) -> None:
    done = apisensor(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done
    assert re.search(r"\(`apisensor( \w+)* --help` says what there is\)$", one_line(done.stderr))
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [[], ["inventory"]])
def test_a_command_that_is_not_whole_shows_its_help(arguments: list[str]) -> None:
    done = apisensor(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: apisensor ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tail", "--pid", "x"], "'x' is not a valid whole number"),
        (
            ["tail", "--path", ""],
            "--path: allowed are up to 64 values, none of them empty or longer than 512",
        ),
        (["tail", "--anomaly", ""], "--anomaly: allowed are"),
        (
            ["tail", "--protocol", "http/9"],
            "--protocol 'http/9': allowed are http/1, http/1.0, http/1.1, h2, grpc",
        ),
        (["findings", "set", "x", "done"], "'STATE': 'done' is not one of 'open', 'acknowledged'"),
    ],
)
def test_wrong_usage_says_what_is_allowed(arguments: list[str], said: str) -> None:
    assert said in one_line(apisensor(*arguments).stderr)


@pytest.mark.parametrize("command", [["run"], ["record", "f"], ["tail"], ["status"], ["settings"]])
def test_a_wrong_setting_stops_every_command_with_one_line(command: list[str], tmp_path: Path) -> None:
    done = apisensor(*command, "--set", "worker.count=99", cwd=tmp_path)
    assert done.returncode == 1
    expected = "apisensor: command line: worker.count = '99': allowed is whole number, 1 to 16"
    assert one_line(done.stderr) == expected
    assert not list(tmp_path.iterdir())


def test_settings_file_that_is_missing_or_wrong(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.toml")
    assert (
        one_line(apisensor("settings", "--config", missing).stderr)
        == f"apisensor: settings file {missing}: No such file or directory"
    )
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('[general]\nuser = ""\n')
    done = apisensor("run", variables={"APISENSOR_CONFIG": str(wrong)})
    assert one_line(done.stderr) == f"apisensor: {wrong}: general.user = '': allowed is text, not empty"
    assert done.returncode == 1


def test_expected_and_unexpected_errors_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(error: BaseException) -> None:
        def invoke(_: object) -> int:
            raise error

        monkeypatch.setattr(module, "_invoke", invoke)

    for error, status, said in [
        (LiveError("two\nlines \x1b[31m"), 1, "apisensor: two lines \\x1b[31m\n"),
        (FileNotFoundError(2, "No such file or directory", "/x\n"), 1, "apisensor: /x : No such file or directory\n"),
        (OSError("odd"), 1, "apisensor: odd\n"),
        (ZeroDivisionError("a\nb"), 1, "apisensor: internal error: ZeroDivisionError: a b (`apisensor --debug"),
        (RecursionError(), 1, "apisensor: internal error: RecursionError"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(), 0, ""),
    ]:
        fail(error)
        assert main(["status"]) == status
        captured = capfd.readouterr()
        assert captured.err.startswith(said)
        assert captured.err.count("\n") == (1 if said else 0)
        assert captured.out == ""


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def invoke(_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(module, "_invoke", invoke)
    with pytest.raises(ZeroDivisionError):
        main(["--debug", "status"])
    assert main(["status", "--debug"]) == 1  # an option of the command, not of this one


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, "settings"], stdout=writing, stderr=subprocess.PIPE, env=environment(), timeout=60, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("arguments", [["settings"], ["settings", "--format", "json"], ["--help"]])
def test_a_full_disk_is_one_line(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert one_line(done.stderr) == "apisensor: standard output cannot be written: No space left on device"


def test_help_does_not_load_what_run_needs() -> None:
    program = "import sys; from apisensor.cli.main import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [COMMAND[0], "-c", program], capture_output=True, text=True, timeout=60, check=True, env=environment()
    )
    loaded = set(done.stderr.split())
    assert "click" in loaded
    assert not {"grpc", "opentelemetry", "h2", "hpack", "httptools", "re2"} & loaded
