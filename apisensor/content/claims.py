"""What is read of a JSON Web Token's claims (RFC 7519 section 4)."""

from __future__ import annotations

from typing import Any

import msgspec


class Claims(msgspec.Struct, gc=False):
    """Of any type: whoever makes a token writes into it what he likes."""

    sub: Any = None


decode_claims = msgspec.json.Decoder(Claims).decode
"""Of the JSON text. Raises msgspec.DecodeError."""
