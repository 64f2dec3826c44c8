from __future__ import annotations

import re
import time
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apisensor.events.model import Address
from apisensor.live.line import LineFormat
from apisensor.live.public import PublicFinding, PublicTransaction, decode_line, view
from apisensor.live.text import columns
from apisensor.transactions.json_form import json_line, public
from apisensor.transactions.model import Operation, Process, Transaction
from tests.live.transactions import transaction


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def line(t: Transaction, width: int | None = None, color: bool = False) -> str:
    return LineFormat(width, color).transaction(view(t))


def test_a_line_tells_everything() -> None:
    assert line(transaction()) == (
        "22:13:21.000 → checkout/4242 GET 🔒 api.example.com/users/12?limit=5"
        " 200   12ms    0B  1.2k http/1.1 192.0.2.7:443"
    )


def test_the_view_is_the_json_line_read_back() -> None:
    t = transaction(route="/users/{id}", grpc_status=0, stream_id=3)
    assert view(t) == decode_line(json_line(t))


def test_the_view_has_every_documented_field() -> None:
    names = set(public(transaction())) - {"kind"}
    assert names == set(PublicTransaction.__struct_fields__)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"side": "server"}, "← checkout/4242"),
        ({"side": "server"}, "192.0.2.1:40000"),
        ({"side": "network", "process": None, "pid": 0}, "192.0.2.1:40000>192.0.2.7:443"),
        ({"server": None}, "unbound"),
        ({"server": Address("2001:db8::1", 443)}, "[2001:db8::1]:443"),
        ({"status": None, "duration_ns": None, "response_body_size": None}, "5   -      -    0B     -"),
        ({"incomplete_reason": "ring_full"}, "!ring_full"),
        ({"anomalies": ["header-bytes-limit"]}, "~header-bytes-limit"),
        ({"grpc_status": 14}, "200 grpc:14"),
        ({"operations": [Operation("graphql", "query", "Feed")]}, "limit=5 {graphql query Feed} 200"),
        ({"operations": [Operation("mcp", "call", "tools/call", "x\n")] * 3}, " {mcp call tools/call x\\x0a +2} 200"),
        ({"operations": [Operation("form", fields=["a"])]}, "limit=5 200"),
        ({"server": Address("/run/\x1b.socket", None)}, "unix:/run/\\x1b.socket"),
        ({"side": "server", "client": Address("", None, 7)}, "http/1.1 unix:"),
        ({"method": None, "path": None}, "? 🔒 api.example.com?"),
        ({"process": Process(pid=7, executable="/usr/sbin/nginx")}, "nginx/7"),
        ({"process": Process(pid=7)}, "?/7"),
        ({"scheme": "http"}, "GET    api.example.com"),
        ({"path": "/\x1b]0;title\x07\u202e"}, "/\\x1b]0;title\\x07\\u202e"),
        ({"authority": "a\r\n22:00:00 forged"}, "a\\x0d\\x0a22:00:00 forged"),
        ({"process": Process(pid=7, service="\x1b[2J")}, "\\x1b[2J/7"),
    ],
)
def test_parts(changes: dict[str, object], part: str) -> None:
    assert part in line(transaction(**changes))


texts = st.text(max_size=60)


@given(
    st.integers(40, 250),
    st.booleans(),
    st.builds(
        transaction,
        method=st.none() | texts,
        authority=st.none() | texts,
        path=st.none() | texts,
        protocol=texts,
        anomalies=st.lists(texts, max_size=2),
        status=st.none() | st.integers(100, 599),
        duration_ns=st.none() | st.integers(0, 10**14),
        request_body_size=st.integers(0, 10**14),
        side=st.sampled_from(["client", "server", "network"]),
        process=st.none() | st.builds(Process, pid=st.integers(1, 4_194_304), service=st.none() | texts),
    ),
)
def test_whatever_the_traffic_says_a_line_is_one_line(width: int, color: bool, t: Transaction) -> None:
    shown = line(t, width, color)
    assert len(shown.splitlines()) == 1
    plain = re.sub(r"\x1b\[\d*m", "", shown)
    assert plain.isprintable()
    assert color or shown == plain
    if not t.anomalies:
        assert columns(plain) <= max(width, 68)


@pytest.mark.parametrize("width", range(68, 240))
def test_lines_fit_the_terminal(width: int) -> None:
    for t in (transaction(), transaction(path="/" + "x" * 300), transaction(method="PROPPATCH", grpc_status=2)):
        assert columns(line(t, width)) <= width


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (80, "127.0.0…/orders/4242/ite…"),
        (100, "127.0.0.1:1…/orders/4242/items/7?x=1"),
        (140, "127.0.0.1:18999/orders/"),
    ],
)
def test_a_narrow_line_cuts_the_host_before_the_path(width: int, shown: str) -> None:
    t = transaction(authority="127.0.0.1:18999", path="/orders/4242/items/7?x=1", scheme="http")
    assert shown in line(t, width)


@pytest.mark.parametrize(
    ("grpc_status", "shown"), [(0, "\x1b[32m200\x1b[0m\x1b[32m grpc:0\x1b[0m"), (7, "200\x1b[31m grpc:7\x1b[0m")]
)
def test_a_failed_grpc_call_does_not_look_well(grpc_status: int, shown: str) -> None:
    assert shown in line(transaction(grpc_status=grpc_status), color=True)


def test_colours_and_ascii() -> None:
    shown = LineFormat(None, True).transaction(view(transaction(status=503)))
    assert "\x1b[31m503\x1b[0m" in shown
    ascii_only = LineFormat(None, False, unicode=False).transaction(view(transaction()))
    assert ascii_only.isascii()
    assert " > checkout/4242 GET s  api" in ascii_only


def test_notes_are_escaped_and_cut() -> None:
    assert LineFormat(20, False).note("12345678901234567890") == "-- 1234567890123456…"
    assert LineFormat(None, False).note("a\x1bb") == "-- a\\x1bb"


def test_a_time_of_another_form_is_shown_as_it_is() -> None:
    odd = msgspec.structs.replace(view(transaction()), start_time="yesterday\x1b")
    assert LineFormat(None, False).transaction(odd).startswith("yesterday\\x… ")


def test_a_finding_says_what_where_and_who() -> None:
    found = PublicFinding(
        id="00ff",
        rule="x",
        severity="high",
        title="Too many \x1b[2J failures",
        category="API2:2023",
        time="2026-01-02T03:04:05.678900000Z",
        service="shop",
        route="POST /login",
        client="192.0.2.7",
        count=12,
    )
    line = LineFormat(None, color=False).finding(found)
    assert line.endswith(".678 ⚠ HIGH Too many \\x1b[2J failures (12 times) [shop POST /login, client 192.0.2.7] 00ff")
    assert LineFormat(40, color=False, unicode=False).finding(found).endswith(" 00ff")
    assert "\x1b[31m" in LineFormat(None, color=True).finding(found)
    grown = msgspec.structs.replace(found, last_time="2026-01-02T03:09:00.000000000Z")
    assert LineFormat(None, color=False).finding(grown).startswith("03:09:00.000 ")
