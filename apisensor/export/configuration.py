"""The standard OTEL_* variables -> one frozen object. docs/export.md has the table; a test compares it with VARIABLES.

The general OTEL_EXPORTER_OTLP_X and the more specific OTEL_EXPORTER_OTLP_TRACES_X are both read; the specific one wins.
A variable that is empty counts as unset (OpenTelemetry specification, "Environment Variable Specification"). Unlike the
SDK, which warns and goes on with a default, a value that is not allowed stops the start.
"""

from __future__ import annotations

import math
import re
import ssl
from collections.abc import Callable, Mapping
from typing import Literal
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from apisensor.export import sampling
from apisensor.export.semantics import KNOWN_METHODS
from apisensor.settings import SettingsError

Protocol = Literal["grpc", "http/protobuf"]

GRPC_PORT = 4317
"""IANA's port for OTLP/gRPC: an endpoint that names it, without OTEL_EXPORTER_OTLP_PROTOCOL, means gRPC."""

DEFAULT_ENDPOINT: dict[Protocol, str] = {
    "grpc": "http://localhost:4317",
    "http/protobuf": "http://localhost:4318",
}
DEFAULT_TIMEOUT_MS = 10_000
DEFAULT_SCHEDULE_DELAY_MS = 1_000
"""The SDK has 5,000; who makes a call and looks at Jaeger should see it. Under load the batch size decides anyway."""
DEFAULT_QUEUE_SPANS = 16_384
"""The SDK has 2,048, for one process. A node's worth at 1,000 calls a second, both views seen, would be one second."""
DEFAULT_BATCH_SPANS = 512
DEFAULT_EXPORT_TIMEOUT_MS = 30_000

_OTLP_OPTIONS = ("ENDPOINT", "PROTOCOL", "HEADERS", "TIMEOUT", "COMPRESSION", "CERTIFICATE")
_OTLP_OPTIONS_TLS = ("CLIENT_KEY", "CLIENT_CERTIFICATE", "INSECURE")

OTLP_VARIABLES = tuple(
    f"OTEL_EXPORTER_OTLP_{signal}{option}"
    for option in (*_OTLP_OPTIONS, *_OTLP_OPTIONS_TLS)
    for signal in ("", "TRACES_")
)
"""Any of these, set, turns export on."""

CAPTURE_HEADERS = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_"

VARIABLES = (
    "OTEL_SDK_DISABLED",
    "OTEL_TRACES_EXPORTER",
    *OTLP_VARIABLES,
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS",
    *(
        CAPTURE_HEADERS + f"{side}_{message}"
        for side in ("SERVER", "CLIENT")
        for message in ("REQUEST", "RESPONSE")
    ),
)

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110 section 5.6.2: methods and field names. Applied to the operator's own environment only."""
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")


class Otlp(msgspec.Struct, frozen=True):
    """Where spans go, and how."""

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


class Configuration(msgspec.Struct, frozen=True):
    """Everything that the OTEL_* variables say about export."""

    otlp: Otlp
    schedule_delay_ns: int
    queue_spans: int
    batch_spans: int
    export_timeout_s: float
    sampler: sampling.Sampler
    resource_attributes: dict[str, str]
    known_methods: frozenset[str]
    capture_headers: dict[str, tuple[str, ...]]
    """Keys "server_request", "server_response", "client_request", "client_response"."""


