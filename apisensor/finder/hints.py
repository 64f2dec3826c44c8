"""What a program that has no functions to attach to tells of its TLS: texts that a library leaves in whatever it is
linked into. A hint is for people; nothing is attached by it."""

from __future__ import annotations

from typing import BinaryIO

HINTS = {
    b"/rustls-": "rustls",
    b"rustls::": "rustls",
    b"BoringSSL": "boringssl",
    b"OpenSSL 1.": "openssl",
    b"OpenSSL 3.": "openssl",
    b"Enabled GnuTLS": "gnutls",
    b"Mbed TLS": "mbedtls",
    b"mbed TLS": "mbedtls",
    b"wolfSSL": "wolfssl",
    b"s2n_connection": "s2n",
}
"""Text: library. Paths of crates stand in Rust programs for their panics' sake, also in stripped ones."""

SEARCHED_BYTES = 256 << 20
"""No more is searched."""
_BLOCK = 1 << 20
_OVERLAP = 32


def find_hint(file: BinaryIO, begin: int = 0, size: int = SEARCHED_BYTES) -> str | None:
    """The library whose text comes first in `HINTS`, of all that are in these bytes of the file."""
    file.seek(begin)
    found: set[str] = set()
    carried, read = b"", 0
    size = min(size, SEARCHED_BYTES)
    while read < size and (block := file.read(min(_BLOCK, size - read))):
        read += len(block)
        data = carried + block
        found.update(library for text, library in HINTS.items() if library not in found and text in data)
        carried = block[-_OVERLAP:]
    return next((library for library in HINTS.values() if library in found), None)
