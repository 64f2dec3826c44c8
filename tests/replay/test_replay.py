"""`replay`: a file in, transactions and a summary out."""

from __future__ import annotations

import io
import os
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from apisensor.enrich.model import ProcessGone, ProcessSeen, TlsLibrary
from apisensor.events.model import Address, Bind, Binding, Chunk, Close, Direction, Event, Open
from apisensor.processes.replay import replay
from apisensor.processes.replay_summary import ReplaySummary
from apisensor.replay.errors import ReplayError
from apisensor.replay.model import ClockSample, LossCounters, RecordingHeader
from apisensor.replay.recording import RecordingWriter
from apisensor.transactions.json_form import public
from apisensor.transactions.model import Transaction

from .packets import (
    CLIENT,
    FIN,
    RST,
    SERVER,
    START_NS,
    SYN,
    enhanced,
    events,
    interface,
    ip,
    pcap,
    section,
    stamped,
    tcp,
)
from .test_reassembly import Conversation

REQUEST = b"GET /orders?token=s3cr3t HTTP/1.1\r\nHost: shop.example\r\nAuthorization: Bearer abcdef0123456789\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
KEY = b"k" * 32


def run(
    content: bytes, tmp_path: Path, *, reveal: bool = False, key: bytes | None = KEY
) -> tuple[list[Transaction], ReplaySummary]:
    path = tmp_path / "file"
    path.write_bytes(content)
    told: list[Transaction] = []
    summary = replay(str(path), told.append, reveal=reveal, key=key)
    assert summary.transactions == len(told)
    return told, summary


def talk(*turns: bytes) -> Conversation:
    """Requests and responses in turn."""
    out = Conversation()
    for number, data in enumerate(turns):
        out.send(SERVER if number % 2 else CLIENT, data)
    return out


def test_a_packet_capture(tmp_path: Path) -> None:
    others = [ip(CLIENT[0], SERVER[0], 17, bytes(8)), ip(CLIENT[0], SERVER[0], 1, bytes(8))]
    told, summary = run(pcap(stamped([*others, *talk(REQUEST, RESPONSE).close().packets])), tmp_path)
    (transaction,) = told
    shown = public(transaction)
    assert shown["side"] == "network"
    assert shown["binding"] == "packet"
    assert (shown["method"], shown["status"], shown["response_body_size"]) == ("GET", 200, 5)
    assert (shown["request_body_size"], shown["complete"], shown["process"]) == (0, True, None)
    assert shown["client"] == {"address": CLIENT[0], "port": CLIENT[1]}
    assert shown["server"] == {"address": SERVER[0], "port": SERVER[1]}
    assert shown["start_time"] == "2023-11-14T22:13:20.005000000Z"
    assert shown["duration_ms"] == 1.0
    assert summary == ReplaySummary(
        path=str(tmp_path / "file"),
        format="pcap",
        packets=10,
        events=6,
        flows=1,
        transactions=1,
        findings=1,  # the token of its query crossed the network in the clear
        incomplete={},
        losses={},
        not_examined={"icmp": 1, "udp": 1},
        notes={},
        error=None,
    )
    assert summary.lines() == [
        f"{tmp_path}/file (pcap): 10 packets, 1 flows, 1 transactions, 1 of them complete",
        "findings: 1",
        "not looked into: 1 packets (icmp), 1 packets (udp)",
    ]


def test_values_are_redacted_unless_they_are_to_be_revealed(tmp_path: Path) -> None:
    content = pcap(stamped(talk(REQUEST, RESPONSE).packets))
    (hidden,), _ = run(content, tmp_path)
    assert b"s3cr3t" not in msgspec.json.encode(public(hidden))
    assert b"abcdef0123456789" not in msgspec.json.encode(public(hidden))
    (shown,), _ = run(content, tmp_path, reveal=True)
    assert shown.path == "/orders?token=s3cr3t"


def test_the_same_file_gives_the_same_ids(tmp_path: Path) -> None:
    content = pcap(stamped(talk(REQUEST, RESPONSE, REQUEST, RESPONSE).packets))
    first, _ = run(content, tmp_path)
    second, _ = run(content, tmp_path)
    assert first == second
    assert len({transaction.id for transaction in first}) == 2
    later, _ = run(
        pcap([(time_ns + 1, packet) for time_ns, packet in stamped(talk(REQUEST, RESPONSE).packets)]), tmp_path
    )
    assert later[0].id not in {transaction.id for transaction in first}


