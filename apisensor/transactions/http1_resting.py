"""An HTTP/1 flow between two exchanges, while nothing comes: what must be known to go on, and no parser.

Of ten thousand connections that are kept open few are in use; two readers with their parsers take 4 KB each.
"""

from __future__ import annotations

from collections.abc import Callable

from apisensor.transactions.flow import Engine, Flow, side_of


class Resting:
    """The engine of such a flow. It is in step, nothing is under way, and nothing about it is in doubt.

    Args:
        late: As of `Http1Pairing`.
        pipelines: The client is known to send requests before earlier ones are answered.
        awake: Makes the engine that goes on from here.
    """

    __slots__ = ("_awake", "flow", "late", "pipelines", "request_direction", "side")

    def __init__(
        self, flow: Flow, request_direction: int, late: bool, pipelines: bool, awake: Callable[[Resting], Engine]
    ) -> None:
        self.flow = flow
        self.request_direction = request_direction
        self.side = side_of(request_direction)
        self.late = late
        self.pipelines = pipelines
        self._awake = awake

    def data(self, direction: int, data: bytes, now: int, call_start: bool) -> None:
        self._wake().data(direction, data, now, call_start)

    def gap(self, direction: int, length: int | None, reason: str, counted: bool, now: int) -> None:
        self._wake().gap(direction, length, reason, counted, now)

    def end(self, direction: int, now: int) -> None:
        self._wake().end(direction, now)

    def _wake(self) -> Engine:
        self.flow.engine = engine = self._awake(self)
        return engine

    def held(self) -> int:
        return 0

    def release(self) -> None:
        """Only its flow refers to it."""

    def close(self, now: int, *, closed: bool, reset: bool) -> None:
        """Nothing is open."""

    def idle(self, now: int) -> None:
        """Nothing is open."""

    def rest(self, now: int) -> None:
        """It does."""
