"""What an exporter needs of its receiver beyond its description: a sender, its name, and what never to repeat of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from urllib.parse import urlsplit

from apisensor.export.otlp import Otlp
from apisensor.export.outcome import Sender

SECRET_CHARACTERS = 4
"""Header values shorter than this are not looked for in error messages: they would be found in any word."""


def sender_of(otlp: Otlp) -> Callable[[Otlp], Sender]:
    """What makes the sender for the protocol. Imported here: gRPC costs 20 MB that a node exporting over HTTP need not
    pay; and by core before it becomes a user who may not be able to read the sensor's files."""
    if otlp.protocol == "grpc":
        # gRPC's core would write connection failures to standard error, where only the sensor's own log belongs; they
        # are in the exporter's last_error. It reads the variable when it is first imported.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        from apisensor.export.grpc_sender import GrpcSender  # noqa: PLC0415

        return GrpcSender
    from apisensor.export.http_sender import HttpSender  # noqa: PLC0415

    return HttpSender


def open_sender(otlp: Otlp) -> Sender:
    """A sender to this receiver."""
    return sender_of(otlp)(otlp)


def destination(otlp: Otlp) -> str:
    """Protocol and endpoint for a line of status, without user, password and query."""
    if "://" not in otlp.endpoint:
        return f"{otlp.protocol} {'https' if otlp.secure else 'http'}://{otlp.endpoint}"
    parts = urlsplit(otlp.endpoint)
    return f"{otlp.protocol} {parts._replace(netloc=parts.netloc.rpartition('@')[2], query='').geturl()}"


def secrets(otlp: Otlp) -> tuple[str, ...]:
    """What must not appear in an error message: header values, their words, and the endpoint's password and query."""
    parts = urlsplit(otlp.endpoint)
    candidates = {parts.password or "", parts.query}
    for _, value in otlp.headers:
        candidates.update((value, *value.split()))
    return tuple(sorted((c for c in candidates if len(c) >= SECRET_CHARACTERS), key=len, reverse=True))
