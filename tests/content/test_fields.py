from __future__ import annotations

import pytest

from apisensor.content.fields import is_traceparent, value_spans
from apisensor.redact.text import redacted
from tests.content.tokens import basic, jwt

IDS_LIKE_A_CARD = b"00-11111111111111111111111111111111-4111111111111111-01"


def shown(name: bytes, value: bytes) -> bytes:
    return redacted(value, value_spans(name, value))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (b"Authorization", basic("alice", "x"), b"Basic [redacted]"),
        (b"authorization", b"Bearer  " + jwt(sub="x"), b"Bearer [redacted]"),
        (b"Authorization", b"secret", b"[redacted]"),
        (b"Authorization", b"Bearer", b"Bearer"),
        (b"Authorization", b"Bearer secret more", b"Bearer [redacted]"),
        (b"Proxy-Authorization", b"Digest username=x", b"Digest [redacted]"),
        (b"Cookie", b"a=1; b=2;c=3", b"a=[redacted]; b=[redacted];c=[redacted]"),
        (b"Cookie", b"a=1=2; lonely; b=", b"a=[redacted];[redacted]; b="),
        (b"Cookie", b"ghp_0123456789abcdef0123=1", b"[redacted]=[redacted]"),
        (
            b"Set-Cookie",
            b"id=x; Domain=example.com; Path=/a; Expires=Wed, 21 Oct 2025 07:28:00 GMT; Max-Age=60; Secure; HttpOnly;"
            b" SameSite=Lax",
            b"id=[redacted]; Domain=example.com; Path=/a; Expires=Wed, 21 Oct 2025 07:28:00 GMT; Max-Age=60; Secure;"
            b" HttpOnly; SameSite=Lax",
        ),
        (b"Set-Cookie", b"id=x; Path=/, other=secret; Odd=secret", b"id=[redacted]; Path=[redacted]; Odd=[redacted]"),
        (
            b"Set-Cookie",
            b"id=x; Secure=secret; SameSite=secret",
            b"id=[redacted]; Secure=[redacted]; SameSite=[redacted]",
        ),
        (b"X-Api-Key", b"k", b"[redacted]"),
        (b"X-My-Secret-Thing", b"k", b"[redacted]"),
        (b"X-Session", b"k", b"[redacted]"),
        (b"X-CSRF-Token", b"k", b"[redacted]"),
        (b"Some-Key", b"k", b"[redacted]"),
        (b"password", b"k", b"[redacted]"),
        (b"Idempotency-Key", b"k", b"k"),
        (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZSBub25jZQ=="),
        (b"Keep-Alive", b"timeout=5", b"timeout=5"),
        (b"Authority", b"k", b"k"),
        (
            b"Referer",
            b"https://u:p@h/x?token=abc&y=1#sid=2",
            b"https://[redacted]@h/x?token=[redacted]&y=1#sid=[redacted]",
        ),
        (b"Location", b"/cb?code=abc", b"/cb?code=[redacted]"),
        (b"Origin", b"https://example.com", b"https://example.com"),
        (b"From", b"alice@example.com", b"a***@example.com"),
        (b"X-Note", b"card 4111 1111 1111 1111 and al@example.com", b"card [redacted] and ***@example.com"),
        (b"grpc-message", b"no%20user%20alice%40example.com", b"no%20user%20a***@example.com"),
        (b"User-Agent", b"Mozilla/5.0 (X11; Linux x86_64)", b"Mozilla/5.0 (X11; Linux x86_64)"),
        (b"Content-Type", b"multipart/form-data; boundary=xyz", b"multipart/form-data; boundary=xyz"),
        (b"Strict-Transport-Security", b"max-age=31536000", b"max-age=31536000"),
        (b"ETag", b'W/"5f3-63b1c2d3e4f5"', b'W/"5f3-63b1c2d3e4f5"'),
        (b"traceparent", IDS_LIKE_A_CARD, IDS_LIKE_A_CARD),
        (b"traceparent", b"4111111111111111", b"[redacted]"),
    ],
)
def test_values(name: bytes, value: bytes, expected: bytes) -> None:
    assert shown(name, value) == expected
    assert shown(name.lower(), value) == expected


def test_value_of_an_unknown_name_is_hidden() -> None:
    assert redacted(b"gzip", value_spans(None, b"gzip")) == b"[redacted]"


def test_form_of_traceparent() -> None:
    assert is_traceparent(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    assert not is_traceparent(b"00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    assert not is_traceparent(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0-")
    assert not is_traceparent(b"00-0af7651916cd43dd8448eb211c80319cb7ad6b7169203331-01-0")
