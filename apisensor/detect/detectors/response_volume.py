"""Somebody takes away far more than they, and others at the same endpoint, usually do.

Bytes of responses are added up in windows of event time, for each identity and each client. When a window is over, its
sum joins the baseline of who took it, and the part of the endpoint that most came from joins that endpoint's baseline:
what one caller usually takes there in a window. Of the two a finding exceeds those that are warm, and at least one must
be: a new caller is measured by the endpoint's, a new endpoint objects to nothing. Without a warm one nothing is said.
"""

from __future__ import annotations

from apisensor.detect.baseline import Baseline
from apisensor.detect.detector import SECOND, Detector
from apisensor.detect.model import Call, CallRef, Evidence, Signal
from apisensor.detect.tracked import Tracked
from apisensor.sections import Detect

ENDPOINTS = 8
"""Endpoints told apart in one caller's window; what comes from others counts in the sum only."""
LARGE = 64
"""Calls that carry this part of exfiltration_min_bytes or more are kept as evidence."""
CALLS = 10
"""Calls kept as evidence of one window."""
HIGH_AT = 10
"""Times the factor."""


class _Taken:
    """What one caller took in one window. Most callers of a node are seen once in a while: what a first call does not
    need is not made."""

    __slots__ = ("bytes", "calls", "count", "endpoints", "reported", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self.bytes = 0
        self.count = 0
        self.endpoints: dict[str, int] = {}
        self.calls: list[CallRef] | None = None
        self.reported = 0
        """Bytes when a signal was last given; 0: none was."""

    def main(self) -> tuple[str | None, int]:
        """The endpoint that most came from, and how much."""
        endpoints = self.endpoints
        if not endpoints:
            return None, 0
        name = max(endpoints, key=endpoints.__getitem__)
        return name, endpoints[name]


class _Caller:
    """An identity or a client."""

    __slots__ = ("before", "now", "usual")

    def __init__(self, now: _Taken) -> None:
        self.now = now
        self.before: _Taken | None = None
        """The window before, which late calls still join."""
        self.usual: Baseline | None = None
        """None: no window of it is over yet."""


class ResponseVolume(Detector):
    name = "response-volume"
    title = "Far more data taken than usual"
    category = None
    sees = frozenset(("time_ns", "transaction", "trace_id", "endpoint", "client", "identity", "response_bytes"))
    about = frozenset(("client", "server", "endpoint", "route"))
    settings = ("exfiltration_factor", "exfiltration_min_bytes", "exfiltration_window_seconds", "exfiltration_warm_up")
    severities = ("medium", "high")
    quiet_ns = 3600 * SECOND

    def __init__(self, settings: Detect) -> None:
        super().__init__(settings)
        self._window_ns = settings.exfiltration_window_seconds * SECOND
        self._warm_up = settings.exfiltration_warm_up
        self._least = settings.exfiltration_min_bytes
        self._large = settings.exfiltration_min_bytes // LARGE
        self._callers: Tracked[_Caller] = Tracked(settings.max_tracked)
        self._endpoints: Tracked[Baseline] = Tracked(settings.max_tracked)

    def observe(self, call: Call) -> tuple[Signal, ...]:
        size = call.response_bytes
        if not size:
            return ()
        window = call.time_ns // self._window_ns
        of_identity = None
        if call.identity is not None:
            of_identity = self._taken("identity:" + call.identity, window, call, size)
        of_client = None
        if call.client is not None:
            of_client = self._taken("client:" + call.client, window, call, size)
        if of_identity is not None and of_identity[1].bytes >= self._least:
            signal = self._judge(f"identity:{call.identity}", *of_identity, call)
            if signal is not None:
                return (signal,)
            if of_identity[1].reported:  # the client is the same story
                return ()
        if of_client is not None and of_client[1].bytes >= self._least:
            signal = self._judge(f"client:{call.client}", *of_client, call)
            if signal is not None:
                return (signal,)
        return ()

    def _taken(self, key: str, window: int, call: Call, size: int) -> tuple[_Caller, _Taken] | None:
        """Adds the bytes to the caller's window; None: the call is older than the window before."""
        caller = self._callers.get(key)
        if caller is None:
            caller = _Caller(_Taken(window))
            self._callers.put(key, caller)
        taken = caller.now
        if window > taken.window:
            if caller.before is not None:
                self._close(caller, caller.before)
            caller.before = taken
            caller.now = taken = _Taken(window)
            if caller.before.window < window - 1:  # nobody is late any more
                self._close(caller, caller.before)
                caller.before = None
        elif window < taken.window:
            if caller.before is None or caller.before.window != window:
                return None
            taken = caller.before
        taken.bytes += size
        taken.count += 1
        endpoint = call.endpoint
        if endpoint is not None:
            endpoints = taken.endpoints
            if endpoint in endpoints:
                endpoints[endpoint] += size
            elif len(endpoints) < ENDPOINTS:
                endpoints[endpoint] = size
        if size >= self._large:
            if taken.calls is None:
                taken.calls = []
            if len(taken.calls) < CALLS:
                taken.calls.append(CallRef(call.time_ns, call.transaction, call.trace_id))
        return caller, taken

    def _close(self, caller: _Caller, taken: _Taken) -> None:
        """A window is over: its sums join the baselines."""
        if caller.usual is None:
            caller.usual = Baseline(self._warm_up)
        caller.usual.add(taken.bytes)
        endpoint, size = taken.main()
        if endpoint is not None:
            usual = self._endpoints.get(endpoint)
            if usual is None:
                self._endpoints.put(endpoint, usual := Baseline(self._warm_up))
            usual.add(size)

    def _judge(self, key: str, caller: _Caller, taken: _Taken, call: Call) -> Signal | None:
        """A signal where the window is far above its baselines, and again each time that it doubled."""
        if taken.reported and taken.bytes < 2 * taken.reported:
            return None
        factor = self._settings.exfiltration_factor
        endpoint, size = taken.main()
        of_endpoint = None if endpoint is None else self._endpoints.get(endpoint)
        baselines: list[tuple[str, Baseline, int]] = []
        if caller.usual is not None and len(caller.usual) >= self._warm_up:
            baselines.append(("own", caller.usual, taken.bytes))
        if of_endpoint is not None and len(of_endpoint) >= self._warm_up:
            baselines.append(("endpoint", of_endpoint, size))
        if not baselines or not all(usual.exceeded(value, factor) for _, usual, value in baselines):
            return None
        evidence: Evidence = {"bytes": taken.bytes, "calls": taken.count, "window_seconds": self._window_ns // SECOND}
        for name, usual, _ in baselines:
            median, deviation = usual.usual()
            evidence[f"{name}_median_bytes"] = round(median)
            evidence[f"{name}_deviation_bytes"] = round(deviation)
        high = all(usual.exceeded(value, factor * HIGH_AT) for _, usual, value in baselines)
        first = not taken.reported
        taken.reported = taken.bytes
        return Signal(
            key=key,
            severity="high" if high else "medium",
            evidence=evidence,
            more=int(first),
            first_ns=min((kept.time_ns for kept in taken.calls or ()), default=None),
            calls=(*(taken.calls or ()), CallRef(call.time_ns, call.transaction, call.trace_id)),
            identity=call.identity if key.startswith("identity:") else None,
        )

    def memories(self) -> tuple[Tracked[object], ...]:
        return (self._callers, self._endpoints)  # type: ignore[return-value]
