"""replay as a process, over a small capture made here."""

from __future__ import annotations

import os
import select
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.cli.invoke import COMMAND, apisensor, environment, one_line
from tests.replay.packets import ACK, CLIENT, FIN, PSH, SERVER, SYN, pcap, stamped, tcp

REQUESTS = [
    (b"GET /users/1?email=ann%40example.com HTTP/1.1\r\nHost: api.example.com\r\n"
     b"Authorization: Basic YW5uOnNlY3JldA==\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
    (b"POST /orders HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 3\r\n\r\nabc",
     b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
]  # fmt: skip


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    packets = [
        tcp(CLIENT, SERVER, 100, None, SYN),
        tcp(SERVER, CLIENT, 500, 101, SYN),
        tcp(CLIENT, SERVER, 101, 501, ACK),
    ]
    sent, answered = 101, 501
    for request, response in REQUESTS:
        packets.append(tcp(CLIENT, SERVER, sent, answered, PSH, request))
        sent += len(request)
        packets.append(tcp(SERVER, CLIENT, answered, sent, PSH, response))
        answered += len(response)
    packets += [tcp(CLIENT, SERVER, sent, answered, FIN), tcp(SERVER, CLIENT, answered, sent + 1, FIN)]
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(stamped(packets)))
    return path


def transactions(output: str) -> list[dict[str, Any]]:
    """The transactions among the lines; findings may stand anywhere between them."""
    documents: list[dict[str, Any]] = [msgspec.json.decode(line) for line in output.splitlines()]
    assert {document["kind"] for document in documents} <= {"transaction", "finding"}
    return [document for document in documents if document["kind"] == "transaction"]


def test_json_lines_on_standard_output_and_the_summary_beside(capture: Path) -> None:
    done = apisensor("replay", str(capture), "--format", "jsonl")
    assert done.returncode == 0
    first, second = transactions(done.stdout)
    assert (first["kind"], first["method"], first["status"], first["side"]) == ("transaction", "GET", 200, "network")
    assert (second["path"], second["status"], second["request_body_size"]) == ("/orders", 503, 3)
    assert "YW5uOnNlY3JldA" not in done.stdout
    assert "ann" not in done.stdout
    assert "2 transactions" in done.stderr
    assert "findings: 1" in done.stderr
    assert done.stderr.startswith(str(capture))
    (found,) = {msgspec.json.decode(line)["rule"] for line in done.stdout.splitlines() if '"finding"' in line[:20]}
    assert found == "credentials-over-plaintext"


def test_reveal_shows_what_was_sent(capture: Path) -> None:
    done = apisensor("replay", str(capture), "--format", "jsonl", "--reveal")
    assert "Basic YW5uOnNlY3JldA==" in done.stdout
    assert "ann%40example.com" in done.stdout


def test_table_and_filters(capture: Path) -> None:
    done = apisensor("replay", str(capture), "--status", "5xx", variables={"TZ": "UTC"})
    finding, line = sorted(done.stdout.splitlines(), key=lambda line: "POST" in line)
    assert "Credentials" in finding
    assert line.startswith("22:13:20.")
    assert "· - POST    api.example.com/orders 503" in line
    assert line.endswith("192.0.2.1:40000>198.51.100.7:80")
    assert "2 transactions" in done.stderr


def test_identities_are_joined_by_the_same_key(capture: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(bytes(range(32)))
    key.chmod(0o600)

    def identity(*arguments: str) -> str:
        done = apisensor("replay", str(capture), "--format", "jsonl", "--method", "get", *arguments)
        return str(transactions(done.stdout)[0]["auth"]["identity"])

    assert identity("--key-file", str(key)) == identity("--key-file", str(key))
    assert identity() != identity("--key-file", str(key))
    key.chmod(0o644)
    assert "chmod 600" in one_line(apisensor("replay", str(capture), "--key-file", str(key)).stderr)
    missing = tmp_path / "none"
    assert "there is none" in one_line(apisensor("replay", str(capture), "--key-file", str(missing)).stderr)
    assert not missing.exists()


def test_standard_input(capture: Path) -> None:
    done = apisensor("replay", "-", "--format", "jsonl", stdin=capture.open("rb"))
    assert len(transactions(done.stdout)) == 2


def test_json_lines_come_while_the_capture_is_being_made(capture: Path) -> None:
    content = capture.read_bytes()
    command = [*COMMAND, "replay", "-", "--format", "jsonl"]
    buffered = environment(PYTHONUNBUFFERED="")  # whatever runs these tests may have it set
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=buffered
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        last = content.index(b"POST /orders")
        process.stdin.write(content[:last])
        process.stdin.flush()
        try:
            assert select.select([process.stdout], [], [], 60)[0], "nothing came while the pipe was open"
            assert msgspec.json.decode(process.stdout.readline())["method"] == "GET"
            rest, _ = process.communicate(content[last:], timeout=60)
        finally:
            process.kill()
    assert [t["path"] for t in transactions(rest.decode())] == ["/orders"]


def test_json_lines_into_a_file(capture: Path, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    with path.open("wb") as file:
        command = [*COMMAND, "replay", str(capture), "--format", "jsonl"]
        subprocess.run(command, stdout=file, stderr=subprocess.PIPE, env=environment(), timeout=60, check=True)
    assert [t["method"] for t in transactions(path.read_text())] == ["GET", "POST"]


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b" + bytes(50), b"GET / HTTP/1.1\r\n\r\n", os.urandom(200)])
def test_what_is_no_capture_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(content)
    done = apisensor("replay", str(path))
    assert (done.returncode, done.stdout) == (1, "")
    assert str(path) in one_line(done.stderr)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        done = apisensor("replay", str(path))
        assert (done.returncode, done.stdout) == (1, "")
        assert one_line(done.stderr).startswith(f"apisensor: {path}")


def test_a_file_that_is_cut_off_shows_what_came_before(capture: Path) -> None:
    capture.write_bytes(capture.read_bytes()[:-10])
    done = apisensor("replay", str(capture), "--format", "jsonl")
    assert done.returncode == 1
    assert len(transactions(done.stdout)) == 2
    assert "Traceback" not in done.stderr


def test_into_head(capture: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [*COMMAND, "replay", str(capture)]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, env=environment(), timeout=60, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_settings_of_the_analysis_count(capture: Path) -> None:
    rule = "credentials-over-plaintext"
    assert f'"rule":"{rule}"' in apisensor("replay", str(capture), "--format", "jsonl").stdout
    quiet = apisensor("replay", str(capture), "--format", "jsonl", "--set", f"detect.off={rule}")
    assert quiet.returncode == 0
    assert f'"rule":"{rule}"' not in quiet.stdout
    wrong = apisensor("replay", str(capture), "--set", "detect.off=no-such")
    assert wrong.returncode == 1
    assert "no-such" in one_line(wrong.stderr)


_INSTALLED = """
import sys
import apisensor.settings
apisensor.settings.DEFAULT_CONFIG = sys.argv.pop(1)
from apisensor.cli.main import main
sys.exit(main())
"""


def test_the_installed_settings_file_is_not_read_unless_it_is_named(capture: Path, tmp_path: Path) -> None:
    installed = tmp_path / "installed.toml"
    installed.write_text('[detect]\noff = ["no-such"]\n')

    def status(*arguments: str, **variables: str) -> int:
        command = [COMMAND[0], "-c", _INSTALLED, str(installed), *arguments]
        return subprocess.run(
            command, capture_output=True, timeout=60, check=False, env=environment(**variables)
        ).returncode

    assert status("replay", str(capture)) == 0
    assert status("replay", str(capture), "--config", str(installed)) == 1
    assert status("replay", str(capture), APISENSOR_CONFIG=str(installed)) == 1