def test_without_a_key_identities_of_two_runs_cannot_be_joined(tmp_path: Path) -> None:
    content = pcap(stamped(talk(REQUEST.replace(b"Bearer abcdef0123456789", b"Basic dXNlcjpwYXNz"), RESPONSE).packets))
    identities = set()
    for key in (KEY, KEY, None, None):
        (transaction,), _ = run(content, tmp_path, key=key)
        assert transaction.auth is not None
        assert transaction.auth.identity is not None
        identities.add(transaction.auth.identity)
    assert len(identities) == 3


@pytest.mark.parametrize("first", ["request", "response"])
def test_whoever_sent_the_request_is_the_client_whatever_the_ports(tmp_path: Path, first: str) -> None:
    """A capture without handshakes, of a server on a port above its client's."""
    client, server = ("192.0.2.1", 1024), ("192.0.2.2", 50051)
    packets = [] if first == "request" else [tcp(server, client, 50, 100, 0, RESPONSE)]
    at = 50 + len(packets) * len(RESPONSE)
    packets += [tcp(client, server, 100, at, 0, REQUEST), tcp(server, client, at, 100 + len(REQUEST), 0, RESPONSE)]
    told, summary = run(pcap(stamped(packets)), tmp_path)
    (transaction,) = [each for each in told if each.method is not None]
    assert transaction.client == Address(*client)
    assert transaction.server == Address(*server)
    assert transaction.incomplete_reason is None
    assert summary.notes == {"connections_joined_late": 1}


def test_lost_segments_are_said(tmp_path: Path) -> None:
    cut = talk(REQUEST)
    cut.send(SERVER, RESPONSE[:20]).send(SERVER, RESPONSE[20:]).ack(CLIENT).close()
    del cut.packets[5]
    told, summary = run(pcap(stamped(cut.packets)), tmp_path)
    assert [transaction.incomplete_reason for transaction in told] == ["segment_missing"]
    assert summary.incomplete == {"segment_missing": 1}
    assert summary.losses["segments_missing_bytes"] == len(RESPONSE) - 20
    assert f"lost: {len(RESPONSE) - 20} segments missing bytes" in summary.lines()[3]


@pytest.mark.parametrize(
    ("sender", "flags", "reason"),
    [
        (SERVER, FIN, None),
        (CLIENT, FIN, "response_not_finished"),
        (CLIENT, RST, "response_not_finished"),
        (SERVER, RST, "response_not_finished"),
        (None, 0, "response_not_finished"),
    ],
)
def test_content_that_lasts_until_the_end_is_whole_where_its_sender_says_so(
    tmp_path: Path, sender: tuple[str, int] | None, flags: int, reason: str | None
) -> None:
    """RFC 9112 section 8: a reset is an error, and what the capture does not have is not known."""
    ask, answer = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nabc"
    packets = [tcp(CLIENT, SERVER, 0, None, SYN), tcp(SERVER, CLIENT, 20, 1, SYN)]
    packets += [tcp(CLIENT, SERVER, 1, 21, 0, ask), tcp(SERVER, CLIENT, 21, 1 + len(ask), 0, answer)]
    if sender is not None:
        numbers = 1 + len(ask), 21 + len(answer)
        other = SERVER if sender is CLIENT else CLIENT
        packets.append(tcp(sender, other, *(numbers if sender is CLIENT else numbers[::-1]), flags))
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap(stamped(packets)))
    told: list[Transaction] = []
    replay(str(path), told.append)
    assert [(one.status, one.response_body_size, one.incomplete_reason) for one in told] == [(200, 3, reason)]


def test_a_file_that_is_cut_is_analysed_to_where_it_ends(tmp_path: Path) -> None:
    content = pcap(stamped(talk(REQUEST, RESPONSE).packets))
    told, summary = run(content + content[24:50], tmp_path)
    assert len(told) == 1
    assert summary.error is not None
    assert "truncated" in summary.error
    assert summary.lines()[-1] == summary.error


