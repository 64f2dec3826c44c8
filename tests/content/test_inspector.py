from __future__ import annotations

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.content.inspector import Inspector
from apisensor.content.lines import LINES_KEPT
from apisensor.content.model import Insight
from apisensor.transactions.model import Header
from tests.content.exchanges import FORM, JSON, exchange
from tests.content.tokens import basic, jwt

inspect = Inspector().inspect

SENSITIVE_JSON = (
    b'{"password": "x", "email": "joe@example.com", "cc": "joe@example.org", "card": "4111 1111 1111 1111", '
    b'"access_token": "abc", "empty_token": "", "no_token": null, "max_tokens": 5, "session": {"id": 1}}'
)


def counts(insight: Insight) -> dict[tuple[str, str], int]:
    return {(found.place, found.kind): found.count for found in insight.sensitive}


def test_nothing() -> None:
    insight = inspect(exchange([(b"Accept", b"*/*")], [(b"Server", b"nginx")], target=b"/x?page=1"))
    assert insight == Insight()


def test_without_response_and_heads() -> None:
    assert inspect(exchange(request={"headers": None, "target": None, "authority": None}, response={"headers": None}))
    raw = exchange()
    raw.response = None
    raw.request.method = None
    assert inspect(raw) == Insight()


@pytest.mark.parametrize(
    ("headers", "target", "scheme", "identity"),
    [
        ([(b"Authorization", basic("alice", "x"))], b"/", "basic", b"alice"),
        ([(b"authorization", b"Bearer " + jwt(sub="bob"))], b"/", "bearer", b"bob"),
        ([(b"X-API-Key", b"k1")], b"/", "api_key", b"k1"),
        ([(b"apikey", b"k1")], b"/", "api_key", b"k1"),
        ([(b"X-Auth-Token", b"k1")], b"/", "api_key", b"k1"),
        ([], b"/x?a=1&api_key=k2", "api_key", b"k2"),
        ([], b"/x?access_token=k2", "bearer", b"k2"),
        (
            [],
            b"/x?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F2025&X-Amz-Signature=0",
            "aws4-hmac-sha256",
            b"AKIAIOSFODNN7EXAMPLE",
        ),
        ([(b"Cookie", b"a=b; sessionid=s1")], b"/", "cookie", b"s1"),
        ([(b"Cookie", b"session=" + jwt(sub="eve"))], b"/", "cookie", b"eve"),
        ([(b"Cookie", b"theme=dark")], b"/", None, None),
        ([(b"X-CSRF-Token", b"k1")], b"/", None, None),
        ([(b"Authorization", b"")], b"/", None, None),
        # of several
        ([(b"Cookie", b"sid=s"), (b"X-Api-Key", b"k"), (b"Authorization", b"Bearer t")], b"/?key=q", "bearer", b"t"),
        ([(b"Cookie", b"sid=s"), (b"X-Api-Key", b"k")], b"/?key=q", "api_key", b"k"),
        ([(b"Cookie", b"sid=s")], b"/?key=q", "api_key", b"q"),
        ([(b"Proxy-Authorization", b"Bearer p"), (b"Cookie", b"sid=s")], b"/", "cookie", b"s"),
        ([(b"Proxy-Authorization", b"Bearer p")], b"/", "bearer", b"p"),
    ],
)
def test_identity(headers: list[Header], target: bytes, scheme: str | None, identity: bytes | None) -> None:
    for _ in range(2):  # the second time with everything clean remembered
        insight = inspect(exchange(headers, target=target))
        assert (insight.auth_scheme, insight.identity) == (scheme, identity)


def test_response_fields_authenticate_nobody() -> None:
    assert inspect(exchange([], [(b"X-Auth-Token", b"x"), (b"Set-Cookie", b"sid=1")])).auth_scheme is None


def test_repr_has_no_identity() -> None:
    assert "alice" not in repr(inspect(exchange([(b"Authorization", basic("alice", "x"))])))


