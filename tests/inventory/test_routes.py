"""A path's template by form alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apisensor.inventory.inventory import LONGEST_PATH_KEPT
from apisensor.inventory.routes import (
    BINARY,
    LEARNT,
    MAX_SEGMENTS,
    REST,
    TEXT,
    alike,
    bare,
    is_parameter,
    is_rpc,
    is_word,
    segments,
    template_segments,
)
from apisensor.inventory.shapes import LONGEST_LITERAL, SHAPES


@given(st.text("017-.;%a{}/\u0663\u00b2", max_size=LONGEST_PATH_KEPT))
def test_paths_that_are_alike_have_one_template(path: str) -> None:
    assert segments(alike("/" + path)) == segments("/" + path)


def test_what_is_alike_differs_in_integers() -> None:
    assert alike("/users/17/orders/0042") == alike("/users/3/orders/5") == "/users/0/orders/0"
    assert alike("/users/-17/v1/x5") == "/users/-17/v1/x5"
    assert alike("/users/17/\u0663") == "/users/17/\u0663"


def template(path: str) -> str | None:
    parts = segments(bare(path))
    return None if parts is None else "/" + "/".join(parts)


@pytest.mark.parametrize(("name", "example"), [(n, e) for n, shape in SHAPES.items() for e in shape.examples])
def test_examples_of_shapes(name: str, example: str) -> None:
    assert template(f"/a/{example}") == f"/a/{{{name}}}"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "/"),
        ("", "/"),
        ("/?q=1", "/"),
        ("/users/", "/users"),
        ("//users//17/", "/users/{id}"),
        ("/a/./b/../c", "/a/c"),
        ("/../../etc/passwd", "/etc/passwd"),
        ("/%2e%2e/a", "/a"),
        ("/users/17;jsessionid=AB12/orders;v=2?x=1#y", "/users/{id}/orders"),
        ("/us%65rs/a%20b/%C3%BC", "/users/a%20b/%C3%BC"),
        ("/\u00fc", "/%C3%BC"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a%2fb", "/a%2Fb"),
        ("/users/{id}", "/users/%7Bid%7D"),
        ("/%7Bvalue%7D", "/%7Bvalue%7D"),
        ("/a\x00b", f"/{BINARY}"),
        ("/%FF%FE", f"/{BINARY}"),
        ("/\ufffd", f"/{BINARY}"),
        ("/\u202ex", f"/{BINARY}"),
        # words, versions, and what only looks like a value
        ("/api/v1/v2.1/v1beta1/2.0/1.1", "/api/v1/v2.1/v1beta1/2.0/1.1"),
        ("/deadbeef/facade/face2face/decade", "/deadbeef/facade/face2face/decade"),
        ("/iso-8859-1/utf-8/sha-256/covid-19/top-100", "/iso-8859-1/utf-8/sha-256/covid-19/top-100"),
        ("/how-to-write-a-path-normaliser-in-python-3", "/how-to-write-a-path-normaliser-in-python-3"),
        ("/getCustomerInformationByCustomerIdentifier", "/getCustomerInformationByCustomerIdentifier"),
        ("/windows2019datacenter64bit", "/windows2019datacenter64bit"),
        ("/GetByEmail2FactorAuthCode22", "/GetByEmail2FactorAuthCode22"),
        ("/users/me", "/users/me"),
        ("/@babel/core", "/@babel/core"),
        ("/id/is/no/en/de", "/id/is/no/en/de"),
        ("/en-US/docs", "/{locale}/docs"),
        # values
        ("/customers/cus_NffrFeUfNV2Hib/INV-2024-00017", "/customers/{key}/{key}"),
        ("/m/1,2,3", "/m/{id}"),
        ("/v1/jobs/17:cancel", "/v1/jobs/{id}:cancel"),
        ("/odata/Orders(17)/Lines('a')", "/odata/Orders({id})/Lines({key})"),
        ("/c/ckopqwooh000001la8mbi2im9", "/c/{token}"),
        ("/t/aaa.V1StGXR8Z5jdHi6BmyT4.signature", "/t/{token}"),
        ("/urn:uuid:0190c3f2-8a4e-7cc1-b5f0-3d5c1a2b4e6f", "/{uuid}"),
        ("/blog/2024/05/17/a-slug", "/blog/{id}/{id}/{id}/a-slug"),
        ("/x/" + "g" * (LONGEST_LITERAL + 1), f"/x/{TEXT}"),
        ("/x/" + "z-" * 2000, f"/x/{TEXT}"),
        # files
        ("/static/app.3f9a1c.js", "/static/app.{hash}.js"),
        ("/assets/index-BkZ3xT1q.js", "/assets/index-{hash}.js"),
        ("/main-es2015.1a2b3c4d5e6f.js", "/main-es2015.{hash}.js"),
        ("/jquery-3.6.0.min.js", "/jquery-3.6.0.min.js"),
        ("/invoices/17.pdf", "/invoices/{id}.pdf"),
        ("/reports/2024-05-17.csv", "/reports/{date}.csv"),
        ("/x.tar.gz", "/x.tar.gz"),
        ("/.well-known/openid-configuration", "/.well-known/openid-configuration"),
        # no paths
        ("*", None),
        ("example.com:443", None),
    ],
)
def test_templates(path: str, expected: str | None) -> None:
    assert template(path) == expected


def test_a_deep_path_ends_in_rest() -> None:
    assert segments("/a" * 1000) == ("a",) * (MAX_SEGMENTS - 1) + (REST,)
    assert segments("/a" * MAX_SEGMENTS) == ("a",) * MAX_SEGMENTS


@given(st.one_of(st.text(max_size=400), st.text("/%{}.;:a1-F0\x00ü()", max_size=60)).map(lambda text: "/" + text))
def test_any_text_gives_a_short_printable_template_that_reads_back(path: str) -> None:
    parts = segments(bare(path))
    assert parts is not None
    assert len(parts) <= MAX_SEGMENTS
    for part in parts:
        assert 0 < len(part) <= LONGEST_LITERAL
        assert part.isascii()
        assert part.isprintable()
        assert part != LEARNT
        assert not set(part) & set(' /?#;"<>\\')
        assert part.count("{") == part.count("}") <= 2
    assert template_segments("/" + "/".join(parts)) == parts


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30))
def test_a_template_is_a_path_that_gives_itself_but_for_parameters(text: str) -> None:
    parts = segments(bare("/" + text)) or ()
    if not any("{" in part for part in parts):
        assert segments("/" + "/".join(parts)) == parts


def test_words_and_parameters() -> None:
    assert all(map(is_word, ("me", "Login", "v1", "V2", "{id}:cancel", "swagger.json")))
    assert not any(map(is_word, ("alice", "v123", "v", "{id}", "app.{hash}.js", "value")))
    assert is_parameter("{id}")
    assert not is_parameter("{id}.pdf")


@pytest.mark.parametrize(
    ("protocol", "method", "path", "expected"),
    [
        ("grpc", "POST", "/helloworld.Greeter/SayHello", True),
        ("grpc", "POST", "/Greeter/sayHello", True),
        ("grpc", "POST", "/a/b/c", False),
        ("grpc", "POST", "/", False),
        ("grpc", "POST", "/a." + "b" * 300 + "/C", False),
        ("grpc", "POST", "/a.\x00/C", False),
        ("http/1.1", "POST", "/helloworld.v1.Greeter/SayHello", True),
        ("http/1.1", "GET", "/helloworld.v1.Greeter/SayHello", False),
        ("http/1.1", "POST", "/Teams/Alice", False),
        ("http/1.1", "POST", "/index.php/x", False),
    ],
)
def test_routes_that_are_paths(protocol: str, method: str, path: str, expected: bool) -> None:
    assert is_rpc(protocol, method, path) == expected
