from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apisensor.live.filters import Filter, FilterError, compile_filter, decode, matches
from apisensor.transactions.model import Operation, Process
from tests.live.transactions import transaction

NOTHING_KNOWN = {"method": None, "authority": None, "path": None, "status": None, "process": None, "pid": 0}


def passes(wanted: dict[str, Any], **changes: Any) -> bool:
    return compile_filter(Filter(**wanted))(transaction(**changes))


QUERY, MUTATION = Operation("graphql", "query", "Feed"), Operation("graphql", "mutation", "DeleteUser")


def test_an_empty_filter_lets_all_pass() -> None:
    assert passes({})
    assert passes({}, **NOTHING_KNOWN)


@pytest.mark.parametrize(
    ("wanted", "yes", "no"),
    [
        ({"method": ["get", "HEAD"]}, {"method": "GET"}, {"method": "POST"}),
        ({"status": ["404"]}, {"status": 404}, {"status": 405}),
        ({"status": ["5xx"]}, {"status": 599}, {"status": 600}),
        ({"status": ["4XX"]}, {"status": 400}, {"status": 500}),
        ({"status": ["400-403", "500"]}, {"status": 403}, {"status": 404}),
        ({"status": ["none"]}, {"status": None}, {"status": 200}),
        ({"status": ["2xx", "none"]}, {"status": 200}, {"status": 301}),
        ({"path": ["/users/*"]}, {"path": "/users/1/x"}, {"path": "/user/1"}),
        ({"path": ["/users"]}, {"path": "/users?x=/a"}, {"path": "/users/"}),
        ({"path": ["*admin*"]}, {"path": "/v1/admin"}, {"path": "/v1?admin"}),
        ({"host": ["*.example.COM"]}, {"authority": "A.Example.com:8443"}, {"authority": "example.com"}),
        ({"host": ["localhost:8080"]}, {"authority": "localhost:8080"}, {"authority": "localhost:8081"}),
        ({"host": ["[[]::1]"]}, {"authority": "[[]::1]:80"}, {"authority": "1"}),
        ({"host": ["[::1]"]}, {"authority": "[::1]:80"}, {"authority": "[::2]:80"}),
        ({"service": ["check*"]}, {}, {"process": Process(pid=1, service="cart")}),
        ({"container": ["c0ffee"]}, {}, {"process": Process(pid=1, container="decaf")}),
        ({"pid": [1, 4242]}, {}, {"pid": 2}),
        ({"side": ["client", "network"]}, {"side": "network"}, {"side": "server"}),
        ({"protocol": ["http/1"]}, {"protocol": "http/1.0"}, {"protocol": "h2"}),
        ({"protocol": ["H2", "grpc"]}, {"protocol": "h2"}, {"protocol": "http/1.1"}),
        ({"operation": ["GraphQL mutation *"]}, {"operations": [MUTATION]}, {"operations": [QUERY]}),
        ({"operation": ["*delete*"]}, {"operations": [QUERY, MUTATION]}, {}),
        ({"operation": ["sse*", "mcp*"]}, {"operations": [Operation("sse", "stream")]}, {"operations": [QUERY]}),
        ({"incomplete": True}, {"incomplete_reason": "ring_full"}, {}),
        ({"anomalies": ["*"]}, {"anomalies": ["a"]}, {}),
        ({"anomalies": ["content-*"]}, {"anomalies": ["x", "content-length"]}, {"anomalies": ["x"]}),
        ({"method": ["GET"], "status": ["5xx"]}, {"status": 500}, {"status": 200}),
    ],
)
def test_each_kind(wanted: dict[str, Any], yes: dict[str, Any], no: dict[str, Any]) -> None:
    assert passes(wanted, **yes)
    assert not passes(wanted, **no)


@pytest.mark.parametrize(
    "wanted",
    [
        {"method": ["GET"]},
        {"status": ["5xx"]},
        {"path": ["*"]},
        {"host": ["*"]},
        {"service": ["*"]},
        {"container": ["c"]},
        {"pid": [1]},
    ],
)
def test_what_is_not_known_passes_no_filter_of_it(wanted: dict[str, Any]) -> None:
    assert not passes(wanted, **NOTHING_KNOWN)


@pytest.mark.parametrize("status", ["", "x", "6xx", "0xx", "40", "4040", "404-", "-404", "500-400", "abc-def", "٤٠٤"])
def test_impossible_statuses_are_refused(status: str) -> None:
    with pytest.raises(FilterError, match="allowed are 404, 5xx, 400-499 and none"):
        compile_filter(Filter(status=[status]))


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b'{"statuz": ["5xx"]}',
        b'{"status": "5xx"}',
        b'{"status": [""]}',
        b'{"side": ["both"]}',
        b'{"pid": [0]}',
        b'{"path": ["' + b"a" * 513 + b'"]}',
        b'{"path": [' + b",".join([b'"a"'] * 65) + b"]}",
        b'{"path": ["\xff"]}',
    ],
)
def test_wrong_documents_are_refused(document: bytes) -> None:
    with pytest.raises(FilterError):
        decode(document)


def test_documents() -> None:
    assert decode(b"{}") == Filter()
    assert decode(b'{"status": ["5xx"], "incomplete": true}') == Filter(status=["5xx"], incomplete=True)


@given(st.text("ab*", max_size=8), st.text("ab", max_size=12))
def test_patterns_match_as_a_regular_expression_would(pattern: str, text: str) -> None:
    expression = ".*".join(re.escape(piece) for piece in pattern.split("*"))
    assert matches(pattern, text) == (re.fullmatch(expression, text, re.DOTALL) is not None)


def test_no_pattern_is_slow() -> None:
    """Backtracking would take longer than the universe; so little is compared that the count of steps shows it."""
    assert not matches("*a" * 200 + "b", "a" * 60_000)
