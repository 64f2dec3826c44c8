"""The standard OTEL_EXPORTER_OTLP_* variables -> where one signal goes, and how.

The general OTEL_EXPORTER_OTLP_X and the more specific OTEL_EXPORTER_OTLP_TRACES_X (or METRICS_X) are both read; the
specific one wins.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal
from urllib.parse import SplitResult, urlsplit

import msgspec

from apisensor.export.environment import TOKEN, Environment
from apisensor.export.signal import Signal
from apisensor.settings import SettingsError

Protocol = Literal["grpc", "http/protobuf"]

GRPC_PORT = 4317
"""IANA's port for OTLP/gRPC: an endpoint that names it, without OTEL_EXPORTER_OTLP_PROTOCOL, means gRPC."""

DEFAULT_ENDPOINT: dict[Protocol, str] = {
    "grpc": "http://localhost:4317",
    "http/protobuf": "http://localhost:4318",
}
DEFAULT_TIMEOUT_MS = 10_000

_OPTIONS = ("ENDPOINT", "PROTOCOL", "HEADERS", "TIMEOUT", "COMPRESSION", "CERTIFICATE")
_OPTIONS_TLS = ("CLIENT_KEY", "CLIENT_CERTIFICATE", "INSECURE")

_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")


class Otlp(msgspec.Struct, frozen=True):
    """Where a signal goes, and how."""

    signal: Signal
    protocol: Protocol
    endpoint: str
    """http/protobuf: the full URL. grpc: "host:port" or any other target of gRPC."""
    secure: bool
    headers: tuple[tuple[str, str], ...]
    """Names in lower case. Values may be secrets."""
    timeout_s: float
    """Of one request."""
    gzip: bool
    certificate: str | None
    """Path of a PEM file with the authorities trusted instead of the system's."""
    client_key: str | None
    client_certificate: str | None


def variables(signal: Signal) -> tuple[str, ...]:
    """The variables that say where the signal goes. Any of them, set, turns its export on."""
    return tuple(
        f"OTEL_EXPORTER_OTLP_{infix}{option}"
        for option in (*_OPTIONS, *_OPTIONS_TLS)
        for infix in ("", f"{signal.infix}_")
    )


def read(env: Environment) -> Otlp:
    """Where the signal that env is for goes.

    Raises:
        SettingsError: a variable has a value that is not allowed; one line, with name, value and what is allowed.
    """
    protocol = _protocol(env)
    endpoint, secure = (_grpc_endpoint if protocol == "grpc" else _http_endpoint)(env)
    name, compression = env.otlp("COMPRESSION")
    if compression.lower() not in {"", "none", "gzip"}:
        raise env.error(name, "none, gzip")
    timeout_name, _ = env.otlp("TIMEOUT")
    certificate, client_key, client_certificate = _pem(env)
    return Otlp(
        signal=env.signal,
        protocol=protocol,
        endpoint=endpoint,
        secure=secure,
        headers=_headers(env),
        timeout_s=env.integer(timeout_name, DEFAULT_TIMEOUT_MS, 1, 600_000) / 1000,
        gzip=compression.lower() == "gzip",
        certificate=certificate,
        client_key=client_key,
        client_certificate=client_certificate,
    )


def _pem(env: Environment) -> tuple[str | None, str | None, str | None]:
    """The TLS files, tried here so that a wrong one stops the start, not each request."""
    if not any(env.otlp(option)[1] for option in ("CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE")):
        return None, None, None
    import ssl  # noqa: PLC0415 - a megabyte in each process that looks at these variables

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def usable(load: Callable[[], None]) -> None:
        try:
            load()
        except ssl.SSLError as error:
            raise ValueError from error

    certificate = env.file("CERTIFICATE", lambda path: usable(lambda: context.load_verify_locations(cafile=path)))
    key_name, key = env.otlp("CLIENT_KEY")
    if key and not env.otlp("CLIENT_CERTIFICATE")[1]:
        raise SettingsError(f"{key_name}: set without OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE; allowed: both, or neither")
    # The empty password keeps OpenSSL from asking for one on the terminal: an encrypted key is no usable PEM here.
    client_certificate = env.file(
        "CLIENT_CERTIFICATE", lambda path: usable(lambda: context.load_cert_chain(path, key or None, password=""))
    )
    return certificate, env.file("CLIENT_KEY", lambda _: None), client_certificate


def _split(env: Environment, name: str, url: str, allowed: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise env.error(name, allowed) from None
    return parts


def _protocol(env: Environment) -> Protocol:
    name, value = env.otlp("PROTOCOL")
    if not value:
        name, endpoint = env.otlp("ENDPOINT")
        port = _split(env, name, endpoint, "a URL").port
        return "grpc" if port == GRPC_PORT or endpoint.endswith(f":{GRPC_PORT}") else "http/protobuf"
    for protocol in DEFAULT_ENDPOINT:
        if value == protocol:
            return protocol
    raise env.error(name, ", ".join(DEFAULT_ENDPOINT))


def _http_endpoint(env: Environment) -> tuple[str, bool]:
    """The URL as it is for the signal's own variable; with the signal's path for the general one."""
    name, url = env.otlp("ENDPOINT")
    allowed = "a URL http://host[:port][/path] or https://..."
    parts = _split(env, name, url or DEFAULT_ENDPOINT["http/protobuf"], allowed)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise env.error(name, allowed, secret="@" in url)
    if name == "OTEL_EXPORTER_OTLP_ENDPOINT":
        parts = parts._replace(path=parts.path.rstrip("/") + env.signal.path)
    return parts.geturl(), parts.scheme == "https"


def _grpc_endpoint(env: Environment) -> tuple[str, bool]:
    """The target and whether TLS is used: the scheme says so; without a scheme OTEL_EXPORTER_OTLP_INSECURE does."""
    name, url = env.otlp("ENDPOINT")
    url = url or DEFAULT_ENDPOINT["grpc"]
    allowed = "http://host:port, https://host:port or host:port"
    parts = _split(env, name, url, allowed)
    insecure_name, _ = env.otlp("INSECURE")
    insecure = env.boolean(insecure_name)
    if url.startswith(("http://", "https://")):
        if not parts.hostname or parts.path.strip("/") or parts.query or "@" in parts.netloc:
            raise env.error(name, allowed, secret="@" in url)
        return parts.netloc + ("" if parts.port is not None else f":{GRPC_PORT}"), parts.scheme == "https"
    if "://" in url and parts.scheme not in {"dns", "unix", "ipv4", "ipv6"}:
        raise env.error(name, allowed)
    return url, not insecure


def _headers(env: Environment) -> tuple[tuple[str, str], ...]:
    name, _ = env.otlp("HEADERS")
    headers = {key.lower(): value for key, value in env.pairs(name).items()}
    for key, value in headers.items():
        if not TOKEN.fullmatch(key) or not _HEADER_VALUE.fullmatch(value):
            raise env.error(name, "name=value pairs separated by commas, values percent-encoded", secret=True)
    return tuple(headers.items())
