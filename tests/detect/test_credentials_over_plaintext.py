"""Credentials that everybody on the wire can read."""

from __future__ import annotations

import pytest

from apisensor.content.credentials import _KNOWN_SCHEMES
from apisensor.detect.detectors.credentials_over_plaintext import PROVEN
from apisensor.detect.model import Severity
from tests.detect.calls import call, identity, run

PLAIN = {"encrypted": False}


@pytest.mark.parametrize(
    ("fields", "severity"),
    [
        ({"scheme": "basic"}, "high"),
        ({"login_identity": identity("a")}, "high"),
        ({"login_identity": identity("a"), "scheme": "cookie"}, "high"),
        ({"scheme": "cookie"}, "medium"),
        ({"scheme": "bearer"}, "medium"),
        ({"scheme": "api_key"}, "medium"),
        ({"scheme": "basic", "loopback": True}, "info"),
        ({"scheme": "digest"}, None),
        ({"scheme": "aws4-hmac-sha256"}, None),
        ({}, None),
        ({"scheme": "basic", "encrypted": True}, None),
        ({"scheme": "basic", "client": None}, None),
        ({"scheme": "basic", "server": None}, None),
    ],
)
def test_severity(fields: dict[str, object], severity: Severity | None) -> None:
    found = run([call(0, **{**PLAIN, **fields})])
    assert [(finding.rule, finding.severity) for finding in found] == (
        [] if severity is None else [("credentials-over-plaintext", severity)]
    )


def test_the_names_of_schemes_are_those_that_are_found() -> None:
    assert {name.encode() for name in PROVEN} <= _KNOWN_SCHEMES


def test_one_finding_for_an_endpoint_and_way() -> None:
    calls = [
        call(n * 0.01, **PLAIN, scheme="cookie", client=f"10.0.0.{n % 200}", loopback=n % 2 == 0) for n in range(1000)
    ]
    found = run(calls)
    assert [(f.severity, f.evidence["path"], f.client, f.endpoint) for f in found] == [
        ("info", "loopback", None, "e1"),
        ("medium", "network", None, "e1"),
    ]
    # What came since the last whole second is told with the next call.
    assert all(450 <= finding.count <= 500 for finding in found)


def test_a_worse_credential_is_told_at_once() -> None:
    found = run([call(0, **PLAIN, scheme="cookie"), call(0.1, **PLAIN, scheme="basic")])
    assert [(f.severity, f.count, f.evidence["credentials"]) for f in found] == [("high", 2, ["cookie", "basic"])]


def test_paths_without_an_endpoint_mint_no_findings() -> None:
    calls = [call(n, **PLAIN, scheme="basic", endpoint=None, route=None, path=f"/{n}") for n in range(500)]
    assert len(run(calls)) == 1


def test_it_stays_one_finding_over_weekends_and_begins_anew_after_a_month() -> None:
    day = 86_400
    assert len(run([call(n * 3 * day, **PLAIN, scheme="basic") for n in range(20)])) == 1
    assert len(run([call(n * 31 * day, **PLAIN, scheme="basic") for n in range(3)])) == 3
