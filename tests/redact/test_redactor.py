from __future__ import annotations

import hashlib
import hmac
from typing import Any, Literal

import msgspec
import pytest

from apisensor.content import codings
from apisensor.content.inspector import Inspector
from apisensor.content.lines import LINES_KEPT
from apisensor.events.model import Address, Binding
from apisensor.protocols.counted import Passed
from apisensor.redact.ids import IdSource
from apisensor.redact.redactor import INVALID_UTF8, Redactor
from apisensor.transactions.model import Auth, Exchange, Header, Messages, Request, Sensitive, Transaction
from tests.content.exchanges import FORM, exchange
from tests.content.tokens import basic, jwt

KEY = bytes(range(32))


def transaction(raw: Exchange, **options: Any) -> Transaction:
    return Redactor(KEY, IdSource(b"seed"), **options).transaction(raw, Inspector().inspect(raw))


def test_plain_exchange() -> None:
    raw = exchange(
        [(b"Host", b"api.example.com"), (b"Accept", b"*/*")],
        [(b"Server", b"nginx")],
        target=b"/x?page=1",
        body=b"12",
        response_body=b"123",
        stream_id=7,
        anomalies=["odd"],
        incomplete_reason="ring_full",
    )
    out = transaction(raw)
    ids = IdSource(b"seed")
    span_id, trace_id = ids.span_id(), ids.trace_id()
    assert out == Transaction(
        id=span_id,
        protocol="http/1.1",
        side="server",
        method="GET",
        scheme="https",
        authority="api.example.com",
        path="/x?page=1",
        request_lines=b'[["Host","api.example.com"],["Accept","*/*"]]',
        response_lines=b'[["Server","nginx"]]',
        request_trailers=[],
        response_trailers=[],
        status=200,
        grpc_status=None,
        request_body_size=2,
        response_body_size=3,
        client=Address("10.0.0.2", 50000),
        server=Address("10.0.0.1", 443),
        auth=None,
        sensitive=[],
        binding="set_fd",
        pid=4711,
        start_ns=1000,
        duration_ns=4000,
        ttfb_ns=2000,
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=None,
        anomalies=["odd"],
        incomplete_reason="ring_full",
        stream_id=7,
        conn_id="def",
        flow_id="abc",
        encrypted=True,
    )


def test_nothing_was_seen_of_it() -> None:
    raw = exchange()
    raw.request = Request(start_ns=5, end_ns=6)
    raw.response = raw.connection = raw.local = raw.remote = raw.binding = None
    raw.tls = False
    out = transaction(raw)
    absent = (out.method, out.authority, out.path, out.request_headers, out.response_headers, out.status)
    assert absent == (None,) * 6
    assert (out.duration_ns, out.ttfb_ns, out.response_body_size, out.client, out.server) == (None,) * 5
    assert (out.conn_id, out.binding, out.scheme) == (None, None, "http")


@pytest.mark.parametrize(
    ("side", "client"),
    [("client", "10.0.0.1"), ("server", "10.0.0.2"), ("network", "10.0.0.1")],
)
def test_sides(side: Literal["client", "server", "network"], client: str) -> None:
    out = transaction(exchange(side=side))
    assert out.client is not None
    assert out.server is not None
    assert out.client.address == client
    assert {out.client.address, out.server.address} == {"10.0.0.1", "10.0.0.2"}


@pytest.mark.parametrize("binding", list(Binding))
def test_bindings(binding: Binding) -> None:
    assert transaction(exchange(binding=binding)).binding == binding.name.lower()


@pytest.mark.parametrize(
    ("said", "tls", "scheme"),
    [
        (None, True, "https"),
        (None, False, "http"),
        (b"http", True, "http"),
        (b"https", False, "https"),
        (b"x", True, "x"),
    ],
)
def test_scheme(said: bytes | None, tls: bool, scheme: str) -> None:
    assert transaction(exchange(request={"scheme": said}, tls=tls)).scheme == scheme


