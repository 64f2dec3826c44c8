from __future__ import annotations

import base64
import itertools
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.content.encodings import percent_decode, views
from apisensor.content.model import KINDS, UNCOUNTED
from apisensor.content.names import kind_of_key
from apisensor.content.shapes import FORM, HEAD, MARKUP, Zone, merged
from tests.content.tokens import jwt

KEYS = {
    "AWS": "AKIAIOSFODNN7EXAMPLE",
    "GitHub": "ghp_" + "a1B2c3D4e5F6" * 3,
    "GitLab": "glpat-" + "x1y2z3_w4-v5u6t7s8",
    "Stripe": "sk_" + "live_4eC39HqLyjWDarjtT1zdp7dc",
    "Slack": "xoxb-" + "123456789012-abcdefABCDEF",
    "Google": "AIza" + "SyA1234567890abcdefghijklmnopqrstuv",
    "npm": "npm_" + "abcdefghij0123456789ABCDEFGHIJ012345",
    "SendGrid": "SG." + "abcdefghijklmnopqrstuv.ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefg",
    "Telegram": "123456789:AA" + "F-abcdefghijklmnopqrstuvwxyz01234",
}
PEM = b"-----BEGIN PRIVATE KEY-----MIIEvQ==-----END PRIVATE KEY-----"


def found(text: bytes, zone: Zone = Zone.TARGET) -> list[tuple[bytes, str]]:
    return [(text[start:end], kind) for start, end, kind in HEAD.find(text, zone)]


@pytest.mark.parametrize("name", KEYS)
def test_keys_in_known_formats(name: str) -> None:
    key = KEYS[name].encode()
    assert (key, "api_key") in found(b"/v1/" + key + b"/x")
    assert (key, "api_key") in found(b"/v1/x_" + key)
    assert (key, "api_key") in found(b"said " + key + b", then", Zone.FIELD)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/a?token=abc&x=1", [(b"abc", "token")]),
        (b"/a?x=1&Access-Token=abc", [(b"abc", "token")]),
        (b"/a?x=1;apiKey=abc&y=2", [(b"abc", "api_key")]),
        (b"/a?key=abc", [(b"abc", "api_key")]),
        (b"/a?user[password]=p;w&x=1", [(b"p;w", "password")]),
        (b"/a?pass%77ord=abc", [(b"abc", "password")]),
        (b"/a?code=4%2F0Ab&state=x", [(b"4%2F0Ab", UNCOUNTED)]),
        (b"/a?X-Amz-Signature=ff00&X-Amz-Date=1", [(b"ff00", "secret")]),
        (b"/cb#access_token=abc&token_type=bearer", [(b"abc", "token")]),
        (b"/a;jsessionid=abc/b;v=1?x=1", [(b"abc", "session")]),
        (b"/n?next=https%3A%2F%2Fh%2F%3Ftoken%3Dabc%26y%3D1", [(b"abc", "token")]),
        (b"/n?next=https%253A%252F%252Fh%252F%253Ftoken%253Dabc%2526y%253D1", [(b"abc", "token")]),
        (b"/n?u=https://alice:pa@ss@h/x", [(b"alice:pa@ss", "password")]),
        (b"/n?u=https://token@h/x", [(b"token", UNCOUNTED)]),
        (b'/q?f={"password":"x \\" y","a":1}', [(b'x \\" y', "password")]),
        (b"/q?f=%7B%22pin%22%3A1234%7D", [(b"1234", "password")]),
        (b"/u/joe%40example.com/x", [(b"joe%40example.com", "email")]),
        (b"/pay/4111%201111%201111%201111", [(b"4111%201111%201111%201111", "credit_card")]),
        (b"/reset/9f8a7b6c5d4e3f2a1b0c?x=1", [(b"9f8a7b6c5d4e3f2a1b0c", "token")]),
        (
            b"/services/T0ABCDEF1/B0ABCDEF2/abcdefghij1234567890ABCD",
            [(b"T0ABCDEF1/B0ABCDEF2/abcdefghij1234567890ABCD", "api_key")],
        ),
    ],
)
def test_targets(target: bytes, expected: list[tuple[bytes, str]]) -> None:
    assert found(target) == expected


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"*",
        b"/api/v1/items/123?page=2&limit=50&sort_key=name",
        b"/v1/chat?max_tokens=100&token_type=bearer&oauth_signature_method=HMAC-SHA1",
        b"/static/icon@2x.png",
        b"/npm/@types/node@18.0.0",
        b"/oauth/token/introspection-endpoint",
        b"/v1/token:revoke",
        b"/orders/550e8400-e29b-41d4-a716-446655440000/items",
        b"/blobs/sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        b"/node/VXNlcjoxMjM0NQ==",
        b"/search?q=tokens+and+passwords&shipping=1&author=x&monkey=1",
        b"/100%/x?y=%zz",
    ],
)
def test_ordinary_targets_have_nothing(target: bytes) -> None:
    assert found(target) == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"https://h/x?token=abc", [(b"abc", "token")]),
        (b'<https://h/x?token=abc>; rel="next"', [(b"abc", "token")]),
        (b"0; url=https://h/?sid=abc", [(b"abc", "session")]),
        (b'realm="x", token="a b c", y="z"', [(b"a b c", "token")]),
        (b"password=two words, and more", [(b"two words, and more", "password")]),
        (b"mailto:joe.doe@example.com", [(b"joe.doe@example.com", "email")]),
        (b"https://u:p@example.com/", [(b"u:p", "password")]),
        (b"x " + base64.b64encode(b"alice:wonderland") + b" y", [(base64.b64encode(b"alice:wonderland"), "password")]),
        (
            base64.b64encode(b'{"card":"4111111111111111"}'),
            [(base64.b64encode(b'{"card":"4111111111111111"}'), "credit_card")],
        ),
        (b"x -----BEGIN RSA PRIVATE KEY----- MIIE", [(b"-----BEGIN RSA PRIVATE KEY----- MIIE", "private_key")]),
        (PEM + b" x " + PEM, [(PEM, "private_key"), (PEM, "private_key")]),
    ],
)
def test_field_values(value: bytes, expected: list[tuple[bytes, str]]) -> None:
    assert found(value, Zone.FIELD) == expected


