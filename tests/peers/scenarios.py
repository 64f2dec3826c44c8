"""The list of scenarios."""

from __future__ import annotations

from typing import Any

from tests.peers.plan import CALLS, EDGES, FETCHES, FORMS
from tests.peers.scenario import Scenario


def _sockets(name: str, way: str, **options: Any) -> Scenario:
    """Native peers that use sockets directly, in plaintext."""
    return Scenario(name, "native", "native", tls=False, library="sockets", way=way, concurrency=4, **options)


SCENARIOS = [
    # curl to nginx: OpenSSL on the socket on both ends.
    Scenario("curl-nginx", "nginx", "curl"),
    Scenario("curl-nginx-50", "nginx", "curl", concurrency=50, workers=2),
    Scenario("curl-nginx-new", "nginx", "curl", keep=False),
    Scenario("curl-nginx-new-50", "nginx", "curl", keep=False, concurrency=50, workers=2),
    Scenario("curl-nginx-six", "nginx", "curl", address="::1"),
    Scenario("curl-nginx-each", "nginx", "curl-each", concurrency=4, count=100),
    Scenario("curl-nginx-h2", "nginx", "curl", "h2"),
    Scenario("curl-nginx-h2-50", "nginx", "curl", "h2", concurrency=50, workers=2),
    Scenario("curl-nginx-h2-each", "nginx", "curl-each", "h2", concurrency=4, count=100),
    Scenario("curl-nginx-plain", "nginx", "curl", tls=False),
    Scenario("curl-nginx-plain-50", "nginx", "curl", tls=False, concurrency=50, workers=2),
    Scenario("curl-nginx-plain-six", "nginx", "curl", tls=False, keep=False, address="::1"),
    Scenario("curl-nginx-sendfile", "nginx", "curl", tls=False, sendfile=True),
    Scenario("curl-nginx-sendfile-50", "nginx", "curl", tls=False, sendfile=True, concurrency=50),
    Scenario("curl-nginx-h2c-each", "nginx", "curl-each", "h2", tls=False, concurrency=4, count=100),
    Scenario("node-nginx-h2c-50", "nginx", "node", "h2", tls=False, concurrency=50),
    Scenario("node-nginx-h2c-sendfile", "nginx", "node", "h2", tls=False, sendfile=True),
    # Python requests: SSL_read_ex and SSL_write_ex on the socket; a thread a connection.
    Scenario("requests-nginx", "nginx", "requests"),
    Scenario("requests-nginx-50", "nginx", "requests", concurrency=50, workers=2),
    Scenario("requests-threads", "threads", "requests"),
    Scenario("requests-threads-50", "threads", "requests", concurrency=50),
    Scenario("requests-threads-new-50", "threads", "requests", concurrency=50, keep=False),
    Scenario("requests-threads-plain-50", "threads", "requests", tls=False, concurrency=50),
    Scenario("requests-aiohttp-six", "aiohttp", "requests", concurrency=8, address="::1"),
    # A socket of IPv6 with IPv4-mapped addresses: at the server alone, and at both ends.
    Scenario("requests-threads-mapped", "threads", "requests", concurrency=8, listen="::", count=300),
    Scenario(
        "requests-threads-mapped-plain",
        "threads",
        "requests",
        tls=False,
        concurrency=8,
        listen="::",
        address="::ffff:127.0.0.1",
        count=300,
    ),
    # aiohttp: memory buffers on an event loop.
    Scenario("aiohttp", "aiohttp", "aiohttp"),
    Scenario("aiohttp-50", "aiohttp", "aiohttp", concurrency=50),
    Scenario("aiohttp-200", "aiohttp", "aiohttp", concurrency=200, count=3000),
    Scenario("aiohttp-new-50", "aiohttp", "aiohttp", concurrency=50, keep=False),
    Scenario("aiohttp-plain-50", "aiohttp", "aiohttp", tls=False, concurrency=50),
    Scenario("curl-aiohttp-50", "aiohttp", "curl", concurrency=50),
    # Node.js: memory buffers, OpenSSL in its own binary.
    Scenario("node", "node", "node"),
    Scenario("node-50", "node", "node", concurrency=50),
    Scenario("node-new-50", "node", "node", concurrency=50, keep=False),
    Scenario("node-plain-50", "node", "node", tls=False, concurrency=50),
    Scenario("node-h2", "node", "node", "h2"),
    Scenario("node-h2-50", "node", "node", "h2", concurrency=50),
    Scenario("node-h2-new-50", "node", "node", "h2", concurrency=50, keep=False),
    Scenario("node-h2c-50", "node", "node", "h2", tls=False, concurrency=50),
    Scenario("node-six", "node", "node", concurrency=8, address="::1"),
    Scenario("curl-node-50", "node", "curl", concurrency=50),
    Scenario("curl-node-h2-50", "node", "curl", "h2", concurrency=50),
    Scenario("node-nginx-50", "nginx", "node", concurrency=50, workers=2),
    Scenario("node-nginx-h2-50", "nginx", "node", "h2", concurrency=50),
    Scenario("requests-node-50", "node", "requests", concurrency=50),
    Scenario("aiohttp-nginx-50", "nginx", "aiohttp", concurrency=50),
    # Sockets used directly, by every system call that moves their bytes; content that is never in user memory.
    *(
        _sockets(f"sockets-{way}", way)
        for way in (
            *("read-write", "send-recv", "messages", "vectors", "several", "zero-copy"),
            *("splice", "sendfile"),
        )
    ),
    # Served by a child of the process that accepted, or by one that was passed the connection; descriptors and
    # addresses of sockets that are soon used again.
    _sockets("sockets-fork", "vectors", serving="fork", count=300),
    _sockets("sockets-pass", "messages", serving="pass", count=300),
    _sockets("sockets-new", "several", keep=False),
    # Unix sockets.
    Scenario("unix-curl-nginx-50", "nginx", "curl", tls=False, address="unix", concurrency=50, workers=2),
    Scenario("unix-curl-nginx-new", "nginx", "curl", tls=False, address="unix", keep=False, sendfile=True),
    Scenario("unix-httpx-uvicorn-50", "uvicorn", "httpx", tls=False, address="unix", concurrency=50),
    Scenario("unix-node-50", "node", "node", tls=False, address="unix", concurrency=50, keep=False),
    Scenario("unix-node-h2c-50", "node", "node", "h2", tls=False, address="unix", concurrency=50),
    _sockets("unix-several", "several", address="unix", count=300),
    _sockets("unix-vectors-fork", "vectors", address="unix", serving="fork", count=300),
    _sockets("unix-messages-pass", "messages", address="unix", serving="pass", keep=False, count=300),
    _sockets("unix-sendfile", "sendfile", address="unix", count=300),
    # OpenSSL 3 called directly, in every way that a session is bound to its socket, read, written and used again.
    *(
        Scenario(f"openssl-{way}", "native", "native", way=way, concurrency=4)
        for way in (
            *("set-fd", "implicit", "counted", "peek", "partial", "key-update"),
            *("renegotiate", "rebound", "moved", "shared", "unconnected"),
        )
    ),
    Scenario("openssl-early", "native", "native", way="early", keep=False),
    Scenario("openssl-reused", "native", "native", way="reused", keep=False),
    Scenario("openssl-fork", "native", "native", way="set-fd", serving="fork", concurrency=4),
    Scenario("openssl-pass", "native", "native", way="implicit", serving="pass", concurrency=4),
    Scenario("plain-fork", "native", "native", library="none", way="plain", tls=False, serving="fork", concurrency=4),
    Scenario("plain-pass", "native", "native", library="none", way="plain", tls=False, serving="pass", concurrency=4),
    Scenario("openssl-1-1-1", "native", "native", library="openssl-1.1.1", way="set-fd"),
    Scenario("openssl-1-1-1-50", "native", "native", library="openssl-1.1.1", way="counted", concurrency=50),
    # GnuTLS the same.
    *(
        Scenario(f"gnutls-{way}", "native", "native", library="gnutls", way=way, concurrency=4)
        for way in ("corked", "range", "key-update")
    ),
    Scenario("gnutls", "native", "native", library="gnutls", way="int2"),
    Scenario("gnutls-50", "native", "native", library="gnutls", way="pointer", concurrency=50),
    Scenario("gnutls-new-50", "native", "native", library="gnutls", way="pointer", concurrency=50, keep=False),
    # OpenSSL linked in, with its symbols; GnuTLS's own client.
    Scenario("static-native", "native", "static", way="set-fd"),
    Scenario("gnutls-cli-threads", "threads", "gnutls-cli"),
    # libcurl on GnuTLS, with transport functions of its own.
    Scenario("gnucurl-nginx", "nginx", "gnucurl"),
    Scenario("gnucurl-nginx-50", "nginx", "gnucurl", concurrency=50, workers=2),
    Scenario("gnucurl-nginx-h2", "nginx", "gnucurl", "h2"),
    Scenario("wget-nginx", "nginx", "wget", mix=FETCHES),
    # BoringSSL linked in with its symbols, in an extension module of Python's.
    Scenario("boringcurl-nginx-50", "nginx", "boringcurl", concurrency=50, workers=2),
    Scenario("boringcurl-nginx-h2", "nginx", "boringcurl", "h2", concurrency=4),
    # Apache httpd: a connection's calls on changing threads; HTTP/2 on others than TLS.
    Scenario("curl-httpd-50", "httpd", "curl", concurrency=50, mix=FORMS),
    Scenario("curl-httpd-h2-50", "httpd", "curl", "h2", concurrency=50, mix=FORMS),
    # httpx and uvicorn.
    Scenario("httpx-uvicorn", "uvicorn", "httpx"),
    Scenario("httpx-uvicorn-50", "uvicorn", "httpx", concurrency=50),
    # Go: its own TLS, calls that move between threads, stacks that move.
    Scenario("go", "go", "go"),
    Scenario("go-50", "go", "go-stripped", concurrency=50),
    Scenario("go-new-50", "go-pie", "go", concurrency=50, keep=False),
    Scenario("go-h2", "go-stripped", "go", "h2"),
    Scenario("go-h2-50", "go", "go-stripped", "h2", concurrency=50),
    Scenario("go-plain-50", "go", "go", tls=False, concurrency=50),
    Scenario("curl-go-h2-50", "go", "curl", "h2", concurrency=50),
    Scenario("go-nginx-50", "nginx", "go", concurrency=50, workers=2),
    # gRPC, with messages in several parts. TLS of PyPI's grpcio is a blind spot (processes/test_blind_spots.py), that
    # of Debian's can: pairs of BIOs between its sockets and OpenSSL.
    Scenario("grpc-go-50", "grpc-go", "grpc-go", "grpc", concurrency=50, mix=CALLS),
    Scenario("grpc-go-plain-50", "grpc-go", "grpc-go", "grpc", tls=False, concurrency=50, mix=CALLS),
    Scenario("grpcio-plain", "grpcio", "grpcio", "grpc", tls=False, concurrency=8, mix=CALLS),
    Scenario("grpcio-debian", "debian-grpcio", "debian-grpcio", "grpc", concurrency=8, mix=CALLS),
]
"""What the sensor must get right: by library, protocol, concurrency, kept and new connections, address."""

