"""Secrets are put everywhere an exchange has room for them, in every encoding in use; none may come out, in any.

Two sorts: secrets that a place gives away (any text behind `Authorization` or `?token=`), and secrets that their form
gives away wherever they are.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from urllib.parse import quote, quote_plus, unquote_to_bytes

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from apisensor.content.inspector import Inspector
from apisensor.redact.ids import IdSource
from apisensor.redact.redactor import Redactor
from apisensor.transactions.json_form import json_line
from apisensor.transactions.model import Exchange, Header
from tests.content.exchanges import exchange
from tests.content.tokens import basic, jwt, with_check_digit

ALPHANUMERIC = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
HEXADECIMAL = "0123456789abcdef"


def encoded_everywhere(text: bytes) -> str:
    return "".join(f"%{byte:02x}" for byte in text)


ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "percent": lambda text: quote(text, safe="").encode(),
    "plus": lambda text: quote_plus(text).encode(),
    "percent twice": lambda text: quote(quote(text, safe=""), safe="").encode(),
    "percent, every byte": lambda text: encoded_everywhere(text).encode(),
}


def output(raw: Exchange) -> bytes:
    """All that leaves the worker, and the public form, as bytes; with percent-encoding removed as well."""
    transaction = Redactor(bytes(32), IdSource(b"seed")).transaction(raw, Inspector().inspect(raw))
    out = msgspec.msgpack.encode(transaction) + json_line(transaction)
    once = unquote_to_bytes(out)
    return out + once + unquote_to_bytes(once)


def assert_absent(secret: bytes, out: bytes) -> None:
    assert secret not in out
    assert secret.lower() not in out.lower()
    for encode in ENCODINGS.values():
        assert encode(secret).lower() not in out.lower()
    for shift in range(3):  # base64 of a text that has the secret in it, at each alignment
        inside = base64.b64encode(b"\0" * shift + secret)[-(-shift * 4 // 3) + (shift > 0) :]
        inside = inside.rstrip(b"=")[:-1]
        assert inside not in out
        assert inside.translate(bytes.maketrans(b"+/", b"-_")) not in out


# Secrets by place.

NAMED_FIELDS: dict[str, Callable[[bytes], Header]] = {
    "bearer": lambda secret: (b"Authorization", b"Bearer " + secret),
    "basic": lambda secret: (b"authorization", basic("alice", secret.decode())),
    "unknown scheme": lambda secret: (b"Authorization", b"Odd " + secret),
    "bare": lambda secret: (b"Authorization", secret),
    "digest": lambda secret: (b"Authorization", b'Digest username="alice", response="' + secret + b'"'),
    "proxy": lambda secret: (b"PROXY-AUTHORIZATION", b"Basic " + base64.b64encode(b"u:" + secret)),
    "cookie": lambda secret: (b"Cookie", b"theme=" + secret + b"; a=b"),
    "second cookie": lambda secret: (b"Cookie", b"a=b;sid=" + secret),
    "quoted cookie": lambda secret: (b"Cookie", b'a="' + secret + b'"'),
    "cookie without name": lambda secret: (b"Cookie", secret),
    "set-cookie": lambda secret: (b"Set-Cookie", b"id=" + secret + b"; Path=/; HttpOnly"),
    "folded set-cookie": lambda secret: (b"Set-Cookie", b"id=1; Path=/, other=" + secret),
    "odd attribute": lambda secret: (b"Set-Cookie", b"id=1; x-thing=" + secret),
    "api key": lambda secret: (b"X-API-Key", secret),
    "header named secret": lambda secret: (b"X-Our-Secret", secret),
    "header named token": lambda secret: (b"x-refresh-token", secret),
    "header named password": lambda secret: (b"Password", secret),
    "header named key": lambda secret: (b"X-Signing-Key", secret),
    "header named session": lambda secret: (b"X-Session-Id", secret),
    "unknown name": lambda secret: (None, secret),
}
URLS: dict[str, Callable[[bytes], bytes]] = {
    "query": lambda secret: b"/x?a=1&token=" + secret + b"&b=2",
    "query, odd case": lambda secret: b"/x?Client_Secret=" + secret,
    "query, encoded name": lambda secret: b"/x?pass%77ord=" + secret,
    "query, semicolon": lambda secret: b"/x?a=1;api-key=" + secret,
    "form array": lambda secret: b"/x?user[password]=" + secret,
    "fragment": lambda secret: b"/x#access_token=" + secret + b"&x=1",
    "matrix": lambda secret: b"/x;jsessionid=" + secret + b"/y?a=1",
    "nested URL": lambda secret: b"/x?next=" + quote(b"https://h/?sid=" + secret, safe="").encode(),
    "nested user information": lambda secret: b"/x?next=https://alice:" + secret + b"@h/",
    "JSON": lambda secret: b'/x?q={"password":"' + secret + b'"}',
    "encoded JSON": lambda secret: b"/x?q=" + quote(b'{"a":1,"password": "' + secret + b'"}').encode(),
    "presigned": lambda secret: b"/x?X-Amz-Signature=" + secret,
}
PLACED_SECRETS = st.text(ALPHANUMERIC + "!$*,+._~ :", min_size=10, max_size=40).map(
    lambda text: ("Z9" + text.strip() + "9Z").encode()
)
URL_SECRETS = st.text(ALPHANUMERIC + "-._~", min_size=10, max_size=40).map(lambda text: ("Z9" + text + "9Z").encode())


@settings(max_examples=60, deadline=None)
@given(PLACED_SECRETS, st.sampled_from(sorted(NAMED_FIELDS)))
def test_named_fields(secret: bytes, where: str) -> None:
    line = NAMED_FIELDS[where](secret)
    for raw in (
        exchange([line]),
        exchange([], [line]),
        exchange(request={"trailers": [line]}),
        exchange(response={"trailers": [line]}),
        exchange([(b"Accept", b"*/*"), line, line]),
    ):
        assert_absent(secret, output(raw))


@settings(max_examples=60, deadline=None)
@given(URL_SECRETS, st.sampled_from(sorted(URLS)), st.sampled_from(sorted(ENCODINGS)))
@example(b"Z9%26x%3D9Z", "query", "plain")
def test_urls(secret: bytes, where: str, encoding: str) -> None:
    target = URLS[where](ENCODINGS[encoding](secret))
    for raw in (
        exchange(target=target),
        exchange([(b"Referer", b"https://example.com" + target)]),
        exchange([], [(b"Location", target)]),
        exchange([], [(b"Link", b"<https://example.com" + target + b'>; rel="next"')]),
        exchange([], [(b"Content-Location", target)]),
        exchange([(b"X-Original-URL", target)]),
        exchange([(b"X-Whatever", b"went to https://example.com" + target)]),
    ):
        assert_absent(secret, output(raw))


@settings(deadline=None)  # the machine may be busy
@given(URL_SECRETS)
@example(b"Z9000.AA00009Z")  # with the a@ before it an address
def test_user_information(secret: bytes) -> None:
    for authority in (b"alice:" + secret + b"@example.com", secret + b"@example.com:8080", b"a@" + secret + b"@h"):
        assert_absent(secret, output(exchange(request={"authority": authority})))
        assert_absent(secret, output(exchange([(b"Referer", b"https://" + authority + b"/x")])))
        assert_absent(secret, output(exchange([(b"Host", b"//" + authority)])))


# Secrets by form.


def cards() -> st.SearchStrategy[bytes]:
    def written(parts: tuple[str, str]) -> bytes:
        digits = with_check_digit("4" + parts[0])
        return parts[1].join(digits[i : i + 4] for i in range(0, 16, 4)).encode()

    return st.tuples(st.text("0123456789", min_size=14, max_size=14), st.sampled_from(["", " ", "-"])).map(written)


FORMS: dict[str, st.SearchStrategy[bytes]] = {
    "card": cards(),
    "jwt": st.text(ALPHANUMERIC, min_size=8).map(lambda name: jwt(sub=name)),
    "aws": st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", min_size=16, max_size=16).map(lambda x: b"AKIA" + x.encode()),
    "github": st.text(ALPHANUMERIC, min_size=36, max_size=36).map(lambda x: b"ghp_" + x.encode()),
    "stripe": st.text(ALPHANUMERIC, min_size=24, max_size=24).map(lambda x: b"sk_live_" + x.encode()),
    "slack": st.text(ALPHANUMERIC, min_size=24, max_size=24).map(lambda x: b"xoxb-" + x.encode()),
    "email": st.text("bcdfghklm", min_size=8, max_size=20).map(lambda name: b"q" + name.encode() + b"@example.com"),
}
BASE64_FORMS = ("card", "aws", "github", "stripe", "email")
ANYWHERE: dict[str, Callable[[bytes], Exchange]] = {
    "path": lambda secret: exchange(target=b"/v1/" + secret + b"/x"),
    "end of path": lambda secret: exchange(target=b"/v1/" + secret),
    "query": lambda secret: exchange(target=b"/v1?a=1&note=" + secret + b"&b=2"),
    "query without name": lambda secret: exchange(target=b"/v1?" + secret),
    "fragment": lambda secret: exchange(target=b"/v1#" + secret),
    "field": lambda secret: exchange([(b"Accept", b"*/*"), (b"X-Note", b"so " + secret + b", then")]),
    "response field": lambda secret: exchange([], [(b"X-Note", secret)]),
    "trailer": lambda secret: exchange(response={"trailers": [(b"grpc-message", b"for " + secret)]}),
    "request trailer": lambda secret: exchange(request={"trailers": [(b"x-note", secret)]}),
    "field name": lambda secret: exchange([(secret, b"1")]),
    "name of a field that is secret itself": lambda secret: exchange([(b"x-" + secret + b"-token", b"1")]),
    "cookie name": lambda secret: exchange([(b"Cookie", secret + b"=1")]),
    "set-cookie name": lambda secret: exchange([], [(b"Set-Cookie", secret + b"=1; Path=/")]),
    "cookie path": lambda secret: exchange([], [(b"Set-Cookie", b"a=1; Path=/" + secret)]),
    "method": lambda secret: exchange(request={"method": secret}),
    "scheme": lambda secret: exchange(request={"scheme": secret}),
    "authority": lambda secret: exchange(request={"authority": secret}),
    "tracestate": lambda secret: exchange(
        [(b"traceparent", b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"), (b"tracestate", b"a=" + secret)]
    ),
    "traceparent": lambda secret: exchange([(b"traceparent", secret)]),
    "content-type": lambda secret: exchange([(b"Content-Type", secret)]),
    "body": lambda secret: exchange(body=secret, response_body=secret),
    "with bytes that are no UTF-8": lambda secret: exchange([(b"X-Note", b"\xff " + secret + b" \xfe")]),
}


@settings(max_examples=100, deadline=None)
@given(st.data())
@pytest.mark.parametrize("form", FORMS)
def test_forms(form: str, data: st.DataObject) -> None:
    secret = data.draw(FORMS[form])
    encodings = list(ENCODINGS.values())
    if form in BASE64_FORMS:
        encodings.append(lambda text: base64.b64encode(b"the note: " + text))
        encodings.append(lambda text: base64.urlsafe_b64encode(b"x:" + text).rstrip(b"="))
    placed = data.draw(st.sampled_from(encodings))(secret)
    raw = ANYWHERE[data.draw(st.sampled_from(sorted(ANYWHERE)))](placed)
    assert_absent(secret if form != "email" else secret.partition(b"@")[0], output(raw))


@pytest.mark.parametrize("where", sorted(ANYWHERE))
def test_the_check_itself_would_notice(where: str) -> None:
    """With `reveal` each place shows its secret, so an absence above means redaction and not a place that is lost."""
    secret = b"AKIAIOSFODNN7EXAMPLE"
    raw = ANYWHERE[where](secret)
    transaction = Redactor(bytes(32), IdSource(b"seed"), reveal=True).transaction(raw, Inspector().inspect(raw))
    shown = secret in msgspec.msgpack.encode(transaction)
    assert shown == (where != "body")


@pytest.mark.parametrize("shift", range(3))
def test_the_base64_check_would_notice(shift: int) -> None:
    secret = b"Z9-some-secret-9Z"
    with pytest.raises(AssertionError):
        assert_absent(secret, base64.b64encode(b"x" * shift + secret + b"yyyy"))


def test_identities_do_not_come_out() -> None:
    for line in (
        (b"Authorization", basic("canary-user", "x")),
        (b"Authorization", b"Bearer " + jwt(sub="canary-user")),
        (b"X-Api-Key", b"canary-user"),
        (b"Cookie", b"sid=canary-user"),
    ):
        assert_absent(b"canary-user", output(exchange([line])))
