"""The functions of each TLS library that are observed, by the part they play. A further library is one more row.

bpf/tls_probes.h has a program for each role of each library. Names are those of the symbol tables.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable

import msgspec


class Role(enum.StrEnum):
    """What a function does, and where its result says how many bytes of plaintext it moved."""

    READ = "read"
    """(session, buffer, size): returns the bytes that it put into the buffer."""
    WRITE = "write"
    """(session, buffer, size): returns the bytes that it took from the buffer."""
    READ_COUNTED = "read_counted"
    """(session, buffer, size, size_t *count): 1, and the count where that points."""
    WRITE_COUNTED = "write_counted"
    """(session, buffer, size, size_t *count): 1, and the count where that points."""
    WRITE_FLAGS_COUNTED = "write_flags_counted"
    """(session, buffer, size, flags, size_t *count): the same."""
    READ_ELSEWHERE = "read_elsewhere"
    """(session, ...): returns bytes that lie in a structure of the library: counted, not captured."""
    WRITE_ELSEWHERE = "write_elsewhere"
    """(session, ...): returns bytes that it took from a file: counted, not captured."""
    QUIET = "quiet"
    """(session, ...): moves no plaintext, or bytes that another call reports (a peek, what was corked). Its socket
    calls tell the session's socket, and what it calls of the others is not reported again."""
    SET_FD = "set_fd"
    """(session, descriptor)."""
    SET_BIO = "set_bio"
    """(session, BIO for reading, BIO for writing): OpenSSL's memory buffers are told by it."""
    FREE = "free"
    """(session): the session is over."""
    CLEAR = "clear"
    """(session): the object is used for another session."""
    BIO_WRITE = "bio_write"
    """(BIO, buffer, size): ciphertext for a memory buffer; observed in processes that have some, only."""


class TlsLibrary(msgspec.Struct, frozen=True):
    """One library."""

    name: str
    """Public: `tls.library` of a transaction. The kernel side's programs are named after it and the role."""
    bit: int
    """enum tls_library of bpf/maps.h."""
    files: re.Pattern[str]
    """Base names of its shared object; distributions and wheels add versions and hashes. Only ever sees a name of 255
    bytes at most; linear."""
    functions: dict[str, Role]


OPENSSL = TlsLibrary(
    "openssl",
    1,
    re.compile(r"^libssl([-.][\w.+-]*)?\.so"),
    {
        "SSL_read": Role.READ,
        "SSL_write": Role.WRITE,
        "SSL_read_ex": Role.READ_COUNTED,
        "SSL_write_ex": Role.WRITE_COUNTED,
        "SSL_write_ex2": Role.WRITE_FLAGS_COUNTED,
        "SSL_read_early_data": Role.READ_COUNTED,
        "SSL_write_early_data": Role.WRITE_COUNTED,
        "SSL_sendfile": Role.WRITE_ELSEWHERE,
        "SSL_peek": Role.QUIET,
        "SSL_peek_ex": Role.QUIET,
        "SSL_do_handshake": Role.QUIET,
        "SSL_set_fd": Role.SET_FD,
        "SSL_set_rfd": Role.SET_FD,
        "SSL_set_wfd": Role.SET_FD,
        "SSL_set_bio": Role.SET_BIO,
        "SSL_free": Role.FREE,
        "SSL_clear": Role.CLEAR,
        "BIO_write": Role.BIO_WRITE,
    },
)
"""OpenSSL 1.1.0 and later; BoringSSL and LibreSSL have the same functions under the same names."""

GNUTLS = TlsLibrary(
    "gnutls",
    2,
    re.compile(r"^libgnutls([-.][\w.+-]*)?\.so"),
    {
        "gnutls_record_recv": Role.READ,
        "gnutls_record_recv_seq": Role.READ,
        "gnutls_record_recv_early_data": Role.READ,
        "gnutls_record_recv_packet": Role.READ_ELSEWHERE,
        "gnutls_record_send": Role.WRITE,
        "gnutls_record_send2": Role.WRITE,
        "gnutls_record_send_range": Role.WRITE,
        # While corked, sends only collect; what they took is sent again by this through gnutls_record_send.
        "gnutls_record_uncork": Role.QUIET,
        "gnutls_handshake": Role.QUIET,
        # Not set_ptr and set_ptr2: what they are given may be anything. The socket call inside a read or write tells.
        "gnutls_transport_set_int2": Role.SET_FD,
        "gnutls_deinit": Role.FREE,
    },
)
"""GnuTLS 3. gnutls_record_send_file sends through gnutls_record_send; gnutls_record_send_early_data is not observed."""

GO = TlsLibrary(
    "go",
    4,
    re.compile(r"(?!)"),
    {
        "crypto/tls.(*Conn).Read": Role.READ,
        "crypto/tls.(*Conn).Write": Role.WRITE,
        # Not handshakeContext, which each read and write calls. A program may have one of them only.
        "crypto/tls.(*Conn).clientHandshake": Role.QUIET,
        "crypto/tls.(*Conn).serverHandshake": Role.QUIET,
        "crypto/tls.(*Conn).Close": Role.FREE,
    },
)
"""Go's own TLS, in every program that uses it; found by finder.go. No shared object has it."""

LIBRARIES = (OPENSSL, GNUTLS, GO)
C_FUNCTIONS = (*OPENSSL.functions, *GNUTLS.functions)

ROLES = {function: role for library in LIBRARIES for function, role in library.functions.items()}
"""Every function that is looked for."""


BITS = {library.name: library.bit for library in LIBRARIES}


def library_of(functions: Iterable[str]) -> str | None:
    """The library that a file with these functions is, or has built in; None: none of them moves plaintext."""
    for library in LIBRARIES:
        if any(library.functions.get(name) not in (None, Role.BIO_WRITE) for name in functions):
            return library.name
    return None


def library_named(path: str) -> str | None:
    """The library whose shared object has such a name."""
    base = path.rsplit("/", 1)[-1]
    return next((library.name for library in LIBRARIES if library.files.match(base)), None)
