"""One address fails to authenticate, whoever it claims to be: guessing, spraying, stuffing."""

from __future__ import annotations

from apisensor.detect.detector import SECOND, Detector
from apisensor.detect.failures import MANY_IDENTITIES, SEES, Memory
from apisensor.detect.model import Call, Severity, Signal
from apisensor.detect.outcomes import accepted, by_password, refused
from apisensor.detect.tracked import Tracked
from apisensor.sections import Detect

RISES_AT = (10, 100)
"""Times detect.auth_failures_client."""

_TITLES = {
    "password guessing": "Password guessing from one client",
    "password spraying": "Password spraying from one client",
    "credential stuffing": "Credential stuffing from one client",
}


class AuthFailuresClient(Detector):
    name = "auth-failures-client"
    title = "Repeated authentication failures from one client"
    category = "API2:2023"
    sees = SEES
    about = frozenset(("client", "server", "endpoint", "route"))
    settings = ("auth_failures", "auth_failures_client", "auth_window_seconds")
    severities = ("low", "medium", "high", "critical")
    quiet_ns = 3600 * SECOND

    def __init__(self, settings: Detect) -> None:
        super().__init__(settings)
        self._memory = Memory(settings)
        self._steps = tuple(factor * settings.auth_failures_client for factor in RISES_AT)

    def observe(self, call: Call) -> tuple[Signal, ...]:
        if not refused(call):
            if accepted(call):
                self._memory.client_accepted(call)
            return ()
        subject = self._memory.client_failed(call)
        shape = None if subject is None else subject.shape(self._settings)
        if shape is None:
            return ()
        assert subject is not None
        assert call.client is not None
        password, many = by_password(call), shape.identities >= MANY_IDENTITIES
        return (
            Signal(
                key=call.client,
                severity=_SEVERITY[password, many],
                steps=self._steps if password else (),
                title=_TITLES.get(shape.pattern) if password else None,
                evidence={
                    "pattern": shape.pattern if password else "tokens",
                    "failures": shape.failures,
                    "identities": shape.identities,
                    "failures_per_identity": shape.tries,
                    "window_seconds": self._settings.auth_window_seconds,
                },
                seen=shape.failures,
                first_ns=subject.window.first_ns,
                last_ns=subject.window.last_ns,
                calls=tuple(subject.calls),
            ),
        )

    def memories(self) -> tuple[Tracked[object], ...]:
        return (self._memory.clients,)  # type: ignore[return-value]


_SEVERITY: dict[tuple[bool, bool], Severity] = {
    (True, True): "high",
    (True, False): "medium",
    (False, True): "medium",
    (False, False): "low",
}
"""(passwords, many identities)"""
