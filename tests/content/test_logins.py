"""Bodies that log somebody in, and bodies that do not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.content.inspector import Inspector
from apisensor.content.logins import FIELDS, LARGEST, LONGEST_USER, OBJECTS, USER_NAMES, login_user
from apisensor.transactions.model import INCOMPLETE_REASONS
from tests.content.exchanges import FORM, JSON, exchange

inspect = Inspector().inspect

MULTIPART = (
    b'--b1\r\nContent-Disposition: form-data; name="user"\r\n\r\nalice\r\n'
    b'--b1\r\nContent-Disposition: form-data; name="password"\r\nContent-Type: text/plain\r\n\r\nx\r\n--b1--\r\n'
)


@pytest.mark.parametrize(
    ("headers", "body", "user"),
    [
        ([JSON], b'{"username": "alice", "password": "x"}', b"alice"),
        ([JSON], b' {"password": "x", "Email": " alice@example.com "}', b"alice@example.com"),
        ([JSON], b'{"user": {"id": 3, "email": "a@example.com", "password": "x"}}', b"a@example.com"),
        ([JSON], b'{"query": "mutation", "variables": {"login": "alice", "passcode": "x"}}', b"alice"),
        ([JSON], b'{"user_id": 42, "pin": "1234"}', b"42"),
        ([JSON], b'{"user": "zo\\u00eb", "pwd": "x"}', "zoë".encode()),
        ([JSON], b'{"email": "a@example.com", "username": "alice", "password": "x"}', b"alice"),
        ([], b'{"username": "alice", "password": "x"}', b"alice"),
        ([FORM], b"username=alice&password=x", b"alice"),
        ([FORM], b"password=x&e%6dail=a%40example.com", b"a@example.com"),
        ([FORM], b"grant_type=password&username=alice+b&password=x&client_id=c&client_secret=s", b"alice b"),
        ([FORM], b"user%5Bemail%5D=a%40example.com&user%5Bpassword%5D=x", b"a@example.com"),
        ([FORM], b"log=alice&pwd=x&wp-submit=Log+In", b"alice"),
        ([FORM], b"j_username=alice&j_password=x", b"alice"),
        ([(b"Content-Type", b"multipart/form-data; boundary=b1")], MULTIPART, b"alice"),
        # none
        ([JSON], b'{"username": "alice", "password": ""}', None),
        ([JSON], b'{"username": "alice"}', None),
        ([JSON], b'{"password": "x"}', None),
        ([JSON], b'{"username": "", "password": "x"}', None),
        ([JSON], b'{"username": true, "password": "x"}', None),
        ([JSON], b'{"username": "alice", "nested": {"password": "x"}}', None),
        ([JSON], b'{"a": {"b": {"username": "alice", "password": "x"}}}', None),
        ([JSON], b'[{"username": "alice", "password": "x"}]', None),
        ([JSON], b'{"username": "alice", "password": "x"', None),
        ([FORM], b"user[email]=a@example.com&other[password]=x", None),
        ([FORM], b"grant_type=client_credentials&client_id=c&client_secret=s", None),
        ([(b"Content-Type", b"text/html")], b"username=alice&password=x", None),
        ([(b"Content-Type", b"application/octet-stream")], b"username=alice&password=x", None),
    ],
)
def test_user(headers: list[tuple[bytes, bytes]], body: bytes, user: bytes | None) -> None:
    for _ in range(2):
        insight = inspect(exchange(list(headers), body=body))
        assert insight.login_user == user
        assert inspect(exchange([], list(headers), response_body=body)).login_user is None


BESIDE_THE_REQUEST = {"response_not_seen", "response_not_finished", "hpack_unknown", "unbound"}


def test_a_body_that_is_not_whole_is_no_login() -> None:
    body = b"username=alice&password=x"
    assert inspect(exchange([FORM], body=body, request={"body_size": len(body) + 1})).login_user is None
    for reason in INCOMPLETE_REASONS:
        user = inspect(exchange([FORM], body=body, incomplete_reason=reason)).login_user
        assert user == (b"alice" if reason in BESIDE_THE_REQUEST else None)


def test_repr_has_no_user() -> None:
    assert "alice" not in repr(inspect(exchange([FORM], body=b"username=alice&password=x")))


@pytest.mark.parametrize("name", USER_NAMES)
def test_each_name(name: str) -> None:
    assert login_user(json.dumps({name.upper(): "alice", "password": "x"}).encode()) == b"alice"


@pytest.mark.parametrize(
    "body",
    [
        b'{"password": "x", "a": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"password": "x", "a": ' + b'{"a":' * 2000 + b"1" + b"}" * 2000 + b"}",
        b'{"password": "x", ' + b", ".join(b'"f%d": 1' % n for n in range(FIELDS)) + b', "user": "alice"}',
        b"{" + b", ".join(b'"o%d": {}' % n for n in range(OBJECTS)) + b', "o": {"user": "alice", "password": "x"}}',
        b'{"password": "x", "user": "' + b"a" * (LONGEST_USER + 1) + b'"}',
        b'{"password": "x", "user": "alice", "pad": "' + b"a" * LARGEST + b'"}',
        b'{"password": "x", "user": 1e999999}',
        b'{"password": "x", "user": 1' + b"0" * 10_000 + b"}",
        b"password=x&" + b"a=1&" * FIELDS + b"user=alice",
        b"--b" * 5000,
        b'--b name="password"\r\n' * 700,
    ],
)
def test_hostile(body: bytes) -> None:
    assert login_user(body) is None


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text('{}[]":,&=password user\\-\r\n', max_size=100).map(str.encode)))
def test_any_bytes(body: bytes) -> None:
    user = login_user(body)
    assert user is None or 0 < len(user) <= LONGEST_USER
