"""Somebody tries to be one particular caller, and is not believed, again and again."""

from __future__ import annotations

from apisensor.detect.detector import SECOND, Detector
from apisensor.detect.failures import SEES, Memory
from apisensor.detect.model import Call, Signal
from apisensor.detect.outcomes import by_password, refused, who
from apisensor.detect.tracked import Tracked
from apisensor.sections import Detect

RISES_AT = (10, 100)
"""Times detect.auth_failures: nobody mistypes fifty times."""


class AuthFailuresIdentity(Detector):
    name = "auth-failures-identity"
    title = "Repeated authentication failures of one identity"
    category = "API2:2023"
    sees = SEES
    about = frozenset(("client", "server", "endpoint", "route"))
    settings = ("auth_failures", "auth_window_seconds")
    severities = ("low", "medium", "high", "critical")
    quiet_ns = 3600 * SECOND

    def __init__(self, settings: Detect) -> None:
        super().__init__(settings)
        self._memory = Memory(settings)
        self._steps = tuple(factor * settings.auth_failures for factor in RISES_AT)

    def observe(self, call: Call) -> tuple[Signal, ...]:
        if not refused(call):
            return ()
        subject = self._memory.identity_failed(call)
        if subject is None or (count := subject.window.count) < self._settings.auth_failures:
            return ()
        password = by_password(call)
        identity = who(call)
        assert identity is not None
        return (
            Signal(
                key=identity,
                # A token is not guessed by sending it again: mostly it has expired and nobody told the program.
                severity="medium" if password else "low",
                steps=self._steps if password else (),
                evidence={
                    "failures": count,
                    "window_seconds": self._settings.auth_window_seconds,
                    "clients": list(subject.clients),
                    "credential": "login" if call.login_identity is not None else call.scheme or "",
                    "status": call.status or 0,
                },
                seen=count,
                first_ns=subject.window.first_ns,
                last_ns=subject.window.last_ns,
                calls=tuple(subject.calls),
                identity=identity,
            ),
        )

    def memories(self) -> tuple[Tracked[object], ...]:
        return (self._memory.identities,)  # type: ignore[return-value]
