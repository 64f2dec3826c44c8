"""Why the TLS of a process is not seen, and what would help: the text of a blind spot."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec


class Reason(msgspec.Struct, frozen=True):
    """Of one kind of TLS."""

    why: str
    remedy: str


_NSS = Reason("its functions are not hooked", "please ask for it")

RUNTIMES: dict[re.Pattern[str], tuple[str, Reason]] = {
    re.compile(r"^libjvm\.so"): (
        "Java (JSSE)",
        Reason(
            "its code is made while it runs: no functions to attach to",
            "a proxy in front of it (nginx, HAProxy) is seen; so is shared OpenSSL under it",
        ),
    ),
    re.compile(r"^libssl3\.so"): ("NSS", _NSS),
    re.compile(r"^libmbedtls\.so"): ("mbed TLS", Reason("its functions are not hooked", "please ask for it")),
    re.compile(r"^libwolfssl\.so"): ("wolfSSL", Reason("its functions are not hooked", "please ask for it")),
    re.compile(r"^libs2n\.so"): ("s2n", Reason("its functions are not hooked", "please ask for it")),
}
"""Base name of a mapped file: public name of the TLS behind it, and why it is not seen. Linear."""

LAST: dict[re.Pattern[str], tuple[str, Reason]] = {re.compile(r"^libnss3\.so"): ("NSS", _NSS)}
"""The same, where nothing else explains it: Chromium has NSS for certificates alone, and speaks TLS by BoringSSL."""

BUILT_IN = {
    "rustls": Reason("Rust leaves no functions with a fixed form", "native-tls or openssl in its place is seen"),
    "openssl": Reason("linked in without symbols", "a build with symbols, or with the shared library, is seen"),
    "boringssl": Reason("linked in without symbols", "a build with symbols is seen"),
    "gnutls": Reason("linked in without symbols", "a build with symbols, or with the shared library, is seen"),
    "mbedtls": Reason("its functions are not hooked", "please ask for it"),
    "wolfssl": Reason("its functions are not hooked", "please ask for it"),
    "s2n": Reason("its functions are not hooked", "please ask for it"),
}
"""Library of finder.hints that is linked into a program or a shared object: why it is not seen."""

OF_FILES: dict[re.Pattern[str], str] = {
    re.compile(
        r"^cygrpc\.[^/]*\.so"
    ): "grpcio built on the shared OpenSSL is seen (Debian's python3-grpcio, or built with "
    "GRPC_PYTHON_BUILD_SYSTEM_OPENSSL=1)",
}
"""Base name of a file that has TLS built in: what helps with that one. Linear."""

ENDED = "it ended before it could be looked at: its HTTPS is not seen"
UNKNOWN = "no TLS library that is known: its HTTPS is not seen; please report what it is"


def by_name(paths: Iterable[str], runtimes: Mapping[re.Pattern[str], tuple[str, Reason]] = RUNTIMES) -> str | None:
    """The text for a process that has mapped these files, where one of them explains it."""
    for path in paths:
        base = path.rsplit("/", 1)[-1]
        for pattern, (name, reason) in runtimes.items():
            if pattern.match(base):
                return f"{name}: {reason.why}; {reason.remedy}"
    return None


def by_hint(library: str, path: str) -> str:
    """The text for a library that the finder recognised in a file."""
    reason = BUILT_IN[library]
    base = path.rsplit("/", 1)[-1]
    remedy = next((text for pattern, text in OF_FILES.items() if pattern.match(base)), reason.remedy)
    return f"{library} in {path}: {reason.why}; {remedy}"
