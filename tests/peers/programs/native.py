"""TLS libraries called directly, through ctypes: each function of theirs that moves plaintext, the ways they are bound
to a socket, and what applications do with their sessions.

A way is a name of `OPENSSL_WAYS` or `GNUTLS_WAYS`. Sockets block; a session raises OSError where the library fails.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec

from tests.peers.programs import sockets, ways

_void, _size = ctypes.c_void_p, ctypes.c_size_t
EARLY_BYTES = 16_384
STEP = 100_000
"""Bytes that are offered at once where less may be taken."""


class OpenSsl:
    """libssl 1.1.1 or 3, and one context for one side."""

    def __init__(self, folder: str, certificate: str, key: str | None, way: str) -> None:
        """`folder`: where another libssl than the distribution's lies, or "". `key`: of a server."""
        suffix = "1.1" if folder else "3"
        self.crypto = ctypes.CDLL(os.path.join(folder, f"libcrypto.so.{suffix}"), mode=ctypes.RTLD_GLOBAL)
        self.ssl = ctypes.CDLL(os.path.join(folder, f"libssl.so.{suffix}"))
        self.server, self.way = key is not None, way
        for name in ("TLS_server_method", "TLS_client_method", "SSL_CTX_new", "SSL_new", "BIO_new_socket", "BIO_s_mem"):
            getattr(self.crypto if name.startswith("BIO") else self.ssl, name).restype = _void
        for name in ("BIO_new", "SSL_get1_session"):
            getattr(self.crypto if name.startswith("BIO") else self.ssl, name).restype = _void
        method = self.ssl.TLS_server_method() if self.server else self.ssl.TLS_client_method()
        self.context = _void(self.ssl.SSL_CTX_new(_void(method)))
        if key is not None:
            self.check(self.ssl.SSL_CTX_use_certificate_file(self.context, certificate.encode(), 1))
            self.check(self.ssl.SSL_CTX_use_PrivateKey_file(self.context, key.encode(), 1))
            self.ssl.SSL_CTX_set_max_early_data(self.context, EARLY_BYTES)
        if way == "renegotiate":
            self.ssl.SSL_CTX_ctrl(self.context, 124, 0x0303, None)  # SSL_CTX_set_max_proto_version, TLS 1.2
            self.ssl.SSL_CTX_set_options(self.context, ctypes.c_uint64(1 << 8))  # ALLOW_CLIENT_RENEGOTIATION
        self.resumed: Any = None
        self.to: tuple[str, int] = ("", 0)
        """Whom a client connects to, where the session does it."""
        self.lock = threading.Lock()

    def check(self, result: int) -> int:
        """Raises OSError with the library's reason where it says that it failed."""
        if result <= 0:
            text = ctypes.create_string_buffer(256)
            self.crypto.ERR_get_error.restype = ctypes.c_ulong
            self.crypto.ERR_error_string_n(self.crypto.ERR_get_error(), text, _size(256))
            raise OSError(f"libssl: {text.value.decode()}")
        return result

    def session(self, connection: socket.socket) -> Session:
        return OPENSSL_WAYS[self.way](self, connection)


class Session:
    """A TLS session over a connected socket, the plain way: SSL_set_fd, SSL_read, SSL_write."""

    def __init__(self, library: Any, connection: socket.socket) -> None:
        self.library, self.connection = library, connection
        self.ssl = library.ssl
        self.s = _void(self.ssl.SSL_new(library.context))
        self.bind()
        if library.server:
            self.ssl.SSL_set_accept_state(self.s)
        else:
            self.ssl.SSL_set_connect_state(self.s)
        self.start()

    def bind(self) -> None:
        self.ssl.SSL_set_fd(self.s, self.connection.fileno())

    def start(self) -> None:
        self.library.check(self.ssl.SSL_do_handshake(self.s))

    def read(self, size: int) -> bytes:
        """b"" at the end of the stream."""
        buffer = ctypes.create_string_buffer(size)
        n = self.ssl.SSL_read(self.s, buffer, size)
        return buffer.raw[:n] if n > 0 else b""

    def write(self, data: bytes) -> None:
        self.library.check(self.ssl.SSL_write(self.s, data, len(data)))

    def between(self) -> bool:
        """What is done between two calls of a connection. Returns whether the session goes on over another one."""
        return False

    def close(self) -> None:
        self.ssl.SSL_shutdown(self.s)
        self.ssl.SSL_free(self.s)
        self.connection.close()


