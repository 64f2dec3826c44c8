"""Both views of a call inside the node count once; nothing that is offered is lost or comes out twice."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from apisensor.enrich.model import View
from apisensor.enrich.views import SLOW_NS, TWIN_NS, Views
from apisensor.events.model import Address
from apisensor.transactions.model import Transaction
from tests.live.transactions import transaction

MS = 1_000_000
OUTSIDE = "192.0.2.7"


def call(
    side: str, number: int, *, client: str = "127.0.0.1", server: str = "127.0.0.1", port: int = 80
) -> Transaction:
    return transaction(
        id=f"{side}{number}",
        side=side,
        path=f"/{number}",
        client=Address(client, 40_000),
        server=Address(server, port),
        stream_id=None,
    )


def told(views: list[View]) -> list[tuple[str, bool, str | None]]:
    return [(v.transaction.id, v.counted, v.twin.id if v.twin is not None else None) for v in views]


PAIR = [("server1", True, "client1"), ("client1", False, "server1")]


def test_either_may_be_first() -> None:
    for first, second in (("server", "client"), ("client", "server")):
        views = Views()
        assert views.offer(call(first, 1), 0) == []
        assert told(views.offer(call(second, 1), 300 * MS)) == PAIR
        assert told(views.drain()) == []
        assert views.joined == 1


def test_repeated_calls_on_one_connection_pair_in_their_order() -> None:
    views = Views()
    first, second = call("client", 1), call("client", 1)
    second.id = "client1b"
    views.offer(first, 0)
    views.offer(second, 0)
    assert told(views.offer(call("server", 1), 0)) == PAIR
    assert told(views.offer(call("server", 1), 0)) == [("server1", True, "client1b"), ("client1b", False, "server1")]


def test_unix_sockets_of_one_server_are_told_apart() -> None:
    """Their clients have no name; each has a number that the server's view of the same connection has too."""

    def at(side: str, number: int, pair: int) -> Transaction:
        made = call(side, number)
        made.client, made.server = Address("", None, pair), Address("/run/shop.socket", None)
        made.path = "/same"
        return made

    views = Views()
    assert views.offer(at("server", 1, 11), 0) == []
    assert views.offer(at("client", 2, 22), 0) == []
    assert told(views.offer(at("client", 1, 11), 0)) == PAIR
    assert told(views.offer(at("server", 2, 22), 0)) == [("server2", True, "client2"), ("client2", False, "server2")]


def test_streams_of_one_connection_are_told_apart() -> None:
    views = Views()
    streams = [call("client", 1), call("client", 1)]
    for t, stream in zip(streams, (1, 3), strict=True):
        t.stream_id = stream
        t.id = f"client-{stream}"
        views.offer(t, 0)
    server = call("server", 1)
    server.stream_id = 3
    assert told(views.offer(server, 0))[1] == ("client-3", False, "server1")


def test_a_call_from_outside_counts_at_once() -> None:
    assert told(Views().offer(call("server", 1, client=OUTSIDE), 0)) == [("server1", True, None)]


def test_a_call_that_leaves_the_node_counts_after_a_moment() -> None:
    views = Views()
    assert views.offer(call("client", 1, server=OUTSIDE), 0) == []
    assert told(views.expired(TWIN_NS - 1)) == []
    assert told(views.expired(TWIN_NS)) == [("client1", True, None)]
    assert len(views) == 0


def test_from_an_address_of_the_node_the_server_waits_for_its_client() -> None:
    views = Views()
    views.offer(call("client", 1, client="10.0.0.5", server=OUTSIDE), 0)
    assert told(views.offer(call("server", 2, client="10.0.0.5", server="10.0.0.5"), 0)) == []


def test_a_client_that_left_early_waits_for_its_slow_server() -> None:
    views = Views()
    views.offer(call("server", 1), 0)
    views.offer(call("client", 1), 0)
    views.offer(call("client", 2), 0)
    assert views.expired(SLOW_NS - 1) == []
    assert told(views.offer(call("server", 2), SLOW_NS - 1)) == [
        ("server2", True, "client2"),
        ("client2", False, "server2"),
    ]


def test_a_late_client_does_not_count_again() -> None:
    views = Views()
    views.offer(call("server", 1), 0)
    assert told(views.expired(TWIN_NS)) == [("server1", True, None)]
    assert told(views.offer(call("client", 1), TWIN_NS + 1)) == [("client1", False, "server1")]
    assert views.expired(2 * SLOW_NS) == []
    assert len(views) == 0


