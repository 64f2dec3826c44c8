"""HTTP/1 by llhttp, the parser of Node.js, through httptools."""

from __future__ import annotations

from typing import Any

import httptools

from apisensor.protocols.http1_engine import Callbacks, Engine, RequestCallbacks


def _request(callbacks: RequestCallbacks) -> Any:
    return _lenient(httptools.HttpRequestParser(callbacks))


def _response(callbacks: Callbacks) -> Any:
    return _lenient(httptools.HttpResponseParser(callbacks))


def _lenient(parser: Any) -> Any:
    # Both are what passive observation needs: the peer decides about keeping alive, and Transfer-Encoding overrides
    # Content-Length (RFC 9112 section 6.3), with an anomaly.
    parser.set_dangerous_leniencies(lenient_keep_alive=True, lenient_chunked_length=True)
    return parser


ENGINE = Engine(
    _request,
    _response,
    httptools.HttpParserUpgrade,
    httptools.HttpParserError,
    httptools.HttpParserCallbackError,
)