class Unconnected(Session):
    """A client's session gets its descriptor first, and is connected then."""

    def bind(self) -> None:
        super().bind()
        if not self.library.server:
            self.connection.connect(self.library.to)


class Implicit(Session):
    """No handshake of its own: the first read or write makes it. A socket BIO of its own in each direction."""

    def bind(self) -> None:
        for set_one in ("SSL_set0_rbio", "SSL_set0_wbio"):
            bio = self.library.crypto.BIO_new_socket(self.connection.fileno(), 0)
            getattr(self.ssl, set_one)(self.s, _void(bio))

    def start(self) -> None:
        """Nothing."""


class Counted(Session):
    """SSL_read_ex and SSL_write_ex."""

    def read(self, size: int) -> bytes:
        buffer, count = ctypes.create_string_buffer(size), _size()
        done = self.ssl.SSL_read_ex(self.s, buffer, _size(size), ctypes.byref(count))
        return buffer.raw[: count.value] if done == 1 else b""

    def write(self, data: bytes) -> None:
        count = _size()
        self.library.check(self.ssl.SSL_write_ex(self.s, data, _size(len(data)), ctypes.byref(count)))


class Peeking(Session):
    """Looks at everything before it reads it, by SSL_peek and SSL_peek_ex in turn; the handshake is made in a peek."""

    turn = 0

    def bind(self) -> None:
        bio = _void(self.library.crypto.BIO_new_socket(self.connection.fileno(), 0))
        self.ssl.SSL_set_bio(self.s, bio, bio)

    def start(self) -> None:
        if not self.library.server:
            super().start()

    def read(self, size: int) -> bytes:
        buffer, count = ctypes.create_string_buffer(size), _size()
        self.turn += 1
        if self.turn % 2:
            self.ssl.SSL_peek(self.s, buffer, size)
        else:
            self.ssl.SSL_peek_ex(self.s, buffer, _size(size), ctypes.byref(count))
        return super().read(size)


class KeyUpdate(Session):
    """New keys for both directions between calls."""

    def between(self) -> bool:
        self.library.check(self.ssl.SSL_key_update(self.s, 1))
        return False


class Renegotiate(Session):
    """TLS 1.2, and another handshake between calls, which the client asks for."""

    def between(self) -> bool:
        if not self.library.server:
            self.library.check(self.ssl.SSL_renegotiate(self.s))
            self.library.check(self.ssl.SSL_do_handshake(self.s))
        return False


class Rebound(Session):
    """Other BIOs on the same socket between calls."""

    def between(self) -> bool:
        self.rebind()
        return False

    def rebind(self) -> None:
        bio = _void(self.library.crypto.BIO_new_socket(self.connection.fileno(), 0))
        self.ssl.SSL_set_bio(self.s, bio, bio)