URING_SCENARIOS = [
    _sockets("sockets-uring", "uring", count=400),
    _sockets("sockets-uring-alone", "uring-alone", count=400),
    _sockets("unix-uring-alone", "uring-alone", address="unix", count=300),
]
"""io_uring, of which all is captured where the kernel lets it."""

SPLICED_FROM_UNIX = _sockets("unix-splice", "splice", address="unix", count=300)
"""Seen by `syscall`, and by the other back ends where the kernel has BPF trampolines."""

UNSEEN_SCENARIOS = [
    _sockets("sockets-uring-at-times", "uring-at-times", count=400),
    _sockets("sockets-uring-splice", "uring-splice", count=400),
]
"""A part of the calls passes by a path that a back end does not see: the first of `syscall`, the second of `sock`."""

SIZE_SCENARIOS = [
    Scenario("sizes-plain", "threads", "requests", tls=False, sizes=EDGES),
    Scenario("sizes-openssl", "native", "native", way="set-fd", sizes=EDGES),
    Scenario("sizes-gnutls", "native", "native", library="gnutls", way="int2", sizes=EDGES),
    Scenario("sizes-aiohttp", "aiohttp", "aiohttp", sizes=EDGES),
    Scenario("sizes-node", "node", "node", sizes=EDGES),
    Scenario("sizes-go-h2", "go", "go", "h2", sizes=EDGES),
]
"""From nothing to 50 MiB each way."""