class _Environment:
    """The variables, each with the error that names it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def get(self, name: str) -> str:
        return self._environ.get(name, "").strip()

    def otlp(self, option: str) -> tuple[str, str]:
        """Name and value of OTEL_EXPORTER_OTLP_[TRACES_]option; the general name and "" where neither is set."""
        name = f"OTEL_EXPORTER_OTLP_TRACES_{option}"
        if not self.get(name):
            name = f"OTEL_EXPORTER_OTLP_{option}"
        return name, self.get(name)

    def error(self, name: str, allowed: str, *, secret: bool = False) -> SettingsError:
        shown = "its value" if secret else repr(self.get(name))
        return SettingsError(f"{name}: {shown} is not allowed; allowed: {allowed}")

    def boolean(self, name: str) -> bool:
        value = self.get(name).lower()
        if value not in {"", "true", "false"}:
            raise self.error(name, "true, false")
        return value == "true"

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        value = self.get(name)
        if not value:
            return default
        if not re.fullmatch(r"[0-9]{1,12}", value) or not least <= int(value) <= most:
            raise self.error(name, f"a whole number from {least} to {most}")
        return int(value)

    def names(self, name: str) -> tuple[str, ...]:
        """A comma-separated list of tokens."""
        items = tuple(item.strip() for item in self.get(name).split(",") if item.strip())
        if not all(_TOKEN.fullmatch(item) for item in items):
            raise self.error(name, "names separated by commas")
        return items

    def pairs(self, name: str) -> dict[str, str]:
        """name=value,name=value with percent-encoded values (W3C Baggage without properties)."""
        pairs = {}
        for item in self.get(name).split(","):
            key, equals, value = (part.strip() for part in item.partition("="))
            if not item.strip():
                continue
            if not equals or not key:
                raise self.error(name, "name=value pairs separated by commas, values percent-encoded", secret=True)
            pairs[unquote(key)] = unquote(value)
        return pairs

    def file(self, option: str, load: Callable[[str], None]) -> str | None:
        """Path of a PEM file that load takes."""
        name, path = self.otlp(option)
        if not path:
            return None
        try:
            with open(path, "rb"):
                load(path)
        except OSError as error:  # of which ssl.SSLError is one
            reason = "no usable PEM" if isinstance(error, ssl.SSLError) else error.strerror
            raise SettingsError(f"{name}: {path!r} is not allowed ({reason}); allowed: a readable PEM file") from None
        return path


def read(environ: Mapping[str, str]) -> Configuration | None:
    """What to do; None where export is switched off or nothing asks for it.

    Raises:
        SettingsError: a variable has a value that is not allowed; one line, with name, value and what is allowed.
    """
    env = _Environment(environ)
    if env.boolean("OTEL_SDK_DISABLED"):
        return None
    exporter = env.get("OTEL_TRACES_EXPORTER").lower()
    if exporter not in {"", "otlp", "none"}:
        raise env.error("OTEL_TRACES_EXPORTER", "otlp, none")
    if exporter == "none" or (not exporter and not any(env.get(name) for name in OTLP_VARIABLES)):
        return None
    queue_spans = env.integer("OTEL_BSP_MAX_QUEUE_SIZE", DEFAULT_QUEUE_SPANS, 1, 1_000_000)
    batch_spans = env.integer(
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", min(DEFAULT_BATCH_SPANS, queue_spans), 1, queue_spans
    )
    return Configuration(
        otlp=_otlp(env),
        schedule_delay_ns=1_000_000 * env.integer("OTEL_BSP_SCHEDULE_DELAY", DEFAULT_SCHEDULE_DELAY_MS, 0, 3_600_000),
        queue_spans=queue_spans,
        batch_spans=batch_spans,
        export_timeout_s=env.integer("OTEL_BSP_EXPORT_TIMEOUT", DEFAULT_EXPORT_TIMEOUT_MS, 1, 3_600_000) / 1000,
        sampler=_sampler(env),
        resource_attributes=env.pairs("OTEL_RESOURCE_ATTRIBUTES"),
        known_methods=frozenset(env.names("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS")) or KNOWN_METHODS,
        capture_headers={
            f"{side}_{message}": env.names(CAPTURE_HEADERS + f"{side}_{message}".upper())
            for side in ("server", "client")
            for message in ("request", "response")
        },
    )


def _otlp(env: _Environment) -> Otlp:
    protocol = _protocol(env)
    endpoint, secure = (_grpc_endpoint if protocol == "grpc" else _http_endpoint)(env)
    name, compression = env.otlp("COMPRESSION")
    if compression.lower() not in {"", "none", "gzip"}:
        raise env.error(name, "none, gzip")
    timeout_name, _ = env.otlp("TIMEOUT")
    certificate, client_key, client_certificate = _pem(env)
    return Otlp(
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


def _pem(env: _Environment) -> tuple[str | None, str | None, str | None]:
    """The TLS files, tried here so that a wrong one stops the start, not each request."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    certificate = env.file("CERTIFICATE", lambda path: context.load_verify_locations(cafile=path))
    key_name, key = env.otlp("CLIENT_KEY")
    if key and not env.otlp("CLIENT_CERTIFICATE")[1]:
        raise SettingsError(f"{key_name}: set without OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE; allowed: both, or neither")
    # The empty password keeps OpenSSL from asking for one on the terminal: an encrypted key is no usable PEM here.
    client_certificate = env.file(
        "CLIENT_CERTIFICATE", lambda path: context.load_cert_chain(path, key or None, password="")
    )
    return certificate, env.file("CLIENT_KEY", lambda _: None), client_certificate


