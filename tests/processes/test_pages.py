"""The sums over packets: whoever dies, every transaction is received, or lost once and counted."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from apisensor.processes.link import Link, pair
from apisensor.processes.pages import ACCOUNTED, CoreCount, Packet, WorkerCount, account, make, map_page
from apisensor.processes.worker import Outbox
from apisensor.transactions.counts import Count
from tests.export.records import call as transaction


def _page() -> memoryview:
    return map_page(make("test"), write=True)


def _packet(sent: int, count: int, begun: int | None = None) -> Packet:
    return Packet(sent, [transaction()] * count, begun)


def test_packets_in_order_lose_nothing() -> None:
    page = _page()
    for packet in (_packet(0, 0, 0), _packet(3, 3), _packet(5, 2), _packet(5, 0)):
        account(page, 0, packet)
    assert page[CoreCount.RECEIVED] == 5
    assert page[CoreCount.LOST_WITH_WORKER] == page[CoreCount.LOST_ON_THE_WAY] == 0


def test_a_packet_that_died_with_a_core_is_seen_by_the_next() -> None:
    page = _page()
    account(page, 1, _packet(0, 0, 0))
    account(page, 1, _packet(3, 3))
    account(page, 1, _packet(9, 2))  # one of 4 never arrived
    assert page[CoreCount.LOST_ON_THE_WAY] == 4
    assert page[CoreCount.RECEIVED] == 5
    assert page[ACCOUNTED + 1] == 9


def test_what_a_worker_had_begun_is_lost_with_it() -> None:
    page = _page()
    account(page, 0, _packet(0, 0, 0))
    account(page, 0, _packet(3, 3))
    # It had begun 10, and a packet of 2 was under way when it died, sent or not: 7 are lost either way.
    account(page, 0, _packet(10, 0, 10))
    account(page, 0, _packet(11, 1))
    assert page[CoreCount.LOST_WITH_WORKER] == 7
    assert page[CoreCount.RECEIVED] == 4


@given(st.lists(st.tuples(st.sampled_from("sdkc"), st.integers(1, 5)), max_size=40))
def test_begun_is_received_or_lost_whatever_dies(steps: list[tuple[str, int]]) -> None:
    """s: sent and received; d: sent, and core dies with it; k: begun, and the worker dies; c: dropped and counted."""
    worker, core = _page(), _page()
    ours, theirs = pair()
    outbox, reader = Outbox(Link(ours), worker), Link(theirs)
    decode = msgspec.msgpack.Decoder(Packet).decode

    def receive(dies: bool) -> None:
        outbox.flush()
        while (received := reader.receive()) is not None:
            packet = decode(received[0])
            if not (dies and packet.transactions):
                account(core, 0, packet)

    for step, count in steps:
        worker[Count.REQUESTS_BEGUN] += count
        if step == "c":
            worker[WorkerCount.FAILED] += count
        elif step == "k":
            outbox = Outbox(Link(ours), worker)
            receive(dies=False)
        else:
            for _ in range(count):
                outbox.put(transaction())
            receive(dies=step == "d")
    outbox.flush()
    outbox.tell()
    receive(dies=False)
    lost = core[CoreCount.LOST_WITH_WORKER] + core[CoreCount.LOST_ON_THE_WAY]
    assert worker[Count.REQUESTS_BEGUN] == core[CoreCount.RECEIVED] + lost + worker[WorkerCount.FAILED]


def test_heads_as_large_as_servers_take_them_fit_whatever_they_hold() -> None:
    worker = _page()
    ours, theirs = pair()
    outbox = Outbox(Link(ours), worker)
    odd = [("x", "\x01" * (64 << 10))]
    outbox.put(transaction(request_headers=odd))
    outbox.flush()
    reader, decode = Link(theirs), msgspec.msgpack.Decoder(Packet).decode
    received = [decode(packet[0]) for packet in iter(reader.receive, None)]
    assert [t.request_headers for packet in received for t in packet.transactions] == [odd]
    assert worker[WorkerCount.DROPPED_CORE_BEHIND] == 0