CLIENT_END, SERVER_END = (0xFFFFFFFF, 70), (70, 0)
"""Where each end's sequence numbers begin, sent and received: the client's SYN had the last there is."""


def translated(side: str, ends: tuple[int, int]) -> Transaction:
    """A call to a published port: the client's socket names another address than the server's, on either side."""
    theirs = {"client": ("127.0.0.1", "127.0.0.1", 8080), "server": ("10.88.0.1", "10.88.0.2", 80)}
    client, server, port = theirs[side]
    t = call(side, 1, client=client, server=server, port=port)
    t.conn_id = f"{ends[0] << 32 | ends[1]:x}"
    return t


def test_addresses_that_are_translated_on_the_way_do_not_part_the_views() -> None:
    client, server = translated("client", CLIENT_END), translated("server", SERVER_END)
    views = Views()
    assert views.offer(client, 0) == []
    assert told(views.offer(server, 300 * MS)) == PAIR
    assert views.drain() == []
    # The server does not know that its client is here: its view goes on at once, and is still known.
    views = Views()
    assert told(views.offer(server, 0)) == [("server1", True, None)]
    assert told(views.offer(client, 300 * MS)) == [("client1", False, "server1")]
    assert (views.drain(), len(views), views.joined) == ([], 0, 1)


def test_sequence_numbers_that_do_not_fit_join_nothing() -> None:
    for ends in ((69, 0), (70, 1), (0, 70), (70, 0xFFFFFFFF)):
        views = Views()
        views.offer(translated("client", CLIENT_END), 0)
        assert told(views.offer(translated("server", ends), 0)) == [("server1", True, None)]
        assert told(views.drain()) == [("client1", True, None)]


def test_sequence_numbers_tell_connections_with_the_same_addresses_apart() -> None:
    """As in two network namespaces at once."""
    views = Views()
    for number, ends in enumerate(((5, 9), CLIENT_END)):
        t = call("client", 1)
        t.id, t.conn_id = f"client-{number}", f"{ends[0] << 32 | ends[1]:x}"
        views.offer(t, 0)
    server = call("server", 1)
    server.conn_id = f"{SERVER_END[0] << 32 | SERVER_END[1]:x}"
    assert told(views.offer(server, 0))[1] == ("client-1", False, "server1")


def test_what_has_no_ends_or_no_process_counts_at_once() -> None:
    views = Views()
    for change in ({"client": None}, {"server": None}, {"side": "network"}):
        t = msgspec.structs.replace(call("client", 1), **change)
        assert told(views.offer(t, 0)) == [("client1", True, None)]


def test_bound() -> None:
    views = Views(held=2)
    out = [views.offer(call("client", number), 0) for number in range(4)]
    assert [told(some) for some in out] == [[], [], [("client0", True, None)], [("client1", True, None)]]
    assert (len(views), views.overflowed) == (2, 2)


@given(
    st.lists(st.tuples(st.sampled_from(["server", "client"]), st.integers(0, 3), st.integers(0, SLOW_NS)), max_size=40)
)
def test_everything_comes_out_once(offers: list[tuple[str, int, int]]) -> None:
    views, now, out = Views(held=6), 0, []
    for index, (side, number, pause) in enumerate(offers):
        now += pause
        t = call(side, number)
        t.id = f"{side}-{index}"
        out += views.offer(t, now)
    out += views.drain()
    assert Counter(v.transaction.id for v in out) == {f"{side}-{index}": 1 for index, (side, _, _) in enumerate(offers)}
    assert all(v.counted or v.transaction.side == "client" for v in out)
    assert all(v.twin is None or v.twin.side != v.transaction.side for v in out)


def test_a_busy_node_in_any_order_counts_each_call_once() -> None:
    views, shuffled = Views(), random.Random(7)
    offers = [call(side, number) for number in range(500) for side in ("server", "client")]
    offers.sort(key=lambda t: int(t.id[6:]) + shuffled.uniform(0, 50))
    out = [view for index, t in enumerate(offers) for view in views.offer(t, index * MS)] + views.drain()
    assert Counter(view.counted for view in out) == {True: 500, False: 500}
    assert all((view.transaction.side == "server") == view.counted for view in out)
