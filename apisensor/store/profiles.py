"""Profiles as they lie in the database, and what lists show of them."""

from __future__ import annotations

from typing import Any

import msgspec
import zstandard

from apisensor.inventory.histogram import quantile
from apisensor.inventory.model import Profile

LARGEST_PROFILE = 4 * 1024 * 1024
"""Bytes, decompressed: far above what bounded tables can reach."""

_LISTED = "count errors p50 p95 auth unauthenticated sensitive flags callers first_ns last_ns"
LISTED = tuple(_LISTED.split())
"""Columns of `endpoints` that follow from the profile, in the order of `listed`."""

UNAUTHENTICATED, SENSITIVE, ERRORS = 1, 2, 4
"""Of the column `flags`."""

_encode = msgspec.msgpack.Encoder().encode
_json = msgspec.json.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Profile, strict=False)
_compress = zstandard.ZstdCompressor(level=1).compress


def encode(profile: Profile) -> bytes:
    return _compress(_encode(profile))


def decode(body: bytes) -> Profile:
    """
    Raises:
        msgspec.MsgspecError, zstandard.ZstdError: it is no profile.
    """
    # A decompressor has a state and is cheap: readers are threads.
    return _decoder.decode(zstandard.ZstdDecompressor().decompress(body, max_output_size=LARGEST_PROFILE))


def listed(p: Profile) -> tuple[Any, ...]:
    """Values of LISTED."""
    p95 = quantile(p.latency_ms, 0.95)
    kinds = sorted({*p.sensitive_in, *p.sensitive_out})
    return (
        p.count,
        p.errors,
        quantile(p.latency_ms, 0.5),
        -1.0 if p95 is None else p95,
        _json(sorted(p.auth, key=lambda scheme: (-p.auth[scheme], scheme))).decode(),
        int(p.open_successes > 0),
        _json(kinds).decode() if kinds else "",
        UNAUTHENTICATED * (p.open_successes > 0) + SENSITIVE * bool(kinds) + ERRORS * (p.errors > 0),
        len(p.callers),
        p.first_ns,
        p.last_ns,
    )