def test_jwt() -> None:
    token = jwt(sub="x")
    assert found(b"/a/" + token + b"/b") == [(token, "jwt")]
    assert found(b"/a?t=" + token + b"&b=1") == [(token, "jwt")]


@pytest.mark.parametrize("scan", [FORM, MARKUP])
def test_markup_has_no_names_forms_have(scan: object) -> None:
    text = b'{"password": "x", "a": "joe@example.com"}'
    kinds = sorted(kind for _, _, kind in (FORM if scan is FORM else MARKUP).locate(text, Zone.BODY))
    assert kinds == (["email", "password"] if scan is FORM else ["email"])


def test_multipart() -> None:
    text = b'--b\r\nContent-Disposition: form-data; name="password"\r\n\r\nhunter2\r\n--b--'
    assert [(text[start:end], kind) for start, end, kind in FORM.locate(text, Zone.BODY)] == [(b"hunter2", "password")]


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (b"password", "password"),
        (b"newPasswd", "password"),
        (b"api_key", "api_key"),
        (b"apiKey", "api_key"),
        (b"client_secret", "secret"),
        (b"PHPSESSID", "session"),
        (b"id_token", "token"),
        (b"SAMLResponse", "token"),
        (b"a[b][pin]", "password"),
        (b"code", UNCOUNTED),
        (b"zipcode", None),
        (b"shipping", None),
        (b"maxTokens", None),
        (b"author", None),
        (b"primary_key", None),
        (b"signal", None),
    ],
)
def test_kind_of_key(key: bytes, kind: str | None) -> None:
    assert kind_of_key(key) == kind
    assert kind_of_key(key) == kind  # remembered


@settings(deadline=None)  # the machine may be busy
@given(st.binary(max_size=60))
def test_percent_decoding_keeps_positions(text: bytes) -> None:
    decoded, where = percent_decode(text)
    assert len(where) == len(decoded) + 1
    assert where == sorted(where)
    assert where[-1] == len(text)
    for index, byte in enumerate(decoded):
        raw = text[where[index] : where[index + 1]]
        assert raw == bytes((byte,)) or raw.upper() == b"%%%02X" % byte


@settings(deadline=None)  # the machine may be busy
@given(st.text(max_size=20), st.integers(0, 3))
def test_views_end_with_the_plain_text(text: str, rounds: int) -> None:
    plain = text.replace("%", "").encode()
    encoded = plain
    for _ in range(rounds):
        encoded = quote(encoded, safe="").encode()
    assert [view for view, _ in views(encoded)][-1] == plain


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9), st.sampled_from([*KINDS, UNCOUNTED]))))
def test_merged_spans_cover_the_same_and_do_not_overlap(parts: list[tuple[int, int, str]]) -> None:
    spans = [(start, start + length, kind) for start, length, kind in parts]
    result = merged(list(spans))
    assert {i for start, end, _ in spans for i in range(start, end)} == {i for a, b, _ in result for i in range(a, b)}
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(result))


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        b"token=" * 20_000,
        b"a@" * 50_000,
        b"a@b.cc" * 20_000,
        b"%25" * 30_000,
        b"%41" * 30_000,
        b"eyJ" * 30_000,
        b'"password":"' * 9_000,
        b"\\" * 100_000 + b'"password":"',
        b"//a:b@" * 20_000,
        b"dXNlcjpw" * 12_000,
        b"/reset/" * 14_000,
        b"T0ABCDEF1/B0ABCDEF2/" * 5_000,
        b"-----BEGIN PRIVATE KEY" * 5_000,
    ],
)
def test_hostile_texts_end(text: bytes) -> None:
    HEAD.find(text, Zone.TARGET)
    HEAD.find(text, Zone.FIELD)
    FORM.locate(text, Zone.BODY, 1000)