class Moved(Rebound):
    """The session goes on over another connection after some calls, by SSL_set_bio or SSL_set_fd: the client makes it,
    from another loopback address and the same port, by which the server knows whose it is. The one before is closed."""

    BEFORE, ADDRESS = 10, "127.0.0.2"
    calls = 0
    _arrived: ClassVar[dict[int, socket.socket]] = {}
    _changed = threading.Condition()
    _listener: ClassVar[socket.socket | None] = None

    def between(self) -> bool:
        self.calls += 1
        if self.calls != self.BEFORE:
            return False
        former = self.connection
        if self.library.server:
            self.connection = self._await(former.getpeername()[1])
        else:
            to, port = former.getpeername()[1], former.getsockname()[1]
            self.connection = socket.create_connection((self.ADDRESS, to), 20, (self.ADDRESS, port))
            self.connection.settimeout(None)
        at_once(self.connection)
        for_both = sum(former.getsockname()[1:] + former.getpeername()[1:])
        (self.bind, self.rebind)[for_both % 2]()
        former.close()
        return True

    def start(self) -> None:
        with self._changed:
            if self.library.server and Moved._listener is None:
                Moved._listener = socket.create_server((self.ADDRESS, self.connection.getsockname()[1]))
                threading.Thread(target=self._accept, args=(Moved._listener,), daemon=True).start()
        super().start()

    @classmethod
    def _accept(cls, listener: socket.socket) -> None:
        while True:
            connection, (_, port) = listener.accept()
            with cls._changed:
                cls._arrived[port] = connection
                cls._changed.notify_all()

    @classmethod
    def _await(cls, port: int) -> socket.socket:
        with cls._changed:
            if not cls._changed.wait_for(lambda: port in cls._arrived, 20):
                raise OSError("the client did not come by its other connection")
            return cls._arrived.pop(port)


class Partial(Session):
    """A write may take less than it was given (SSL_MODE_ENABLE_PARTIAL_WRITE); it is asked again with the rest, and a
    socket that never blocks makes every larger one wait (SSL_ERROR_WANT_WRITE)."""

    def start(self) -> None:
        super().start()
        self.ssl.SSL_ctrl(self.s, 33, 1 | 2, None)  # SSL_CTRL_MODE: PARTIAL_WRITE, ACCEPT_MOVING_WRITE_BUFFER
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        self.connection.setblocking(False)

    def _again(self, result: int) -> bool:
        """Waits until the socket is ready; False where the session is at its end."""
        event = {2: 1, 3: 4}.get(self.ssl.SSL_get_error(self.s, result))  # WANT_READ: POLLIN, WANT_WRITE: POLLOUT
        if event is None:
            return False
        import select  # noqa: PLC0415 - poll is needed nowhere else

        waiting = select.poll()
        waiting.register(self.connection, event)
        waiting.poll(20_000)
        return True

    def read(self, size: int) -> bytes:
        buffer = ctypes.create_string_buffer(size)
        while (n := self.ssl.SSL_read(self.s, buffer, size)) <= 0 and self._again(n):
            pass
        return buffer.raw[: max(n, 0)]

    def write(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            n = self.ssl.SSL_write(self.s, data[at : at + STEP], min(len(data) - at, STEP))
            if n <= 0 and not self._again(n):
                self.library.check(n)
            at += max(n, 0)


class Reused(Session):
    """One SSL object for all connections of a thread, one after another, with SSL_clear between them."""

    local = threading.local()

    def __init__(self, library: Any, connection: socket.socket) -> None:
        if getattr(self.local, "s", None) is None:
            super().__init__(library, connection)
            self.local.s = self.s
            return
        self.library, self.connection, self.ssl, self.s = library, connection, library.ssl, self.local.s
        self.library.check(self.ssl.SSL_clear(self.s))
        self.bind()
        self.start()

    def close(self) -> None:
        self.ssl.SSL_shutdown(self.s)
        self.connection.close()


class Shared(Session):
    """Another thread writes than the one that reads, one at a time."""

    def write(self, data: bytes) -> None:
        failed: list[Exception] = []

        def other() -> None:
            with self.library.lock:
                try:
                    super(Shared, self).write(data)
                except OSError as error:
                    failed.append(error)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]


