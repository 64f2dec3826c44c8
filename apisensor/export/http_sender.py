"""OTLP over HTTP, binary protobuf. requests brings what users expect of a client: keep-alive, proxies, CA bundles."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urlsplit

import requests
import urllib3
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status
from isal import igzip

from apisensor.export.answer import accepted
from apisensor.export.otlp import Otlp
from apisensor.export.outcome import Outcome, Refused, Retryable

RETRYABLE = frozenset({429, 502, 503, 504})
"""OTLP specification, "Retryable Response Codes"."""

RESPONSE_BYTES = 65_536
"""Read of an answer; a receiver that says more is cut off."""

GZIP_LEVEL = 1
"""Of ISA-L: a request is as small as with zlib's level 1, in a fifth of its time. Spans and metrics repeat themselves
so much that higher ones save little."""


def retry_after(value: str | None, unix_time: float) -> float | None:
    """Seconds that a Retry-After field asks for: a number, or a date (RFC 9110 section 10.2.3)."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - unix_time)
    except (ValueError, OverflowError):
        return None


def _cause(error: BaseException) -> str:
    """The innermost reason of a failed request. requests' own text repeats the URL, and so what its query holds."""
    while True:
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = error.__cause__ or error.__context__
        if inner is None:
            break
        error = inner
    text = getattr(error, "strerror", None) or str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """An authentication that adds nothing."""
    return request


class HttpSender:
    """One kept-alive session to the receiver."""

    def __init__(self, otlp: Otlp, unix_time: Callable[[], float] = time.time) -> None:
        """unix_time: the clock that a Retry-After date is compared with."""
        self._url = otlp.endpoint
        self._signal = otlp.signal
        self._gzip = otlp.gzip
        self._unix_time = unix_time
        self._session = requests.Session()
        self._session.headers.update({"Content-Type": "application/x-protobuf", "User-Agent": "apisensor"})
        if otlp.gzip:
            self._session.headers["Content-Encoding"] = "gzip"
        self._session.headers.update(dict(otlp.headers))
        user = urlsplit(otlp.endpoint)
        # Never None: then requests would look for the host in ~/.netrc, and let that replace a configured header.
        self._session.auth = (unquote(user.username), unquote(user.password or "")) if user.username else _as_it_is
        self._verify: bool | str = otlp.certificate or True
        if otlp.client_certificate:
            key = otlp.client_key
            self._session.cert = (otlp.client_certificate, key) if key else otlp.client_certificate

    def send(self, request: bytes, timeout_s: float) -> Outcome:
        body = igzip.compress(request, GZIP_LEVEL, mtime=0) if self._gzip else request
        try:
            # verify goes with the call: in the session REQUESTS_CA_BUNDLE would override it.
            with self._session.post(
                self._url, data=body, timeout=timeout_s, verify=self._verify, allow_redirects=False, stream=True
            ) as response:
                answer = response.raw.read(RESPONSE_BYTES, decode_content=True)
                status, reason, headers = response.status_code, response.reason, response.headers
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            # urllib3's own exceptions come through raw.read.
            return Retryable(f"HTTP: {_cause(error)}")
        if 200 <= status < 300:
            return accepted(self._signal, answer)
        message = f"HTTP {status} {reason}{_status_message(answer)}"
        if status in RETRYABLE:
            return Retryable(message, retry_after(headers.get("Retry-After"), self._unix_time()))
        return Refused(message)

    def close(self) -> None:
        self._session.close()


def _status_message(answer: bytes) -> str:
    """The google.rpc.Status that a failed response should hold; often it is text or nothing."""
    try:
        message = Status.FromString(answer).message
    except DecodeError:
        return ""
    return f": {message}" if message else ""
