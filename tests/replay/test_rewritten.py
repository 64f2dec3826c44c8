"""Captures as Wireshark's tools write them: whatever they add, mark or convert, the same is told of the packets."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import pytest

from apisensor.events.model import Event
from apisensor.processes.replay import replay
from apisensor.replay.errors import ReplayError

from .packets import CLIENT, SERVER, START_NS, events, pcap, stamped
from .test_reassembly import Conversation


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw IP packets, in microseconds."""
    talk = Conversation()
    for number in range(20):
        talk.send(CLIENT, b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
        talk.send(SERVER, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    talk.close()
    path = tmp_path_factory.mktemp("original") / "x.pcap"
    path.write_bytes(pcap(stamped(talk.packets), nanoseconds=False))
    return path


def told(path: Path) -> list[Event]:
    return events(path.read_bytes())


REWRITTEN = {
    "pcapng": ["editcap", "-F", "pcapng", "{original}", "{out}"],
    "pcap in nanoseconds": ["editcap", "-F", "nsecpcap", "{original}", "{out}"],
    "comments": ["editcap", "-F", "pcapng", "-a", "1:a comment", "-a", "7:another", "{original}", "{out}"],
    "capture comment": ["editcap", "-F", "pcapng", "--capture-comment", "of the file", "{original}", "{out}"],
    "secrets": ["editcap", "-F", "pcapng", "--inject-secrets", "tls,{secrets}", "{original}", "{out}"],
    "merged with itself": ["mergecap", "-F", "pcapng", "-w", "{out}", "{original}", "{original}"],
    "interfaces apart": ["mergecap", "-F", "pcapng", "-I", "none", "-w", "{out}", "{original}", "{original}"],
    "written by tshark": ["tshark", "-n", "-r", "{original}", "-F", "pcapng", "-w", "{out}"],
    "names resolved": ["tshark", "-r", "{original}", "-W", "n", "-F", "pcapng", "-w", "{out}"],
}


@pytest.mark.parametrize("how", REWRITTEN)
def test_the_same_is_told(how: str, original: Path, tmp_path: Path) -> None:
    out, secrets = tmp_path / "out", tmp_path / "secrets"
    secrets.write_text(f"CLIENT_RANDOM {'0' * 64} {'1' * 96}\n")
    words = {"original": original, "out": out, "secrets": secrets}
    subprocess.run([word.format(**words) for word in REWRITTEN[how]], check=True, capture_output=True)
    assert told(out) == told(original)


def test_times_that_were_shifted_and_order_that_was_lost(original: Path, tmp_path: Path) -> None:
    shifted = tmp_path / "shifted"
    subprocess.run(["editcap", "-F", "pcapng", "-t", "86400.5", str(original), str(shifted)], check=True)
    moved = [msgspec.structs.replace(event, time_ns=event.time_ns + 86_400_500_000_000) for event in told(original)]
    assert told(shifted) == moved
    assert moved[0].time_ns > START_NS
    # Two halves, the later one first in the file: what is told is in the order of the bytes all the same.
    halves = [tmp_path / name for name in ("first", "second", "swapped")]
    subprocess.run(["editcap", "-r", str(original), str(halves[0]), "1-20"], check=True)
    subprocess.run(["editcap", str(original), str(halves[1]), "1-20"], check=True)
    subprocess.run(["mergecap", "-a", "-F", "pcapng", "-w", str(halves[2]), str(halves[1]), str(halves[0])], check=True)
    calls: list[str | None] = []
    summary = replay(str(halves[2]), lambda transaction: calls.append(transaction.path))
    assert calls == [f"/{number}" for number in range(20)]
    assert (summary.losses, summary.incomplete, summary.error) == ({}, {}, None)


@pytest.mark.parametrize("form", ["modpcap", "snoop", "nettl", "5views", "lanalyzer", "ngsniffer", "k12text"])
def test_formats_of_other_programs_are_refused_by_one_line(form: str, original: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = subprocess.run(["editcap", "-F", form, str(original), str(out)], check=False, capture_output=True)
    if done.returncode:  # it does not write that format of raw IP: as Ethernet, then
        subprocess.run(
            ["editcap", "-T", "ether", "-F", form, str(original), str(out)], check=False, capture_output=True
        )
    assert out.exists()
    with pytest.raises(ReplayError) as caught:
        replay(str(out), print)
    assert "\n" not in str(caught.value)
