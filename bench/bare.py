"""The least that reads HTTP/1.1 with httptools: what the sensor's parts are compared with.

Whoever reads the standard recording needs a parser for each direction of each connection, as chunks of a thousand
connections take turns. The callbacks are Python's and do what the least user of a message has to: keep method, target,
version, status and reason, whether the connection goes on, the field lines as they come and the pieces of the content,
until the message is complete. Nothing is decoded, paired, looked at or kept beyond that.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import httptools

from bench.standard_recording import exchanges, http1


class Messages(NamedTuple):
    """One exchange as bytes."""

    connection: int
    request: bytes
    response: bytes


class _Reader:
    """One direction of one connection."""

    __slots__ = ("body", "complete", "feed", "going_on", "headers", "parser", "version")

    def __init__(self) -> None:
        self.complete = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []
        self.version = ""
        self.going_on = False
        self.parser: Any = self._parser()
        self.feed = self.parser.feed_data

    def _parser(self) -> Any:
        raise NotImplementedError

    def on_message_begin(self) -> None:
        self.headers, self.body = [], []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        self.complete += 1


class _Requests(_Reader):
    __slots__ = ("method", "target")

    def _parser(self) -> Any:
        return httptools.HttpRequestParser(self)

    def on_url(self, url: bytes) -> None:
        self.target = url

    def on_headers_complete(self) -> None:
        parser = self.parser
        self.method = parser.get_method()
        self.version = parser.get_http_version()
        self.going_on = parser.should_keep_alive()


class _Responses(_Reader):
    __slots__ = ("reason", "status")

    def _parser(self) -> Any:
        return httptools.HttpResponseParser(self)

    def on_status(self, reason: bytes) -> None:
        self.reason = reason

    def on_headers_complete(self) -> None:
        parser = self.parser
        self.status = parser.get_status_code()
        self.version = parser.get_http_version()
        self.going_on = parser.should_keep_alive()


def messages(count: int) -> list[Messages]:
    """The standard recording's exchanges as HTTP/1.1."""
    return [Messages(exchange.connection, *http1(exchange)) for exchange in exchanges(count)]


def run_bare(recording: Sequence[Messages]) -> int:
    """CPU ns of reading all messages, in their order.

    Raises:
        AssertionError: not every message was read to its end: failing is not the work.
    """
    readers = {number: (_Requests(), _Responses()) for number in {exchange.connection for exchange in recording}}
    start = time.process_time_ns()
    for connection, request, response in recording:
        requests, responses = readers[connection]
        requests.feed(request)
        responses.feed(response)
    spent = time.process_time_ns() - start
    complete = [sum(pair[direction].complete for pair in readers.values()) for direction in (0, 1)]
    if complete != [len(recording)] * 2:
        raise AssertionError("the bare parser did not see every message")
    return spent