class Early(Session):
    """Early data: the client's first request travels with its hello, where it has a session to resume."""

    early = b""

    def start(self) -> None:
        ssl = self.ssl
        if not self.library.server:
            if self.library.resumed is not None:
                self.library.check(ssl.SSL_set_session(self.s, self.library.resumed))
            else:
                super().start()
            return
        buffer, count = ctypes.create_string_buffer(EARLY_BYTES), _size()
        while True:
            state = ssl.SSL_read_early_data(self.s, buffer, _size(EARLY_BYTES), ctypes.byref(count))
            if state != 1:
                self.library.check(state)
                break
            self.early += buffer.raw[: count.value]
        super().start()

    def read(self, size: int) -> bytes:
        if self.early:
            data, self.early = self.early[:size], self.early[size:]
            return data
        return super().read(size)

    def write(self, data: bytes) -> None:
        if not self.library.server and not self.ssl.SSL_is_init_finished(self.s) and len(data) <= EARLY_BYTES:
            count = _size()
            self.library.check(self.ssl.SSL_write_early_data(self.s, data, _size(len(data)), ctypes.byref(count)))
            super().start()
            if self.ssl.SSL_get_early_data_status(self.s) != 2:
                raise OSError("the server took no early data")
            return
        super().write(data)

    def close(self) -> None:
        if not self.library.server:
            self.library.resumed = _void(self.ssl.SSL_get1_session(self.s))
        super().close()


OPENSSL_WAYS: dict[str, Callable[[Any, socket.socket], Session]] = {
    "set-fd": Session,
    "unconnected": Unconnected,
    "implicit": Implicit,
    "counted": Counted,
    "peek": Peeking,
    "key-update": KeyUpdate,
    "renegotiate": Renegotiate,
    "rebound": Rebound,
    "moved": Moved,
    "partial": Partial,
    "reused": Reused,
    "shared": Shared,
    "early": Early,
}


class GnuTls:
    """libgnutls, and the credentials of one side."""

    def __init__(self, certificate: str, key: str | None, way: str) -> None:
        self.lib = ctypes.CDLL("libgnutls.so.30")
        self.server, self.way = key is not None, way
        self.lib.gnutls_record_recv.restype = ctypes.c_ssize_t
        for name in ("send", "send2", "send_range", "recv", "recv_seq", "recv_packet"):
            getattr(self.lib, f"gnutls_record_{name}").restype = ctypes.c_ssize_t
        self.lib.gnutls_strerror.restype = ctypes.c_char_p
        self.credentials = _void()
        self.lib.gnutls_certificate_allocate_credentials(ctypes.byref(self.credentials))
        if key is not None:
            files = (certificate.encode(), key.encode(), 1)
            self.check(self.lib.gnutls_certificate_set_x509_key_file(self.credentials, *files))

    def check(self, result: int) -> int:
        if result < 0:
            raise OSError(f"libgnutls: {self.lib.gnutls_strerror(result).decode()}")
        return result

    def session(self, connection: socket.socket) -> Session:
        return GNUTLS_WAYS[self.way](self, connection)


