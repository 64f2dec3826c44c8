"""Failed authentications, remembered by identity and by client address. Two detectors build on this, each with its own.

A client's identities are a sample where they are many: those whose hash ends in zero bits, ever more bits as the sample
fills. The hashes are keyed, so that nobody outside can choose what is sampled.
"""

from __future__ import annotations

from apisensor.detect.model import Call, CallRef
from apisensor.detect.outcomes import place, who
from apisensor.detect.tracked import Tracked
from apisensor.detect.windows import STEPS, Window, step_of
from apisensor.sections import Detect

SAMPLE = 64
"""Identities remembered of one client. An estimate from so many is within a quarter, nineteen times of twenty."""
CLIENTS = 8
"""Client addresses remembered of one identity."""
PLACES = 8
"""Endpoints remembered where a client or an identity failed."""
CALLS = 20
"""Calls remembered as evidence: a finding keeps as many."""
FEWEST_IDENTITIES = 2
"""Identities without which a client's failures are those of its one identity."""
MANY_IDENTITIES = 10
"""Identities from which on it is names, not passwords, that are tried."""
SPRAYED = 1.5
"""Failures of each identity from which on several passwords go through the names; below it is one try each."""

SEES = frozenset(
    (
        *("time_ns", "transaction", "trace_id", "endpoint", "service", "method", "route", "path"),
        *("status", "grpc_status", "client", "scheme", "identity", "login_identity"),
    )
)
"""Fields of Call that this memory and outcomes.py read."""


def ref(call: Call) -> CallRef:
    """What a finding keeps of a call."""
    return CallRef(call.time_ns, call.transaction, call.trace_id)


class Subject:
    """Failures of one identity or one client."""

    __slots__ = ("calls", "places", "window")

    def __init__(self) -> None:
        self.window = Window()
        self.calls: list[CallRef] = []
        self.places: set[str] = set()

    def failed(self, call: Call, step_ns: int) -> bool:
        """Counts a failure; False: it is older than the window."""
        if not self.window.add(call.time_ns, step_ns):
            return False
        if len(self.calls) >= CALLS:
            del self.calls[0]
        self.calls.append(ref(call))
        if len(self.places) < PLACES:
            self.places.add(place(call))
        return True


class IdentityFailures(Subject):
    """Of one identity."""

    __slots__ = ("clients",)

    def __init__(self) -> None:
        super().__init__()
        self.clients: dict[str, None] = {}
        """Those that it was tried from, in the order of their first try."""


class Tries:
    """What one client tried with one identity."""

    __slots__ = ("accepted", "failures", "step")

    def __init__(self) -> None:
        self.failures = 0
        self.accepted = False
        self.step = 0


class Shape:
    """What a client's failures look like."""

    __slots__ = ("failures", "identities", "pattern", "tries")

    def __init__(self, pattern: str, failures: int, identities: int, tries: float) -> None:
        self.pattern = pattern
        """One of PATTERNS."""
        self.failures = failures
        self.identities = identities
        """Estimate, exact up to SAMPLE."""
        self.tries = tries
        """Failures of each."""


PATTERNS = {
    "password guessing": "few identities, detect.auth_failures or more failures of each",
    "password spraying": f"{MANY_IDENTITIES} identities or more, more than one failure of each",
    "credential stuffing": f"{MANY_IDENTITIES} identities or more, one failure of each",
    "mixed": "fewer identities, and few failures of each",
}
"""What a client's failures can look like: their meaning."""