def test_counts_by_place() -> None:
    insight = inspect(
        exchange(
            [JSON, (b"Authorization", b"Bearer " + jwt(sub="x")), (b"X-Note", b"joe@example.com")],
            [JSON, (b"Set-Cookie", b"sid=1; Path=/")],
            target=b"/u/joe@example.com?token=abc",
            body=SENSITIVE_JSON,
            response_body=b'["joe@example.com"]',
            request={"trailers": [(b"X-Note", b"AKIAIOSFODNN7EXAMPLE")]},
        )
    )
    assert counts(insight) == {
        ("request.path", "email"): 1,
        ("request.query", "token"): 1,
        ("request.header", "jwt"): 1,
        ("request.header", "email"): 1,
        ("request.header", "api_key"): 1,
        ("request.body", "password"): 1,
        ("request.body", "email"): 2,
        ("request.body", "credit_card"): 1,
        ("request.body", "token"): 1,
        ("response.header", "session"): 1,
        ("response.body", "email"): 1,
    }
    assert [found.place for found in insight.sensitive][:2] == ["request.path", "request.query"]


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ([FORM], b"user=joe%40example.com&password=a%26b&x=1", {"email": 1, "password": 1}),
        ([FORM], b"password=&x=1", {}),
        ([(b"Content-Type", b"text/html")], b"var token = get(); joe@example.com", {"email": 1}),
        ([(b"Content-Type", b"image/png")], b"joe@example.com", {}),
        ([(b"Content-Type", b"application/grpc")], b"joe@example.com", {}),
        ([], b"joe@example.com", {"email": 1}),
        ([JSON, (b"Content-Encoding", b"identity")], b'"joe@example.com"', {"email": 1}),
        ([JSON, (b"Content-Encoding", b"gzip")], gzip.compress(b"joe@example.com"), {"email": 1}),
        ([(b"content-encoding", b"br"), JSON], b"joe@example.com", {}),
        ([JSON], b'{"a":"' + jwt(sub="x") + b'","key":"-----BEGIN PRIVATE KEY-----"}', {"jwt": 1, "private_key": 1}),
        ([JSON], b'{"inner":"{\\"password\\":\\"x\\"}"}', {"password": 1}),
        ([JSON], b'["' + b'a@example.com","' * 1500 + b'"]', {"email": 1000}),
    ],
)
def test_bodies(headers: list[Header], body: bytes, expected: dict[str, int]) -> None:
    for _ in range(2):
        insight = inspect(exchange(headers, body=body))
        assert counts(insight) == {("request.body", kind): count for kind, count in expected.items()}
        insight = inspect(exchange([], headers, response_body=body))
        assert counts(insight) == {("response.body", kind): count for kind, count in expected.items()}


def test_marks_point_at_the_line() -> None:
    insight = inspect(exchange([(b"Accept", b"*/*"), (b"X-Note", b"say joe@example.com"), (b"Accept", b"*/*")]))
    assert insight.request_headers == {1: ([], [(4, 19, "email")])}


def test_unknown_parts_of_fields() -> None:
    headers: list[Header] = [(None, b"abc"), (b"x-note", None), (None, None), (b"joe@example.com", None)]
    for _ in range(2):
        assert inspect(exchange(headers)).request_headers == {
            0: ([], [(0, 3, "")]),
            3: ([(0, 15, "email")], []),
        }


def test_trace_fields_are_kept() -> None:
    insight = inspect(
        exchange([(b"TraceParent", b"x"), (b"tracestate", b"a=1"), (b"tracestate", b"b=joe@example.com")])
    )
    assert insight.traceparent == (b"x",)
    assert insight.tracestate == (b"a=1",)


def test_memory_is_bounded_and_holds_no_secret() -> None:
    inspector = Inspector()
    for number in range(LINES_KEPT + 100):
        inspector.inspect(exchange([(b"X-Request-Id", b"%d" % number), (b"X-Note", b"u%d@example.com" % number)]))
        assert len(inspector._clean) <= LINES_KEPT
    inspector.inspect(exchange([(b"X-Note", b"x" * 5000), (b"Authorization", b"Bearer t"), (b"Cookie", b"a=b")]))
    kept = b"".join(part for line in inspector._clean for part in line if part is not None)
    assert b"@" not in kept
    assert b"Bearer" not in kept
    assert b"a=b" not in kept
    assert b"xxxx" not in kept


NAMES = st.sampled_from([b"X-Note", b"Cookie", b"Authorization", b"X-Api-Key", b"Content-Type", b"traceparent", b"q"])
VALUES = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(
        [b"joe@example.com", b"a=b; sid=1", b"Bearer x", b"4111111111111111", b"%34111111111111111", b"gzip"]
    ),
)
LINES = st.lists(st.tuples(st.one_of(st.none(), NAMES), st.one_of(st.none(), VALUES)), max_size=6)


@settings(deadline=None)  # the machine may be busy
@given(LINES, LINES, st.one_of(VALUES, st.none()), st.lists(VALUES, min_size=2, max_size=2))
def test_remembering_changes_nothing(
    headers: list[Header], answer: list[Header], target: bytes | None, bodies: list[bytes]
) -> None:
    raw = exchange(headers, answer, body=bodies[0], response_body=bodies[1], request={"target": target})
    fresh = Inspector().inspect(raw)
    used = Inspector()
    used.inspect(raw)
    assert used.inspect(raw) == fresh
    assert inspect(raw) == fresh
