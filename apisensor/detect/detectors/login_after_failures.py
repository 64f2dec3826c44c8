"""A password was guessed, it seems: somebody gets in after failures that were a finding."""

from __future__ import annotations

from apisensor.detect.detector import SECOND, Detector
from apisensor.detect.failures import SEES, Memory, Subject, ref
from apisensor.detect.model import Call, CallRef, Signal
from apisensor.detect.outcomes import accepted, by_password, password_refused, place, who
from apisensor.detect.tracked import Tracked
from apisensor.sections import Detect


class LoginAfterFailures(Detector):
    name = "login-after-failures"
    title = "Successful login after repeated failures"
    category = "API2:2023"
    sees = SEES
    about = frozenset(("client", "server", "endpoint", "route"))
    settings = ("auth_failures", "auth_failures_client", "auth_window_seconds")
    severities = ("high", "critical")
    quiet_ns = 3600 * SECOND

    def __init__(self, settings: Detect) -> None:
        super().__init__(settings)
        self._memory = Memory(settings)

    def observe(self, call: Call) -> tuple[Signal, ...]:
        if not by_password(call):
            return ()
        if password_refused(call):
            self._memory.identity_failed(call)
            self._memory.client_failed(call)
        elif accepted(call):
            signal = self._of_identity(call) or self._of_client(call)
            return () if signal is None else (signal,)
        return ()

    def _of_identity(self, call: Call) -> Signal | None:
        identity = who(call)
        assert identity is not None
        subject = self._memory.identities.get(identity)
        if subject is None or place(call) not in subject.places:
            return None
        subject.window.move(call.time_ns // self._memory.step_ns)
        count = subject.window.count
        if count < self._settings.auth_failures:
            return None
        # Who got in is the one who failed: the password was found. From elsewhere it may be its owner.
        found = call.client is not None and call.client in subject.clients
        self._memory.identities.forget(identity)
        self._memory.client_accepted(call)
        return Signal(
            key=f"identity:{identity}",
            severity="critical" if found else "high",
            evidence={
                "failures": count,
                "clients_that_failed": list(subject.clients),
                "same_client": str(found).lower(),
            },
            first_ns=subject.window.first_ns,
            last_ns=subject.window.last_ns,
            calls=_with(subject, call),
            identity=identity,
        )

    def _of_client(self, call: Call) -> Signal | None:
        subject = self._memory.client_accepted(call)
        shape = None if subject is None else subject.shape(self._settings)
        if shape is None:
            return None
        assert subject is not None
        identity = who(call)
        assert identity is not None
        tries = subject.identities.get(identity)
        failed_before = tries is not None and tries.failures > 0
        return Signal(
            key=f"client:{call.client}",
            severity="critical" if failed_before else "high",
            title="Successful login from a client that tried many",
            evidence={
                "pattern": shape.pattern,
                "failures": shape.failures,
                "identities": shape.identities,
                "failed_before": str(failed_before).lower(),
            },
            first_ns=subject.window.first_ns,
            last_ns=subject.window.last_ns,
            calls=_with(subject, call),
            identity=identity,
        )

    def memories(self) -> tuple[Tracked[object], ...]:
        return (self._memory.identities, self._memory.clients)  # type: ignore[return-value]


def _with(subject: Subject, call: Call) -> tuple[CallRef, ...]:
    """The failures, then the success."""
    return (*subject.calls, ref(call))
