"""Credentials that are made for tests; none opens anything."""

from __future__ import annotations

import base64
import json


def part(value: object) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")


def jwt(**claims: object) -> bytes:
    """A JWT with these claims and a signature that fits nothing."""
    return b".".join((part({"alg": "HS256", "typ": "JWT"}), part(claims), b"c2lnbmF0dXJlLW9mLW5vYm9keQ"))


def basic(user: str, password: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{user}:{password}".encode())


def with_check_digit(digits: str) -> str:
    """The digits and the Luhn check digit that makes them a card number."""
    total = 0
    for index, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if index % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return digits + str(-total % 10)