def test_what_cannot_be_read_at_all_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<html>")
    for path, says in (
        (tmp_path, "is a directory"),
        (tmp_path / "missing", "No such file"),
        (tmp_path / "page.html", "is no packet capture"),
    ):
        with pytest.raises(ReplayError, match=says):
            replay(str(path), lambda _: None)


def test_standard_input_and_pipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = pcap(stamped(talk(REQUEST, RESPONSE).packets))
    (expected,), _ = run(content, tmp_path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    told: list[Transaction] = []
    replay(str(pipe), told.append, key=KEY)
    writer.join()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    summary = replay("-", told.append, key=KEY)
    assert summary.path == "standard input"
    assert told == [expected, expected]


def test_an_exception_of_the_receiver_passes_through(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(pcap(stamped(talk(REQUEST, RESPONSE).packets)))

    def refuse(_transaction: Transaction) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        replay(str(path), refuse)


def test_transactions_come_as_they_end(tmp_path: Path) -> None:
    """A consumer that stops early, as with `| head`, has what was complete by then."""
    content = pcap(stamped(talk(*[REQUEST, RESPONSE] * 3).packets))
    path = tmp_path / "x"
    path.write_bytes(content[:-1])
    seen: list[int] = []
    replay(str(path), lambda transaction: seen.append(transaction.start_ns))
    assert seen == sorted(seen)
    assert len(seen) == 3


def test_other_interfaces_do_not_keep_a_capture_from_being_read(tmp_path: Path) -> None:
    content = section() + interface("<", 105) + interface("<", 101) + enhanced("<", 0, 0, b"beacon")
    for time_ns, packet in stamped(talk(REQUEST, RESPONSE).packets):
        content += enhanced("<", 1, time_ns // 1000, packet)
    told, summary = run(content, tmp_path)
    assert len(told) == 1
    assert summary.format == "pcapng"
    assert summary.not_examined == {"link_type 105 (IEEE802_11)": 1}
    assert "IEEE802_11" in (summary.error or "")


def test_what_is_not_http_is_counted(tmp_path: Path) -> None:
    hello = Conversation().send(CLIENT, b"\x16\x03\x01\x00\x05hello" + bytes(600))
    _, summary = run(pcap(stamped(hello.packets)), tmp_path)
    assert summary.not_examined == {"flows_ciphertext": 1}
    assert summary.lines()[1] == "not looked into: 1 connections that are encrypted"


# Recordings

OFFSET = START_NS - 1000
PID, FLOW = 77, 5 << 40


def header(run_id: bytes = b"r" * 16) -> RecordingHeader:
    return RecordingHeader(run_id, "0.1.0", "6.1.0", "x86_64", 0, OFFSET)


def call(at: int = 1000, flow: int = FLOW, path: bytes = b"/orders") -> list[Event]:
    """A served call over TLS; the peer becomes known after the first bytes."""
    request, response = REQUEST.replace(b"/orders", path), RESPONSE
    return [
        Chunk(at, PID, flow, Direction.RECEIVE, 0, request, True),
        Bind(at + 1, PID, flow, 9, Address(*SERVER), Address(*CLIENT), Binding.CIPHERTEXT),
        Chunk(at + 2, PID, flow, Direction.SEND, 0, response, True),
        Close(at + 3, PID, flow),
    ]


def process(time_ns: int = 0, name: str = "/usr/bin/shop") -> ProcessSeen:
    library = TlsLibrary("/lib/libssl.so.3", "openssl", "3.0.15")
    return ProcessSeen(PID, time_ns, executable=name, arguments=[name.encode(), b"--port"], libraries=[library])


def recording(
    *records: Event | ProcessSeen | ProcessGone | ClockSample | LossCounters, run_id: bytes = b"r" * 16
) -> bytes:
    out = io.BytesIO()
    writer = RecordingWriter(out.write, header(run_id))
    for record in records:
        if isinstance(record, ProcessSeen | ProcessGone):
            writer.process(record)
        elif isinstance(record, ClockSample):
            writer.clock(record)
        elif isinstance(record, LossCounters):
            writer.losses(record)
        else:
            writer.event(record)
    writer.flush()
    return out.getvalue()


def test_a_recording(tmp_path: Path) -> None:
    told, summary = run(recording(process(), *call(), LossCounters(9, {"ring_full": 3, "map_full": 0})), tmp_path)
    (transaction,) = told
    shown = public(transaction)
    assert (shown["side"], shown["binding"], shown["scheme"]) == ("server", "ciphertext", "https")
    assert shown["client"] == {"address": CLIENT[0], "port": CLIENT[1]}
    assert transaction.process is not None
    assert (transaction.process.executable, transaction.process.command_line) == (
        "/usr/bin/shop",
        "/usr/bin/shop --port",
    )
    assert transaction.tls is not None
    assert (transaction.tls.library, transaction.tls.library_version) == ("openssl", "3.0.15")
    assert shown["start_time"] == "2023-11-14T22:13:20.000000000Z"
    assert summary.format == "recording"
    assert (summary.packets, summary.events, summary.flows) == (0, 4, 1)
    assert summary.losses == {"recorded.ring_full": 3}


def test_a_process_that_is_written_after_its_calls_is_found(tmp_path: Path) -> None:
    (transaction,), summary = run(recording(*call(), process()), tmp_path)
    assert transaction.process is not None
    assert transaction.process.executable == "/usr/bin/shop"
    assert summary.losses == {}


def test_a_process_that_is_not_in_the_recording_is_said_to_be_missing(tmp_path: Path) -> None:
    (transaction,), summary = run(recording(*call()), tmp_path)
    assert transaction.process is not None
    assert (transaction.process.pid, transaction.process.executable) == (PID, None)
    assert summary.losses == {"transactions_without_process": 1}


def test_the_wall_clock_follows_its_samples(tmp_path: Path) -> None:
    told, _ = run(recording(process(), *call(), ClockSample(2000, OFFSET + 7), *call(3000, FLOW + 1)), tmp_path)
    assert [transaction.wall_offset_ns - OFFSET for transaction in told] == [0, 7]


def test_recordings_one_after_the_other_share_nothing(tmp_path: Path) -> None:
    """The same flow and pid of another run are another flow and another process."""
    first = recording(process(), *call()[:2])
    second = recording(process(name="/usr/bin/other"), *call(path=b"/second"), run_id=b"s" * 16)
    told, summary = run(first + second, tmp_path)
    assert [transaction.incomplete_reason for transaction in told] == ["response_not_seen", None]
    assert [transaction.process and transaction.process.executable for transaction in told] == [
        "/usr/bin/shop",
        "/usr/bin/other",
    ]
    assert summary.flows == 2


def test_several_writers_of_one_run_are_one_recording(tmp_path: Path) -> None:
    told, _ = run(recording(*call()[:2]) + recording(process()) + recording(*call()[2:]), tmp_path)
    assert [transaction.incomplete_reason for transaction in told] == [None]


def test_a_recording_that_was_cut(tmp_path: Path) -> None:
    told, summary = run(recording(process(), *call(), *call(9000, FLOW + 1))[:-3], tmp_path)
    assert len(told) == 2
    assert "truncated" in (summary.error or "")


def test_a_replay_of_the_events_of_a_capture_equals_the_replay_of_the_capture(tmp_path: Path) -> None:
    content = pcap(stamped(talk(*[REQUEST, RESPONSE] * 5).close().packets))
    from_packets, _ = run(content, tmp_path)
    from_recording, _ = run(recording(ClockSample(0, 0), *events(content)), tmp_path)
    assert len(from_packets) == 5
    for one, other in zip(from_packets, from_recording, strict=True):
        assert (one.method, one.path, one.status, one.client, one.server) == (
            other.method,
            other.path,
            other.status,
            other.client,
            other.server,
        )
        assert (one.start_ns, one.duration_ns) == (other.start_ns, other.duration_ns)


def test_open_events_of_a_recording_bind_plaintext(tmp_path: Path) -> None:
    opened = Open(999, PID, FLOW, 9, Address(*CLIENT), Address(*SERVER), Binding.SOCKET, True)
    plain: list[Event] = [
        opened,
        Chunk(1000, PID, FLOW, Direction.SEND, 0, REQUEST, False),
        Chunk(1001, PID, FLOW, Direction.RECEIVE, 0, RESPONSE, False),
        Close(1002, PID, FLOW),
    ]
    (transaction,), _ = run(recording(process(), *plain), tmp_path)
    assert (transaction.side, transaction.binding, transaction.scheme) == ("client", "socket", "http")
    assert transaction.tls is None