def test_a_clock_that_went_back_gives_no_durations() -> None:
    out = transaction(exchange(response={"start_ns": 500, "end_ns": 900}))
    assert (out.duration_ns, out.ttfb_ns) == (None, None)


@pytest.mark.parametrize(
    ("protocol", "headers", "trailers", "status"),
    [
        ("grpc", [], [(b"grpc-status", b"0")], 0),
        ("grpc", [], [(b"Grpc-Status", b"14"), (b"grpc-message", b"x")], 14),
        ("grpc", [(b"grpc-status", b"5")], [], 5),
        ("grpc", [(b"grpc-status", b"5")], [(b"grpc-status", b"7")], 7),
        ("grpc", [], [(b"grpc-status", b"-1")], None),
        ("grpc", [], [(b"grpc-status", b"12345678901")], None),
        ("grpc", [], [(b"grpc-status", None)], None),
        ("grpc", [], [], None),
        ("http/1.1", [(b"grpc-status", b"5")], [], None),
        ("h2", [], [(b"grpc-status", b"5")], 5),
    ],
)
def test_grpc_status(protocol: str, headers: list[Header], trailers: list[Header], status: int | None) -> None:
    out = transaction(exchange([], headers, protocol=protocol, response={"trailers": trailers}))
    assert out.grpc_status == status


def test_grpc_web_without_content_has_its_status_in_the_head() -> None:
    out = transaction(exchange([], [(b"grpc-status", b"5")], response={"messages": Passed("grpc-web", 0)}))
    assert out.grpc_status == 5
    assert out.messages == Messages(None, Passed("grpc-web", 0))


@pytest.mark.parametrize(
    ("line", "scheme", "identity"),
    [
        ((b"Authorization", basic("alice", "x")), "basic", b"alice"),
        ((b"Authorization", b"Bearer " + jwt(sub="alice")), "bearer", b"alice"),
        ((b"X-Api-Key", b"k"), "api_key", b"k"),
        ((b"Cookie", b"sid=s"), "cookie", b"s"),
    ],
)
@pytest.mark.parametrize("reveal", [False, True])
def test_identity_is_a_keyed_hash(line: Header, scheme: str, identity: bytes, reveal: bool) -> None:
    digest = hmac.new(KEY, identity, hashlib.sha256).hexdigest()[:32]
    assert transaction(exchange([line]), reveal=reveal).auth == Auth(scheme, digest)


@pytest.mark.parametrize("size", [1, 32, 64, 65, 200])
def test_identity_hash_is_hmac_for_any_key(size: int) -> None:
    raw = exchange([(b"X-Api-Key", b"k")])
    out = Redactor(b"x" * size, IdSource()).transaction(raw, Inspector().inspect(raw))
    assert out.auth is not None
    assert out.auth.identity == hmac.new(b"x" * size, b"k", hashlib.sha256).hexdigest()[:32]


def test_scheme_that_names_nobody() -> None:
    assert transaction(exchange([(b"Authorization", b"Negotiate YII=")])).auth == Auth("negotiate", None)


def test_redacted_and_revealed() -> None:
    headers: list[Header] = [(b"Accept", b"*/*"), (b"Authorization", b"Bearer t"), (b"Cookie", b"a=1; b=2")]
    raw = exchange(headers, target=b"/u/alice@example.com?token=t&x=1", request={"authority": b"u:p@h"})
    hidden, shown = transaction(raw), transaction(raw, reveal=True)
    assert hidden.path == "/u/a***@example.com?token=[redacted]&x=1"
    assert hidden.authority == "[redacted]@h"
    assert hidden.request_headers == [
        ("Accept", "*/*"),
        ("Authorization", "Bearer [redacted]"),
        ("Cookie", "a=[redacted]; b=[redacted]"),
    ]
    assert shown.path == "/u/alice@example.com?token=t&x=1"
    assert shown.authority == "u:p@h"
    assert shown.request_headers == [(name.decode(), value.decode()) for name, value in headers if name and value]
    assert hidden.sensitive == shown.sensitive
    assert Sensitive("email", "request.path", 1) in hidden.sensitive


