"""All detectors, and the engine that runs them: calls in, findings out. Pure: time comes with the calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from apisensor.detect.detector import Detector
from apisensor.detect.detectors.auth_failures_client import AuthFailuresClient
from apisensor.detect.detectors.auth_failures_identity import AuthFailuresIdentity
from apisensor.detect.detectors.credentials_over_plaintext import CredentialsOverPlaintext
from apisensor.detect.detectors.login_after_failures import LoginAfterFailures
from apisensor.detect.detectors.response_volume import ResponseVolume
from apisensor.detect.findings import Findings
from apisensor.detect.model import Call, Finding, Signal
from apisensor.sections import Detect

DETECTORS: dict[str, type[Detector]] = {
    detector.name: detector
    for detector in (
        AuthFailuresIdentity,
        AuthFailuresClient,
        LoginAfterFailures,
        ResponseVolume,
        CredentialsOverPlaintext,
    )
}
"""Name: detector. Here they are listed, and nowhere else."""


class UnknownDetectorError(ValueError):
    """detect.off names what is no detector."""


class Detection:
    """The detectors that are on, and their findings."""

    def __init__(self, settings: Detect) -> None:
        """Raises UnknownDetectorError."""
        unknown = sorted(set(settings.off) - set(DETECTORS))
        if unknown:
            raise UnknownDetectorError(f"detect.off: {unknown[0]!r} is no detector; there are: {', '.join(DETECTORS)}")
        self._detectors = [detector(settings) for name, detector in DETECTORS.items() if name not in settings.off]
        self._observing = [(detector, detector.observe) for detector in self._detectors]
        self._findings = Findings(settings.max_tracked)
        self._failures: Counter[str] = Counter()

    def observe(self, call: Call) -> list[Finding]:
        """Findings that are new, worse, or grew and were not told for a second. Copies: they do not change."""
        found: list[Finding] = []
        for detector, observe in self._observing:
            try:
                signals = observe(call)
                if signals:
                    self._take(detector, signals, call, found)
            except Exception:  # noqa: BLE001
                # An error in one detector costs its signal, not the others'.
                self._failures[detector.name] += 1
        due = self._findings.due(call.time_ns)
        return found + due if found else due

    def _take(self, detector: Detector, signals: Iterable[Signal], call: Call, found: list[Finding]) -> None:
        for signal in signals:
            finding = self._findings.take(detector, signal, call)
            if finding is not None:
                found.append(finding)

    def due(self, now_ns: int) -> list[Finding]:
        """Findings that grew and wait to be told, at this Unix time (ns). To be asked now and then: no further call
        may come."""
        return self._findings.due(now_ns)

    def restore(self, findings: Iterable[Finding]) -> None:
        """Goes on with findings of before a restart; those that are long over change nothing."""
        self._findings.restore(findings)

    def counters(self) -> dict[str, int]:
        """What is remembered, was forgotten for lack of room, and went wrong; names as docs/detection.md has them."""
        memories = [memory for detector in self._detectors for memory in detector.memories()]
        return {
            "detect.tracked": sum(map(len, memories)),
            "detect.evicted": sum(memory.evicted for memory in memories),
            "detect.live_findings": len(self._findings),
            "detect.evicted_findings": self._findings.evicted,
            "detect.suppressed_findings": self._findings.suppressed,
            **{f"detect.failed.{detector.name}": self._failures[detector.name] for detector in self._detectors},
        }
