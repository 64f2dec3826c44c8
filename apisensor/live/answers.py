"""Questions on core's socket that need nothing but what is known at once: name -> answer (live/server.py)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from apisensor.live.connection import Asker
from apisensor.live.server import Answer, Reply
from apisensor.live.status import Status


def status(make: Callable[[], Status]) -> Answer:
    """{"status": true} -> {"kind": "status", ...}, the status document."""

    def answer(question: bytes, _asker: Asker, reply: Reply) -> None:
        _true(question)
        reply({"kind": "status", **msgspec.to_builtins(make())})

    return answer


def metrics(make: Callable[[], str]) -> Answer:
    """{"metrics": true} -> {"kind": "metrics", "text": ...}, in Prometheus' text format."""

    def answer(question: bytes, _asker: Asker, reply: Reply) -> None:
        _true(question)
        reply({"kind": "metrics", "text": make()})

    return answer


def _true(question: bytes) -> None:
    if msgspec.json.decode(question, type=bool) is not True:
        raise msgspec.ValidationError("expected true")