class GnuSession(Session):
    """gnutls_transport_set_int2, gnutls_record_recv, gnutls_record_send."""

    def __init__(self, library: Any, connection: socket.socket) -> None:
        self.library, self.connection, self.lib = library, connection, library.lib
        self.s = _void()
        library.check(self.lib.gnutls_init(ctypes.byref(self.s), 1 if library.server else 2))
        library.check(self.lib.gnutls_set_default_priority(self.s))
        library.check(self.lib.gnutls_credentials_set(self.s, 1, library.credentials))
        self.bind()
        self.start()

    def bind(self) -> None:
        self.lib.gnutls_transport_set_int2(self.s, self.connection.fileno(), self.connection.fileno())

    def start(self) -> None:
        while (result := self.lib.gnutls_handshake(self.s)) < 0:
            if self.lib.gnutls_error_is_fatal(result):
                self.library.check(result)

    def _take(self, buffer: Any, size: int) -> int:
        return int(self.lib.gnutls_record_recv(self.s, buffer, _size(size)))

    def _give(self, data: bytes) -> int:
        return int(self.lib.gnutls_record_send(self.s, data, _size(len(data))))

    def read(self, size: int) -> bytes:
        buffer = ctypes.create_string_buffer(size)
        while (n := self._take(buffer, size)) < 0 and not self.lib.gnutls_error_is_fatal(n):
            pass
        return buffer.raw[:n] if n > 0 else b""

    def write(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            at += self.library.check(self._give(data[at : at + STEP]))

    def close(self) -> None:
        self.lib.gnutls_bye(self.s, 1)
        self.lib.gnutls_deinit(self.s)
        self.connection.close()


class GnuPointer(GnuSession):
    """gnutls_transport_set_ptr; the functions with a sequence number and with flags."""

    def bind(self) -> None:
        self.lib.gnutls_transport_set_ptr(self.s, _void(self.connection.fileno()))

    def _take(self, buffer: Any, size: int) -> int:
        return int(self.lib.gnutls_record_recv_seq(self.s, buffer, _size(size), ctypes.create_string_buffer(8)))

    def _give(self, data: bytes) -> int:
        return int(self.lib.gnutls_record_send2(self.s, data, _size(len(data)), _size(0), 0))


class GnuCorked(GnuSession):
    """What is written is collected, and sent when the response or request is whole."""

    def write(self, data: bytes) -> None:
        self.lib.gnutls_record_cork(self.s)
        super().write(data)
        self.library.check(self.lib.gnutls_record_uncork(self.s, 1))


class GnuRange(GnuSession):
    """gnutls_record_send_range, which pads, on TLS 1.3."""

    def _give(self, data: bytes) -> int:
        low, high = len(data[:16_000]), len(data[:16_000])
        limits = (_size * 2)(low, high)
        return int(self.lib.gnutls_record_send_range(self.s, data, _size(low), limits))


class GnuKeyUpdate(GnuSession):
    """New keys for both directions, which the client asks for: thrice, as GnuTLS refuses more than 8 in a second."""

    updates = 3

    def between(self) -> bool:
        if not self.library.server and self.updates:
            self.updates -= 1
            self.library.check(self.lib.gnutls_session_key_update(self.s, 1))
        return False


GNUTLS_WAYS: dict[str, Callable[[Any, socket.socket], Session]] = {
    "int2": GnuSession,
    "pointer": GnuPointer,
    "corked": GnuCorked,
    "range": GnuRange,
    "key-update": GnuKeyUpdate,
}


class NoTls:
    """In the place of a library."""

    def session(self, connection: socket.socket) -> Session:
        return PlainSession(self, connection)


class PlainSession(Session):
    """The socket itself."""

    def __init__(self, library: Any, connection: socket.socket) -> None:
        self.library, self.connection = library, connection

    def read(self, size: int) -> bytes:
        return self.connection.recv(size)

    def write(self, data: bytes) -> None:
        self.connection.sendall(data)

    def close(self) -> None:
        self.connection.close()


AnySession = Session | sockets.Session


def make(options: dict[str, Any], key: str | None) -> OpenSsl | GnuTls | NoTls | ways.Sockets:
    """The library that the options name ("openssl", "gnutls", or in plaintext "none" and "sockets", where the way names
    system calls), with the server's key or for a client."""
    if options["library"] == "none":
        return NoTls()
    if options["library"] == "sockets":
        return ways.Sockets(key is not None, options["way"])
    if options["library"] == "gnutls":
        return GnuTls(options["certificate"], key, options["way"])
    return OpenSsl(options["folder"], options["certificate"], key, options["way"])


def listen(address: str) -> tuple[socket.socket, int | None]:
    """A listening socket and its port; a unix socket where the address is a path, or @ and an abstract name."""
    if not address.startswith(("/", "@")):
        listener = socket.create_server((address, 0), backlog=256)
        return listener, listener.getsockname()[1]
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
    listener.listen(256)
    return listener, None


def at_once(connection: socket.socket) -> None:
    """Small writes do not wait for acknowledgements."""
    if connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def ready(port: int | None = None) -> None:
    print("ready", *([port] if port is not None else []), flush=True)


def options_from(text: str) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(text)
    return decoded
