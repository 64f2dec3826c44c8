"""Signals become findings: one for each rule and key, which grows while it goes on.

A finding that grows is given again at most once a second of event time, and at once where it got worse; one that was
quiet for longer than its detector says is over, and the next signal begins another. Ids follow from rule, key and the
time of the first signal, so that the same traffic makes the same findings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from apisensor.detect.detector import SECOND, Detector
from apisensor.detect.model import SEVERITIES, Call, CallRef, Finding, Severity, Signal
from apisensor.detect.tracked import Tracked

FIRST_CALLS = 10
"""Calls kept from the beginning of a finding."""
LATEST_CALLS = 10
"""Calls kept from its end."""
UPDATE_NS = SECOND
"""Between two updates of one finding: an attack of 10,000 calls a second is no flood of updates."""
NEW_PER_MINUTE = 100
"""New findings of one rule within a minute of event time. Who makes a million identities fail makes no million
findings; what is left out is counted, and comes when it goes on in the next minute."""
_MINUTE = 60 * SECOND
_RANK = {severity: rank for rank, severity in enumerate(SEVERITIES)}


class _Live:
    """A finding that may still grow."""

    __slots__ = ("finding", "told_ns")

    def __init__(self, finding: Finding, told_ns: int) -> None:
        self.finding = finding
        self.told_ns = told_ns
        """Event time at which it was last given."""


class Findings:
    """The findings that are going on; at most `limit`."""

    def __init__(self, limit: int) -> None:
        self._live: Tracked[_Live] = Tracked(limit)
        self._untold: dict[str, _Live] = {}
        """Those that grew and were not given since."""
        self._next_ns = 0
        """When the first of them is due."""
        self._begun: dict[str, tuple[int, int]] = {}
        """Rule: minute, new findings in it."""
        self.suppressed = 0
        """Signals that would have been new findings beyond NEW_PER_MINUTE."""

    def __len__(self) -> int:
        return len(self._live)

    @property
    def evicted(self) -> int:
        """Findings that made room for others; they may begin again."""
        return self._live.evicted

    def restore(self, findings: Iterable[Finding]) -> None:
        """Goes on with findings of before a restart, the one that was quiet for longest first."""
        for finding in sorted(findings, key=lambda finding: finding.last_ns):
            self._live.put(_name(finding.rule, finding.key), _Live(_copy(finding), finding.last_ns))

    def take(self, detector: Detector, signal: Signal, call: Call) -> Finding | None:
        """A copy of the signal's finding where it is new, worse, or due; None: it is not to be told now."""
        name = _name(detector.name, signal.key)
        live = self._live.get(name)
        if live is None or call.time_ns - live.finding.last_ns > detector.quiet_ns:
            return self._begin(name, detector, signal, call)
        finding = live.finding
        worse = _grow(finding, signal, call)
        if worse or call.time_ns - live.told_ns >= UPDATE_NS:
            live.told_ns = max(live.told_ns, call.time_ns)
            self._untold.pop(name, None)
            return _copy(finding)
        if name not in self._untold:
            if not self._untold or live.told_ns + UPDATE_NS < self._next_ns:
                self._next_ns = live.told_ns + UPDATE_NS
            self._untold[name] = live
        return None

    def due(self, now_ns: int) -> list[Finding]:
        """Copies of findings that grew and have waited long enough at this event time."""
        if not self._untold or now_ns < self._next_ns:
            return []
        ready = [name for name, live in self._untold.items() if now_ns - live.told_ns >= UPDATE_NS]
        found = []
        for name in ready:
            live = self._untold.pop(name)
            live.told_ns = now_ns
            found.append(_copy(live.finding))
        self._next_ns = min((live.told_ns for live in self._untold.values()), default=0) + UPDATE_NS
        return found

    def _begin(self, name: str, detector: Detector, signal: Signal, call: Call) -> Finding | None:
        minute = call.time_ns // _MINUTE
        begun_in, begun = self._begun.get(detector.name, (minute, 0))
        if begun_in != minute:
            begun = 0
        if begun >= NEW_PER_MINUTE:
            self.suppressed += 1
            return None
        self._begun[detector.name] = (minute, begun + 1)
        about = detector.about
        calls = signal.calls or (CallRef(call.time_ns, call.transaction, call.trace_id),)
        finding = Finding(
            id=_id(detector.name, signal.key, call.time_ns),
            rule=detector.name,
            severity=_severity(signal, signal.seen),
            title=signal.title or detector.title,
            category=detector.category,
            key=signal.key,
            evidence=signal.evidence,
            transactions=[],
            trace_ids=[],
            client=call.client if "client" in about else None,
            server=call.server if "server" in about else None,
            service=call.service,
            endpoint=call.endpoint if "endpoint" in about else None,
            route=f"{call.method} {call.route}" if call.route is not None and "route" in about else None,
            identity=signal.identity,
            first_ns=min(call.time_ns, signal.first_ns or call.time_ns),
            last_ns=max(call.time_ns, signal.last_ns or 0),
            time_ns=call.time_ns,
            count=signal.seen,
        )
        for known in calls:
            _keep(finding, known.transaction, known.trace_id)
        live = _Live(finding, call.time_ns)
        self._live.put(name, live)
        self._untold.pop(name, None)
        return _copy(finding)


def _grow(finding: Finding, signal: Signal, call: Call) -> bool:
    """Adds a signal to its finding; whether it got worse."""
    finding.count += signal.more
    finding.first_ns = min(finding.first_ns, call.time_ns)
    finding.last_ns = max(finding.last_ns, call.time_ns)
    finding.evidence = signal.evidence
    finding.title = signal.title or finding.title
    _keep(finding, call.transaction, call.trace_id)
    severity = _severity(signal, finding.count)
    if _RANK[severity] <= _RANK[finding.severity]:
        return False
    finding.severity = severity
    return True


def _severity(signal: Signal, count: int) -> Severity:
    """The signal's, raised by one for each step that the count has reached."""
    rank = _RANK[signal.severity] + sum(count >= step for step in signal.steps)
    return SEVERITIES[min(rank, len(SEVERITIES) - 1)]


def _keep(finding: Finding, transaction: str, trace_id: str) -> None:
    """The first ids stay; of those behind them the oldest goes."""
    if transaction in finding.transactions:
        return
    for ids, new in ((finding.transactions, transaction), (finding.trace_ids, trace_id)):
        if len(ids) >= FIRST_CALLS + LATEST_CALLS:
            del ids[FIRST_CALLS]
        ids.append(new)


def _copy(finding: Finding) -> Finding:
    """What others may keep while this one grows. Evidence is replaced, never changed."""
    return msgspec.structs.replace(finding, transactions=list(finding.transactions), trace_ids=list(finding.trace_ids))


def _name(rule: str, key: str) -> str:
    return f"{rule}\0{key}"


def _id(rule: str, key: str, time_ns: int) -> str:
    return hashlib.sha256(f"{rule}\0{key}\0{time_ns}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
