from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.content import credentials
from tests.content.tokens import basic, jwt, part

AWS4 = (
    b"AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20250304/eu-central-1/s3/aws4_request, "
    b"SignedHeaders=host;x-amz-date, Signature=fe5f80"
)


@pytest.mark.parametrize(
    ("value", "scheme", "identity", "kind"),
    [
        (basic("alice", "x:y"), "basic", b"alice", "password"),
        (b"basic YWxpY2U6eA", "basic", b"alice", "password"),  # padding left out
        (b"Basic !!!", "basic", None, "password"),
        (b"Basic YWxpY2U=", "basic", None, "password"),  # no colon
        (b"Bearer opaque-token", "bearer", b"opaque-token", "token"),
        (b"bearer  " + jwt(sub="user-1", jti="a"), "bearer", b"user-1", "jwt"),
        (b"Bearer " + jwt(sub=17), "bearer", b"17", "jwt"),
        (b"Bearer " + jwt(jti="a"), "bearer", jwt(jti="a"), "jwt"),
        (b"Bearer eyJ.x.y", "bearer", b"eyJ.x.y", "jwt"),
        (b"DPoP " + jwt(sub="x"), "dpop", b"x", "jwt"),
        (b'Digest username="alice", realm="x", response="00"', "digest", b"alice", "token"),
        (AWS4, "aws4-hmac-sha256", b"AKIAIOSFODNN7EXAMPLE", "token"),
        (b"AWS AKIAIOSFODNN7EXAMPLE:c2ln", "aws", b"AKIAIOSFODNN7EXAMPLE", "token"),
        (b"Negotiate YIIJvwYG", "negotiate", None, "token"),
        (b"NTLM TlRMTVNTUAAB", "ntlm", None, "token"),
        (b"ApiKey abc", "apikey", b"abc", "api_key"),
        (b'Token token="abc", x="y"', "token", b"abc", "api_key"),
        (b"abcdef", "api_key", b"abcdef", "api_key"),
        (b"Unheard-Of abc", "api_key", b"Unheard-Of abc", "api_key"),
    ],
)
def test_authorization(value: bytes, scheme: str, identity: bytes | None, kind: str) -> None:
    assert credentials.authorization(value)[0] == (scheme, identity, kind)


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"a.b.c",
        b"eyJh.!!!.c",
        b"eyJh." + part(["list"]) + b".c",
        b"eyJh." + part({"sub": ""}) + b".c",
        b"eyJh." + part({"sub": {"deep": 1}}) + b".c",
        b"eyJh." + part({"sub": True}) + b".c",
        b"eyJh." + b"W1tb" * 4000 + b".c",
        b"eyJh." + part({"sub": "x" * 20_000}) + b".c",
        b"eyJh.////.c",
    ],
)
def test_no_subject(token: bytes) -> None:
    assert credentials.jwt_subject(token) is None


@settings(deadline=None)  # the machine may be busy
@given(st.text(min_size=1))
def test_any_subject(subject: str) -> None:
    assert credentials.jwt_subject(jwt(sub=subject)) == subject.encode("utf-8", "surrogatepass")


@settings(deadline=None)  # the machine may be busy
@given(st.binary())
def test_never_raises(value: bytes) -> None:
    credentials.authorization(value)
    credentials.authorization(b"Basic " + value)
    credentials.authorization(b"Bearer eyJ." + value + b".x")
    credentials.session_of(value)


@pytest.mark.parametrize(
    "name",
    [
        b"JSESSIONID",
        b"PHPSESSID",
        b"connect.sid",
        b"sessionid",
        b"__Host-session",
        b"_gitlab_session",
        b"ASP.NET_SessionId",
        b"laravel_session",
        b"next-auth.session-token",
        b"access_token",
        b"wordpress_logged_in_37d007a56d816107ce5b52c10342db37",
    ],
)
def test_session_cookies(name: bytes) -> None:
    assert credentials.session_of(b"theme=dark; " + name + b'="v"; x=y') == ("cookie", b"v", "session")


@pytest.mark.parametrize("name", [b"theme", b"csrftoken", b"XSRF-TOKEN", b"_ga", b"lang", b"consent"])
def test_other_cookies(name: bytes) -> None:
    assert credentials.session_of(name + b"=v") is None