def _split(env: _Environment, name: str, url: str, allowed: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise env.error(name, allowed) from None
    return parts


def _protocol(env: _Environment) -> Protocol:
    name, value = env.otlp("PROTOCOL")
    if not value:
        name, endpoint = env.otlp("ENDPOINT")
        port = _split(env, name, endpoint, "a URL").port
        return "grpc" if port == GRPC_PORT or endpoint.endswith(f":{GRPC_PORT}") else "http/protobuf"
    for protocol in DEFAULT_ENDPOINT:
        if value == protocol:
            return protocol
    raise env.error(name, ", ".join(DEFAULT_ENDPOINT))


def _http_endpoint(env: _Environment) -> tuple[str, bool]:
    """The URL as it is for the TRACES_ variable; with the default path for the general one."""
    name, url = env.otlp("ENDPOINT")
    allowed = "a URL http://host[:port][/path] or https://..."
    parts = _split(env, name, url or DEFAULT_ENDPOINT["http/protobuf"], allowed)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise env.error(name, allowed, secret="@" in url)
    if name == "OTEL_EXPORTER_OTLP_ENDPOINT":
        parts = parts._replace(path=parts.path.rstrip("/") + "/v1/traces")
    return parts.geturl(), parts.scheme == "https"


def _grpc_endpoint(env: _Environment) -> tuple[str, bool]:
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


def _headers(env: _Environment) -> tuple[tuple[str, str], ...]:
    name, _ = env.otlp("HEADERS")
    headers = {key.lower(): value for key, value in env.pairs(name).items()}
    for key, value in headers.items():
        if not _TOKEN.fullmatch(key) or not _HEADER_VALUE.fullmatch(value):
            raise env.error(name, "name=value pairs separated by commas, values percent-encoded", secret=True)
    return tuple(headers.items())


def _ratio(env: _Environment) -> sampling.Sampler:
    text = env.get("OTEL_TRACES_SAMPLER_ARG") or "1.0"
    try:
        ratio = float(text)
    except ValueError:
        ratio = math.nan
    if not 0 <= ratio <= 1:
        raise env.error("OTEL_TRACES_SAMPLER_ARG", "a number from 0 to 1")
    return sampling.trace_id_ratio(ratio)


SAMPLERS: dict[str, Callable[[_Environment], sampling.Sampler]] = {
    "always_on": lambda _: sampling.always_on,
    "always_off": lambda _: sampling.always_off,
    "traceidratio": _ratio,
    "parentbased_always_on": lambda _: sampling.parent_based(sampling.always_on),
    "parentbased_always_off": lambda _: sampling.parent_based(sampling.always_off),
    "parentbased_traceidratio": lambda env: sampling.parent_based(_ratio(env)),
}


def _sampler(env: _Environment) -> sampling.Sampler:
    name = env.get("OTEL_TRACES_SAMPLER") or "parentbased_always_on"
    if name not in SAMPLERS:
        raise env.error("OTEL_TRACES_SAMPLER", ", ".join(SAMPLERS))
    return SAMPLERS[name](env)