PROXY_SCENARIOS = [
    # Client, proxy and server on one node: four views of two calls. nginx has its connections behind in a pool.
    Scenario("proxy-nginx", "nginx-proxy", "curl", concurrency=50, views=4),
    Scenario("proxy-nginx-new", "nginx-proxy", "requests", concurrency=16, keep=False, views=4, count=400),
    Scenario("proxy-gateway", "gateway", "aiohttp", concurrency=50, views=4),
    # HAProxy: TLS in front, plaintext to nginx behind.
    Scenario("proxy-haproxy", "haproxy", "curl", concurrency=50, views=4),
    Scenario("proxy-haproxy-h2", "haproxy", "curl", "h2", concurrency=50, views=4),
]
"""Calls that pass through a reverse proxy."""

CONTAINER_SCENARIOS = [
    # Both in containers of their own, each with its overlay of one folder: one libssl, two device numbers.
    Scenario("containers", "container-nginx", "container-curl"),
    Scenario("containers-h2-50", "container-nginx", "container-curl", "h2", concurrency=50, workers=2),
    Scenario("container-server", "container-nginx", "curl", concurrency=8),
    Scenario("container-client", "nginx", "container-curl", concurrency=8),
]
"""The same in podman containers; these need root."""

BY_NAME = {
    scenario.name: scenario
    for scenario in (
        *(*SCENARIOS, *URING_SCENARIOS, SPLICED_FROM_UNIX, *UNSEEN_SCENARIOS),
        *(*SIZE_SCENARIOS, *PROXY_SCENARIOS, *CONTAINER_SCENARIOS),
    )
}