class ClientFailures(Subject):
    """Of one client address."""

    __slots__ = ("bits", "identities")

    def __init__(self) -> None:
        super().__init__()
        self.bits = 0
        """Of an identity's hash that have to be zero for it to be in the sample."""
        self.identities: dict[str, Tries] = {}

    def tried(self, identity: str, step: int) -> Tries | None:
        """What was tried with the identity; None: it is not in the sample."""
        if _low_bits(identity) & ((1 << self.bits) - 1):
            return None
        tries = self.identities.get(identity)
        if tries is None:
            if len(self.identities) >= SAMPLE:
                self._make_room()
                return self.tried(identity, step)
            tries = self.identities[identity] = Tries()
        tries.step = max(tries.step, step)
        return tries

    def _make_room(self) -> None:
        self.drop_old()
        while len(self.identities) >= SAMPLE:
            self.bits += 1
            mask = (1 << self.bits) - 1
            self.identities = {name: tries for name, tries in self.identities.items() if not _low_bits(name) & mask}

    def drop_old(self) -> None:
        """Forgets identities of which nothing was seen within the window."""
        oldest = self.window.latest - STEPS
        self.identities = {name: tries for name, tries in self.identities.items() if tries.step >= oldest}
        if not self.identities:
            self.bits = 0

    def shape(self, settings: Detect) -> Shape | None:
        """What the failures look like; None: too few, of one identity only (which is another detector's), or what
        users behind one address (NAT, a proxy) do.

        Users mistype and then get in. So an address from which at least as many identities got in, where others failed,
        as never did, is none that attacks, unless single ones failed too often.
        """
        failures = self.window.count
        if failures < settings.auth_failures_client:
            return None
        self.drop_old()
        failed = [tries.failures for tries in self.identities.values() if tries.failures and not tries.accepted]
        got_in = sum(tries.accepted for tries in self.identities.values())
        if len(failed) << self.bits < FEWEST_IDENTITIES:
            return None
        each = sum(failed) / len(failed)
        if each < settings.auth_failures and got_in >= len(failed):
            return None
        identities = len(failed) << self.bits
        if each >= settings.auth_failures:
            pattern = "password guessing"
        elif identities < MANY_IDENTITIES:
            pattern = "mixed"
        else:
            pattern = "password spraying" if each >= SPRAYED else "credential stuffing"
        return Shape(pattern, failures, identities, round(each, 1))


def _low_bits(identity: str) -> int:
    return int(identity[-8:], 16)


class Memory:
    """All identities, or all clients, of one detector."""

    def __init__(self, settings: Detect) -> None:
        self.step_ns = step_of(settings.auth_window_seconds)
        self.identities: Tracked[IdentityFailures] = Tracked(settings.max_tracked)
        self.clients: Tracked[ClientFailures] = Tracked(settings.max_tracked)

    def identity_failed(self, call: Call) -> IdentityFailures | None:
        """Counts a failure of the identity that the call names; None: it is older than the window."""
        identity = who(call)
        assert identity is not None
        subject = self.identities.get(identity)
        if subject is None:
            self.identities.put(identity, subject := IdentityFailures())
        if not subject.failed(call, self.step_ns):
            return None
        if call.client is not None and len(subject.clients) < CLIENTS:
            subject.clients[call.client] = None
        return subject

    def client_failed(self, call: Call) -> ClientFailures | None:
        """Counts a failure of the call's client; None: it is not known, or the call is older than the window."""
        identity = who(call)
        assert identity is not None
        if call.client is None:
            return None
        subject = self.clients.get(call.client)
        if subject is None:
            self.clients.put(call.client, subject := ClientFailures())
        if not subject.failed(call, self.step_ns):
            return None
        tries = subject.tried(identity, call.time_ns // self.step_ns)
        if tries is not None:
            tries.failures += 1
        return subject

    def client_accepted(self, call: Call) -> ClientFailures | None:
        """Notes that a client which failed got in where it failed; None: it did not fail there."""
        subject = None if call.client is None else self.clients.get(call.client)
        identity = who(call)
        if subject is None or identity is None or place(call) not in subject.places:
            return None
        step = call.time_ns // self.step_ns
        subject.window.move(step)
        tries = subject.tried(identity, step)
        if tries is not None:
            tries.accepted = True
        return subject
