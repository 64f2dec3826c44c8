"""TCP reassembly: what was sent comes out, in order, whatever the capture did to it."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.events.model import Address, Binding, Chunk, Close, Direction, End, Event, Gap, Open
from apisensor.replay.limits import ReplayLimits
from apisensor.replay.pcap import Packet
from apisensor.replay.reassembly import Reassembler
from apisensor.replay.segment import SegmentDecoder

from .packets import (
    ACK,
    CLIENT,
    CLIENT6,
    FIN,
    RST,
    SERVER,
    SERVER6,
    START_NS,
    SYN,
    Streams,
    capture,
    events,
    pcap,
    stamped,
    tcp,
)


class Conversation:
    """Two ends that send; builds the packets a perfect capture of it holds."""

    def __init__(self, client_isn: int = 1000, server_isn: int = 5000, handshake: bool = True) -> None:
        self.packets: list[bytes] = []
        self.sequence = {CLIENT: client_isn, SERVER: server_isn}
        if handshake:
            self.packets.append(tcp(CLIENT, SERVER, client_isn, None, SYN))
            self.packets.append(tcp(SERVER, CLIENT, server_isn, client_isn + 1, SYN))
        self.sequence[CLIENT] += 1
        self.sequence[SERVER] += 1
        if handshake:
            self.ack(CLIENT)

    @staticmethod
    def other(end: tuple[str, int]) -> tuple[str, int]:
        return SERVER if end == CLIENT else CLIENT

    def ack(self, end: tuple[str, int]) -> Conversation:
        other = self.other(end)
        self.packets.append(tcp(end, other, self.sequence[end], self.sequence[other]))
        return self

    def send(self, end: tuple[str, int], data: bytes) -> Conversation:
        other = self.other(end)
        self.packets.append(tcp(end, other, self.sequence[end], self.sequence[other], 0, data))
        self.sequence[end] += len(data)
        return self

    def fin(self, end: tuple[str, int]) -> Conversation:
        other = self.other(end)
        self.packets.append(tcp(end, other, self.sequence[end], self.sequence[other], FIN))
        self.sequence[end] += 1
        return self

    def close(self) -> Conversation:
        self.fin(CLIENT).fin(SERVER).ack(CLIENT)
        return self

    def events(self, limits: ReplayLimits | None = None) -> list[Event]:
        return events(pcap(stamped(self.packets)), limits)


def kinds(told: Sequence[Event]) -> list[str]:
    return [type(event).__name__ for event in told]


def test_a_connection_from_its_handshake_to_its_end() -> None:
    told = Conversation().send(CLIENT, b"ping").send(SERVER, b"pong!").close().events()
    local, remote = Address(*CLIENT), Address(*SERVER)
    step = 1_000_000
    assert told == [
        Open(START_NS + 3 * step, 0, 1, 1, local, remote, Binding.PACKET, True),
        Chunk(START_NS + 3 * step, 0, 1, Direction.SEND, 0, b"ping", False, True),
        Chunk(START_NS + 4 * step, 0, 1, Direction.RECEIVE, 0, b"pong!", False, True),
        End(START_NS + 5 * step, 0, 1, Direction.SEND),
        End(START_NS + 6 * step, 0, 1, Direction.RECEIVE),
        Close(START_NS + 6 * step, 0, 1),
    ]


def test_a_connection_without_bytes_says_nothing() -> None:
    assert Conversation().close().events() == []


def test_ipv6_addresses_are_written_compressed() -> None:
    told = events(pcap(stamped([tcp(CLIENT6, SERVER6, 7, None, SYN), tcp(CLIENT6, SERVER6, 8, None, 0, b"x")])))
    assert isinstance(told[0], Open)
    assert (told[0].local, told[0].remote) == (Address("2001:db8::1", 40000), Address("2001:db8::7", 80))


def test_ipv4_mapped_addresses_are_written_as_ipv4() -> None:
    told = events(pcap(stamped([tcp(("::ffff:192.0.2.1", 9), ("::ffff:192.0.2.2", 8), 7, 1, 0, b"x")])))
    assert isinstance(told[0], Open)
    assert told[0].local == Address("192.0.2.1", 9)


def test_the_sender_of_the_syn_is_local_even_from_a_low_port() -> None:
    a, b = ("192.0.2.1", 100), ("192.0.2.2", 8080)
    told = events(pcap(stamped([tcp(a, b, 0, None, SYN), tcp(b, a, 9, 1, SYN), tcp(b, a, 10, 1, 0, b"x")])))
    assert isinstance(told[0], Open)
    assert told[0].local == Address(*a)
    assert isinstance(told[1], Chunk)
    assert told[1].direction is Direction.RECEIVE


def test_the_receiver_of_a_syn_ack_is_local() -> None:
    a, b = ("192.0.2.1", 100), ("192.0.2.2", 8080)
    told = events(pcap(stamped([tcp(b, a, 9, 1, SYN), tcp(b, a, 10, 1, 0, b"x")])))
    assert isinstance(told[0], Open)
    assert told[0].local == Address(*a)


def test_without_a_syn_the_higher_port_is_local() -> None:
    told = events(pcap(stamped([tcp(SERVER, CLIENT, 9, 1, 0, b"x")])))
    assert isinstance(told[0], Open)
    assert told[0].local == Address(*CLIENT)


def test_sequence_numbers_wrap() -> None:
    talk = Conversation(client_isn=2**32 - 3, server_isn=2**32 - 1)
    for number in range(4):
        talk.send(CLIENT, b"abc%d" % number).send(SERVER, b"de%d" % number)
    streams = Streams(talk.close().events())
    assert streams.sent == b"abc0abc1abc2abc3"
    assert streams.received == b"de0de1de2de3"


def test_a_stream_longer_than_the_sequence_space_has_positions_beyond_it() -> None:
    part = 1 << 26  # steps of 64 MiB of which only an acknowledgement is captured
    packets = [tcp(CLIENT, SERVER, 0, None, SYN), tcp(SERVER, CLIENT, 0, 1, SYN)]
    for number in range(1, 70):
        packets.append(tcp(SERVER, CLIENT, 1, 1 + number * part - 1))
        packets.append(tcp(CLIENT, SERVER, number * part, 1, 0, b"!"))
    told = events(pcap(stamped(packets, 300_000_000)))
    chunks = [event for event in told if isinstance(event, Chunk)]
    assert [chunk.position for chunk in chunks] == [number * part - 1 for number in range(1, 70)]
    assert chunks[-1].position > 2**32
    gaps = [event for event in told if isinstance(event, Gap)]
    assert sum(gap.length or 0 for gap in gaps) == 69 * part - 1 - 68


def test_segments_out_of_order() -> None:
    talk = Conversation().send(CLIENT, b"one").send(CLIENT, b"two").send(CLIENT, b"three")
    talk.packets[3:6] = [talk.packets[5], talk.packets[3], talk.packets[4]]
    assert Streams(talk.events()).sent == b"onetwothree"


def test_a_response_captured_before_its_request_comes_after_it() -> None:
    talk = Conversation().send(CLIENT, b"request").send(SERVER, b"response")
    talk.packets[3:5] = [talk.packets[4], talk.packets[3]]
    told = talk.events()
    assert [event.data for event in told if isinstance(event, Chunk)] == [b"request", b"response"]


def test_a_syn_captured_after_the_first_bytes() -> None:
    talk = Conversation().send(CLIENT, b"one").send(SERVER, b"two")
    talk.packets = [talk.packets[index] for index in (3, 4, 1, 0, 2)]
    told = talk.events()
    assert isinstance(told[0], Open)
    assert Streams(told).sent == b"one"
    assert Streams(told).received == b"two"


def test_every_packet_twice() -> None:
    talk = Conversation().send(CLIENT, b"one").send(SERVER, b"two").send(CLIENT, b"three").close()
    content = pcap(stamped([packet for packet in talk.packets for _ in range(2)]))
    seen = capture(content)
    told = list(seen.events())
    assert kinds(told) == ["Open", "Chunk", "Chunk", "Chunk", "End", "End", "Close"]
    assert Streams(told).sent == b"onethree"
    assert seen.counts == {"retransmitted_bytes": 11}


def test_what_begins_first_wins_and_the_difference_is_counted() -> None:
    talk = Conversation()
    talk.packets.append(tcp(CLIENT, SERVER, 1001 + 3, 5001, 0, b"DEF"))
    talk.packets.append(tcp(CLIENT, SERVER, 1001 + 2, 5001, 0, b"cdefgh"))
    talk.packets.append(tcp(CLIENT, SERVER, 1001, 5001, 0, b"abC"))
    seen = capture(pcap(stamped(talk.packets)))
    assert Streams(seen.events()).sent == b"abCdefgh"
    assert seen.counts["retransmissions_that_differ"] == 2


def test_keep_alive_probes_add_nothing() -> None:
    talk = Conversation().send(CLIENT, b"abc").ack(SERVER)
    talk.packets.append(tcp(CLIENT, SERVER, talk.sequence[CLIENT] - 1, 5001))
    talk.packets.append(tcp(CLIENT, SERVER, talk.sequence[CLIENT] - 1, 5001, 0, b"\0"))
    assert Streams(talk.send(CLIENT, b"def").events()).sent == b"abcdef"


def test_one_direction_ends_and_the_other_goes_on() -> None:
    talk = Conversation().send(CLIENT, b"ask").fin(CLIENT).ack(SERVER).send(SERVER, b"answer").fin(SERVER).ack(CLIENT)
    told = talk.events()
    assert kinds(told) == ["Open", "Chunk", "End", "Chunk", "End", "Close"]


def test_an_end_before_the_first_bytes_is_told_after_the_open() -> None:
    told = Conversation().fin(CLIENT).send(SERVER, b"greeting").events()
    assert kinds(told) == ["Open", "End", "Chunk"]


def test_both_ends_close_at_once() -> None:
    talk = Conversation().send(CLIENT, b"x")
    talk.packets.append(tcp(CLIENT, SERVER, 1002, 5001, FIN))
    talk.packets.append(tcp(SERVER, CLIENT, 5001, 1002, FIN))
    talk.packets.append(tcp(CLIENT, SERVER, 1003, 5002))
    talk.packets.append(tcp(SERVER, CLIENT, 5002, 1003))
    assert kinds(talk.events()) == ["Open", "Chunk", "End", "End", "Close"]


def test_a_fin_before_the_bytes_it_follows() -> None:
    talk = Conversation().send(CLIENT, b"abc").fin(CLIENT)
    talk.packets[3:5] = [talk.packets[4], talk.packets[3]]
    told = talk.events()
    assert kinds(told) == ["Open", "Chunk", "End"]


def test_a_reset_closes() -> None:
    talk = Conversation().send(CLIENT, b"x")
    talk.packets.append(tcp(SERVER, CLIENT, 5001, 1002, RST))
    told = talk.events()
    assert kinds(told) == ["Open", "Chunk", "Close"]
    assert told[-1] == Close(START_NS + 4_000_000, 0, 1, reset=True)


def test_how_a_connection_ends_that_is_open_when_the_capture_does_nobody_knows() -> None:
    assert kinds(Conversation().send(CLIENT, b"x").events()) == ["Open", "Chunk"]
    closed = Conversation().send(CLIENT, b"x").close().events()
    assert [event.reset for event in closed if isinstance(event, Close)] == [False]


def test_a_reset_from_outside_the_connection_is_ignored() -> None:
    talk = Conversation().send(CLIENT, b"x")
    talk.packets.append(tcp(SERVER, CLIENT, 5001 + 2**30, None, RST))
    seen = capture(pcap(stamped([*talk.packets, *Conversation().send(CLIENT, b"xy").packets[3:]], 10**9)))
    assert Streams(seen.events()).sent == b"xy"
    assert seen.counts["resets_out_of_window"] == 1


def test_bytes_after_a_reset_captured_late() -> None:
    talk = Conversation().send(SERVER, b"abc").send(SERVER, b"def")
    reset = tcp(CLIENT, SERVER, 1001, None, RST)
    talk.packets[4:4] = [reset]
    told = talk.events()
    assert kinds(told) == ["Open", "Chunk", "Chunk", "Close"]
    assert Streams(told).received == b"abcdef"


def test_a_reset_of_an_unknown_connection_that_ends_another_s_window() -> None:
    lone = tcp(CLIENT, SERVER, 9, None, 0, b"x")
    reset = tcp(("192.0.2.9", 5), SERVER, 1, None, RST)
    assert kinds(events(pcap(stamped([lone, reset], 10**9)))) == ["Open", "Chunk"]


def test_ports_used_again() -> None:
    first = Conversation(1000, 5000).send(CLIENT, b"first")
    second = Conversation(900_000, 7_000_000).send(CLIENT, b"second").close()
    seen = capture(pcap(stamped(first.packets + second.packets)))
    told = list(seen.events())
    assert kinds(told) == ["Open", "Chunk", "Close", "Open", "Chunk", "End", "End", "Close"]
    assert Streams(told, 1).sent == b"first"
    assert Streams(told, 2).sent == b"second"
    assert seen.flows == 2


def test_ports_used_again_without_a_syn_in_the_capture() -> None:
    first = Conversation(1000, 5000).send(CLIENT, b"first")
    second = Conversation(3_000_000_000, 2_000_000_000, handshake=False).send(CLIENT, b"second")
    told = events(pcap(stamped(first.packets + second.packets)))
    assert Streams(told, 1).sent == b"first"
    assert Streams(told, 2).sent == b"second"


def test_a_repeated_syn_begins_nothing() -> None:
    talk = Conversation().send(CLIENT, b"abc")
    talk.packets.insert(1, talk.packets[0])
    talk.packets.append(talk.packets[0])
    assert kinds(talk.send(CLIENT, b"d").events()) == ["Open", "Chunk", "Chunk"]


def test_simultaneous_open() -> None:
    packets = [
        tcp(CLIENT, SERVER, 10, None, SYN),
        tcp(SERVER, CLIENT, 20, None, SYN),
        tcp(CLIENT, SERVER, 10, 21, SYN),
        tcp(SERVER, CLIENT, 20, 11, SYN),
        tcp(SERVER, CLIENT, 21, 11, 0, b"s"),
        tcp(CLIENT, SERVER, 11, 22, 0, b"c"),
    ]
    told = events(pcap(stamped(packets)))
    assert isinstance(told[0], Open)
    assert told[0].local == Address(*CLIENT)
    assert (Streams(told).sent, Streams(told).received) == (b"c", b"s")


def test_bytes_in_the_syn() -> None:
    packets = [tcp(CLIENT, SERVER, 10, None, SYN, b"early"), tcp(SERVER, CLIENT, 20, 16, SYN, b"")]
    packets.append(tcp(CLIENT, SERVER, 16, 21, 0, b"more"))
    assert Streams(events(pcap(stamped(packets)))).sent == b"earlymore"


def test_a_capture_that_starts_late_has_position_0_at_the_first_byte_seen() -> None:
    talk = Conversation(handshake=False).send(SERVER, b"half of it").ack(CLIENT).send(CLIENT, b"next").ack(SERVER)
    seen = capture(pcap(stamped(talk.packets)))
    streams = Streams(seen.events())
    assert (streams.sent, streams.received) == (b"next", b"half of it")
    assert not any(streams.holes.values())
    assert seen.counts == {"connections_joined_late": 1}


def test_a_late_start_waits_for_bytes_that_were_captured_out_of_order() -> None:
    talk = Conversation(handshake=False).send(CLIENT, b"one").send(CLIENT, b"two").send(CLIENT, b"three")
    talk.packets.reverse()
    assert Streams(talk.events()).sent == b"onetwothree"


def test_an_acknowledged_segment_that_was_not_captured_is_a_gap() -> None:
    talk = Conversation().send(CLIENT, b"one").send(CLIENT, b"lost").send(CLIENT, b"three").ack(SERVER).close()
    del talk.packets[4]
    seen = capture(pcap(stamped(talk.packets)))
    streams = Streams(seen.events())
    assert streams.holes[Direction.SEND] == [(3, 4)]
    assert streams.sent == b"one\0\0\0\0three"
    assert seen.counts["segments_missing_bytes"] == 4


def test_a_lost_request_is_a_gap_before_its_response() -> None:
    talk = Conversation().send(CLIENT, b"request").send(SERVER, b"response")
    del talk.packets[3]
    told = talk.events()
    assert kinds(told) == ["Open", "Gap", "Chunk"]
    assert isinstance(told[1], Gap)
    assert (told[1].position, told[1].length) == (0, 7)


def test_a_gap_is_told_when_its_window_is_over_not_at_the_end() -> None:
    talk = Conversation().send(CLIENT, b"lost").send(SERVER, b"response")
    del talk.packets[3]
    others = [tcp(("192.0.2.9", 5), SERVER, 1, None, SYN)] * 500
    seen = capture(pcap(stamped(talk.packets + others)))
    for event in seen.events():
        if isinstance(event, Chunk):
            break
    assert 200 < seen.packets < 220  # 200 ms of capture time at 1 ms each, while the connection itself is silent


def test_a_byte_nobody_acknowledged_is_waited_for() -> None:
    talk = Conversation().send(CLIENT, b"one").send(CLIENT, b"two").send(CLIENT, b"three")
    late = talk.packets.pop(4)
    packets = [(START_NS + n * 10**9, packet) for n, packet in enumerate([*talk.packets, late])]
    streams = Streams(events(pcap(packets)))
    assert streams.sent == b"onetwothree"


def test_a_fin_that_was_not_captured_is_no_lost_byte() -> None:
    talk = Conversation().send(CLIENT, b"ask").fin(CLIENT).ack(SERVER).send(SERVER, b"answer")
    del talk.packets[4]
    told = talk.events()
    assert kinds(told) == ["Open", "Chunk", "Chunk"]


def test_one_lost_byte_is_a_gap_once_others_follow() -> None:
    talk = Conversation().send(CLIENT, b"a").ack(SERVER).send(SERVER, b"b").send(CLIENT, b"cd").ack(SERVER)
    del talk.packets[3]
    streams = Streams(events(pcap(stamped(talk.packets, 10**9))))
    assert streams.sent == b"\0cd"
    assert streams.holes[Direction.SEND] == [(0, 1)]


def test_too_much_waiting_gives_up_what_is_missing() -> None:
    talk = Conversation().send(CLIENT, b"lost")
    del talk.packets[3]
    for _ in range(10):
        talk.send(CLIENT, bytes(100))
    seen = capture(pcap(stamped(talk.packets)), ReplayLimits(flow_bytes=1500))
    told = list(seen.events())
    assert kinds(told) == ["Open", "Gap", *["Chunk"] * 10]
    assert seen.counts["gaps_flow_buffer_limit"] == 1


def test_too_much_waiting_in_all() -> None:
    packets = []
    for port in range(10):
        end = ("192.0.2.1", 1000 + port)
        packets += [tcp(end, SERVER, 0, None, SYN), tcp(end, SERVER, 11, None, 0, bytes(100))]
    seen = capture(pcap(stamped(packets)), ReplayLimits(total_bytes=1500))
    told = list(seen.events())
    assert [(event.position, event.length) for event in told if isinstance(event, Gap)] == [(0, 10)] * 10
    assert seen.counts["gaps_total_buffer_limit"] == 5


def test_tiny_segments_cost_what_they_take_in_memory() -> None:
    packets = [tcp(CLIENT, SERVER, 0, None, SYN)]
    packets += [tcp(CLIENT, SERVER, 2 * number, None, 0, b"x") for number in range(1, 100)]
    seen = capture(pcap(stamped(packets)), ReplayLimits(flow_bytes=2000))
    streams = Streams(seen.events())
    assert streams.sent == b"\0x" * 99
    assert seen.counts["gaps_flow_buffer_limit"] == 9


def test_a_full_table_gives_up_the_connection_that_was_quiet_for_longest() -> None:
    packets = []
    for port in range(3):
        end = ("192.0.2.1", 1000 + port)
        packets += [tcp(end, SERVER, 0, None, SYN), tcp(end, SERVER, 1, None, 0, b"x")]
    seen = capture(pcap(stamped(packets)), ReplayLimits(connections=2))
    told = list(seen.events())
    assert kinds(told) == ["Open", "Chunk", "Open", "Chunk", "Close", "Open", "Chunk"]
    assert [(event.flow, event.reset) for event in told if isinstance(event, Close)] == [(1, True)]
    assert seen.counts["connections_evicted"] == 1


def test_a_closed_connection_makes_room_first() -> None:
    quiet = Conversation().send(CLIENT, b"x").packets
    packets = list(quiet)
    for port in range(5):
        end = ("192.0.2.9", 1000 + port)
        packets += [tcp(end, SERVER, 0, None, SYN), tcp(SERVER, end, 0, 1, SYN)]
        packets += [tcp(end, SERVER, 1, 1, FIN), tcp(SERVER, end, 1, 2, FIN)]
    seen = capture(pcap(stamped(packets)), ReplayLimits(connections=2))
    list(seen.events())
    assert "connections_evicted" not in seen.counts


def test_an_idle_connection_is_closed() -> None:
    first = Conversation().send(CLIENT, b"x").packets
    much_later = tcp(("192.0.2.9", 5), SERVER, 1, None, SYN)
    seen = capture(pcap([*stamped(first), (START_NS + 8_000_000_000_000, much_later)]))
    told = list(seen.events())
    assert kinds(told) == ["Open", "Chunk", "Close"]


def test_a_cut_segment_is_a_gap_of_what_was_cut() -> None:
    talk = Conversation().send(CLIENT, b"0123456789" * 10).send(SERVER, b"ok").send(CLIENT, b"tail")
    seen = capture(pcap(stamped(talk.packets), snap=60))
    streams = Streams(seen.events())
    assert streams.sent[:20] == b"0123456789" * 2
    assert streams.sent[-4:] == b"tail"
    assert streams.holes[Direction.SEND] == [(20, 80)]
    assert seen.counts["snap_length_bytes"] == 80


def test_a_capture_of_headers_only_is_all_gaps() -> None:
    talk = Conversation().send(CLIENT, b"0123456789").send(SERVER, b"ok").close()
    seen = capture(pcap(stamped(talk.packets), snap=36))
    told = list(seen.events())
    assert kinds(told) == ["Open", "Gap", "Gap", "End", "End", "Close"]


def test_only_one_direction_captured() -> None:
    talk = Conversation().send(CLIENT, b"one").send(SERVER, b"unseen").send(CLIENT, b"two").send(SERVER, b"!!")
    talk.send(CLIENT, b"three")
    only = [packet for packet in talk.packets if packet[12:16] == bytes([192, 0, 2, 1])]
    streams = Streams(events(pcap(stamped(only))))
    assert streams.sent == b"onetwothree"
    assert streams.holes[Direction.RECEIVE] == [(0, 8)]


# Properties


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[tuple[bool, bytes]], int, int]:
    """Turns of (client speaks, bytes), and both initial sequence numbers, often near the wrap."""
    turns = draw(st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=40)), min_size=1, max_size=12))
    isn = st.one_of(st.integers(0, 2**32 - 1), st.integers(2**32 - 100, 2**32 - 1))
    return turns, draw(isn), draw(isn)


def split(turns: list[tuple[bool, bytes]], chance: random.Random) -> list[tuple[bool, bytes]]:
    """The same bytes in other segments."""
    out = []
    for client, data in turns:
        at = 0
        while at < len(data):
            size = chance.randint(1, len(data) - at)
            out.append((client, data[at : at + size]))
            at += size
    return out


@settings(max_examples=200, deadline=None)
@given(conversations(), st.randoms(use_true_random=False), st.booleans(), st.booleans())
def test_shuffled_duplicated_and_split_segments_are_the_bytes_sent(
    conversation: tuple[list[tuple[bool, bytes]], int, int], chance: random.Random, handshake: bool, close: bool
) -> None:
    turns, client_isn, server_isn = conversation
    talk = Conversation(client_isn, server_isn, handshake)
    sent, received = b"", b""
    for client, data in split(turns, chance):
        talk.send(CLIENT if client else SERVER, data)
        sent, received = (sent + data, received) if client else (sent, received + data)
    if close:
        talk.close()
    packets = talk.packets + [packet for packet in talk.packets if chance.random() < 0.3]
    order = [(number % len(talk.packets) + chance.uniform(0, 12), packet) for number, packet in enumerate(packets)]
    order.sort(key=lambda pair: pair[0])
    streams = Streams(events(pcap(stamped([packet for _, packet in order]))))
    assert (streams.sent, streams.received) == (sent, received)


@settings(max_examples=200, deadline=None)
@given(conversations(), st.randoms(use_true_random=False), st.floats(0, 0.7), st.integers(1, 3))
def test_lost_packets_are_gaps_of_exact_length_never_wrong_bytes(
    conversation: tuple[list[tuple[bool, bytes]], int, int], chance: random.Random, loss: float, seconds: int
) -> None:
    turns, client_isn, server_isn = conversation
    talk = Conversation(client_isn, server_isn)
    kept = talk.packets[:]
    streams = {CLIENT: b"", SERVER: b""}
    captured = {CLIENT: b"", SERVER: b""}  # missing bytes as zeros
    for client, data in split(turns, chance):
        end = CLIENT if client else SERVER
        talk.send(end, data.replace(b"\0", b"\1"))
        streams[end] += data
        if chance.random() < loss:
            captured[end] += bytes(len(data))
        else:
            kept.append(talk.packets[-1])
            captured[end] += data.replace(b"\0", b"\1")
    before = len(talk.packets)
    talk.close()
    kept += talk.packets[before:]  # with both FINs captured, every length is known
    told = events(pcap(stamped(kept, seconds * 100_000_000)))
    seen = Streams(told)
    assert seen.sent == captured[CLIENT]
    assert seen.received == captured[SERVER]
    if any(captured.values()):
        assert kinds(told)[-1] == "Close"
        assert sum(isinstance(event, End) for event in told) == 2


numbers = st.one_of(st.integers(0, 60), st.integers(2**32 - 60, 2**32 - 1), st.integers(0, 2**32 - 1))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), numbers, numbers, st.integers(0, 31), st.binary(max_size=20), st.integers(0, 3)),
        max_size=40,
    )
)
def test_hostile_segments_do_no_harm(segments: list[tuple[bool, int, int, int, bytes, int]]) -> None:
    """Any flags, any numbers: positions stay consecutive per flow (checked by Streams), no flow closes twice, and the
    account of what waits is right at the end."""
    decode = SegmentDecoder({}, {}, ReplayLimits()).decode
    reassembler = Reassembler(ReplayLimits(flow_bytes=900, total_bytes=1200, reorder_packets=4, connections=2), {})
    told: list[Event] = []
    time_ns = START_NS
    for client, sequence, acknowledgment, flags, data, wait in segments:
        ends = (CLIENT, SERVER) if client else (SERVER, (CLIENT[0], CLIENT[1] + wait))
        packet = tcp(*ends, sequence, acknowledgment if flags & ACK else None, flags, data)
        time_ns += 10 ** (wait * 4)
        segment = decode(Packet(time_ns, 101, packet, len(packet)))
        assert segment is not None
        told += reassembler.feed(segment)
        assert 0 <= reassembler.buffered <= 1200
    told += reassembler.finish()
    assert reassembler.buffered == 0
    flows = list(range(1, reassembler.flows + 1))
    for flow in flows:
        Streams(told, flow)
    assert [event.flow for event in told if isinstance(event, Open)] == flows
    closed = [event.flow for event in told if isinstance(event, Close)]
    assert set(closed) <= set(flows)
    assert len(closed) == len(set(closed))