def test_text_that_is_no_utf8() -> None:
    raw = exchange([(b"X-Note", b"a\xffb"), (b"X-Other", "é".encode())], target=b"/\xe9", anomalies=["odd"])
    redactor, inspector = Redactor(KEY, IdSource()), Inspector()
    for _ in range(2):  # it is said each time, remembered lines or not
        out = redactor.transaction(raw, inspector.inspect(raw))
        assert out.request_headers == [("X-Note", "a\ufffdb"), ("X-Other", "é")]
        assert out.path == "/\ufffd"
        assert out.anomalies == ["odd", INVALID_UTF8]
        assert msgspec.json.decode(msgspec.json.encode(out))
    assert raw.anomalies == ["odd"]
    clean = exchange([(b"X-Other", "é".encode())])
    assert redactor.transaction(clean, inspector.inspect(clean)).anomalies == []


def test_unknown_fields_stay_unknown() -> None:
    out = transaction(exchange([(None, b"x"), (b"x-note", None), (None, None)]))
    assert out.request_headers == [(None, "[redacted]"), ("x-note", None), (None, None)]


def test_memory_is_bounded_and_holds_no_secret() -> None:
    redactor, inspector = Redactor(KEY, IdSource()), Inspector()
    for number in range(LINES_KEPT + 100):
        raw = exchange([(b"X-Request-Id", b"%d" % number), (b"X-Note", b"u%d@example.com" % number)])
        redactor.transaction(raw, inspector.inspect(raw))
        assert len(redactor._text._lines) <= LINES_KEPT
    assert not any(b"@" in (value or b"") for _, value in redactor._text._lines)


def test_trace_context() -> None:
    parent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    out = transaction(exchange([(b"Traceparent", parent), (b"tracestate", b"a=1"), (b"tracestate", b"b=2")]))
    assert out.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert out.parent_span_id == "b7ad6b7169203331"
    assert (out.trace_flags, out.trace_state) == (0, "a=1,b=2")
    assert out.span_id not in (out.parent_span_id, "0" * 16)
    out = transaction(exchange([(b"traceparent", parent), (b"traceparent", parent), (b"tracestate", b"a=1")]))
    assert (out.parent_span_id, out.trace_flags, out.trace_state) == (None, 1, "")
    assert out.trace_id != "0af7651916cd43dd8448eb211c80319c"


def test_seeded_ids_repeat_and_random_ones_do_not() -> None:
    raw = exchange()
    assert transaction(raw) == transaction(raw)
    insight = Inspector().inspect(raw)
    redactor = Redactor(KEY, IdSource())
    out = [redactor.transaction(raw, insight) for _ in range(2000)]
    assert len({one.id for one in out}) == len({one.trace_id for one in out}) == 2000
    assert all(one.id == one.span_id and len(one.id) == 16 and len(one.trace_id) == 32 for one in out)


def test_a_user_is_the_same_in_a_login_form_and_in_basic_authentication() -> None:
    by_form = transaction(exchange([FORM], body=b"username=alice&password=x"))
    by_header = transaction(exchange([(b"Authorization", basic("alice", "other"))]))
    assert by_header.auth is not None
    assert by_form.login_identity == by_header.auth.identity
    assert by_form.login_identity == hmac.new(KEY, b"alice", hashlib.sha256).hexdigest()[:32]
    assert (by_form.auth, by_header.login_identity) == (None, None)
    assert "alice" not in repr(by_form)


def test_what_kept_a_body_from_being_looked_at_is_said() -> None:
    raw = exchange([(b"Content-Encoding", b"compress"), (b"X-Note", b"\xff")], body=b"x", anomalies=["odd"])
    assert transaction(raw).anomalies == ["odd", codings.UNKNOWN, INVALID_UTF8]
    assert raw.anomalies == ["odd"]
