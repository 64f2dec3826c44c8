"""The engine: what detectors may see, failures, switches, growth, restarts, floods."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from apisensor.detect import findings
from apisensor.detect.call import call_of
from apisensor.detect.detection import DETECTORS, Detection, UnknownDetectorError
from apisensor.detect.detector import Detector
from apisensor.detect.model import SEVERITIES, Call, Finding
from apisensor.events.model import Address
from apisensor.sections import Detect
from apisensor.transactions.model import Auth
from tests.detect.calls import SECOND, START, basic, call, identity, login, rules, run
from tests.live.transactions import transaction

ATTACK = [
    *[login(n * 0.1) for n in range(20)],
    login(3, status=200),
    *[login(4 + n * 0.1, f"u{n}") for n in range(30)],
    login(8, "u3", status=200),
    *[basic(9 + n, "b", encrypted=False) for n in range(6)],
    call(20, scheme="cookie", identity=identity("c"), encrypted=False, endpoint=None),
    *[call(30 + 60 * n, response_bytes=1000) for n in range(12)],
    call(60 * 14, response_bytes=100 << 20),
]


class OnlyThese:
    """A call of which nothing but these fields can be read."""

    def __init__(self, real: Call, fields: frozenset[str]) -> None:
        self._real, self._fields = real, fields

    def __getattr__(self, name: str) -> Any:
        assert name in self._fields, f"{name} is none of the fields that the detector says it sees"
        return getattr(self._real, name)


@pytest.mark.parametrize("detector", DETECTORS.values(), ids=DETECTORS)
def test_a_detector_sees_what_it_says(detector: type[Detector]) -> None:
    assert detector.sees <= set(Call.__struct_fields__)
    assert detector.about <= {"client", "server", "endpoint", "route"}
    assert set(detector.settings) <= set(Detect.__struct_fields__)
    assert list(detector.severities) == sorted(detector.severities, key=SEVERITIES.index)
    one = detector(Detect())
    signals = [signal for real in ATTACK for signal in one.observe(OnlyThese(real, detector.sees))]  # type: ignore[arg-type]
    assert signals
    assert {signal.severity for signal in signals} <= set(detector.severities)


def test_each_can_be_switched_off() -> None:
    found = set(rules(run(ATTACK)))
    assert found == set(DETECTORS)
    for name in DETECTORS:
        assert set(rules(run(ATTACK, off=[name]))) == found - {name}
    assert run(ATTACK, off=list(DETECTORS)) == []
    with pytest.raises(UnknownDetectorError, match="'nonsense' is no detector; there are: auth-failures-identity, "):
        Detection(Detect(off=["nonsense"]))


def test_a_failure_costs_one_detector_its_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_self: Detector, _call: Call) -> Iterable[Any]:
        raise ZeroDivisionError

    monkeypatch.setattr(DETECTORS["auth-failures-client"], "observe", broken)
    detection = Detection(Detect())
    assert set(rules(run(ATTACK, detection))) == set(DETECTORS) - {"auth-failures-client"}
    assert detection.counters()["detect.failed.auth-failures-client"] == len(ATTACK)
    assert detection.counters()["detect.failed.auth-failures-identity"] == 0


def test_an_attack_is_told_at_most_once_a_second() -> None:
    detection = Detection(Detect())
    told: list[tuple[Call, Finding]] = []
    calls = [login(n * 0.001, client=f"10.0.{n % 250}.1") for n in range(10_000)]
    for one in calls:
        told += [(one, finding) for finding in detection.observe(one)]
    assert [finding.severity for _, finding in told][:3] == [
        "medium",
        "high",
        "critical",
    ]  # at once where it gets worse
    assert 11 <= len(told) <= 13
    assert detection.due(calls[-1].time_ns) == []
    (last,) = detection.due(calls[-1].time_ns + SECOND)
    assert detection.due(calls[-1].time_ns + 2 * SECOND) == []
    assert (last.count, last.last_ns) == (10_000, calls[-1].time_ns)
    first = [one.transaction for one in calls[: findings.FIRST_CALLS]]
    latest = [one.transaction for one in calls[-findings.LATEST_CALLS :]]
    assert last.transactions == first + latest
    assert len(last.trace_ids) == len(last.transactions)
    # What was told does not change.
    assert told[0][1].count == 5
    assert told[0][1].transactions == [one.transaction for one in calls[:5]]


def test_any_call_brings_what_is_due() -> None:
    detection = Detection(Detect())
    for n in range(7):
        detection.observe(login(n * 0.1))
    assert detection.observe(call(1.2)) == []
    (due,) = detection.observe(call(1.5))
    assert due.count == 7


def test_after_silence_another_finding_begins() -> None:
    hour = 3600
    first, second = [login(n) for n in range(5)], [login(hour + 10 + n) for n in range(5)]
    found = run(first + second)
    assert rules(found) == ["auth-failures-identity"] * 2
    assert found[0].id != found[1].id
    assert [finding.count for finding in found] == [5, 5]
    assert len(run(first + [login(hour - 10 + n) for n in range(5)])) == 1


def test_the_same_traffic_makes_the_same_findings() -> None:
    assert [finding.id for finding in run(ATTACK)] == [finding.id for finding in run(ATTACK)]
    assert all(len(finding.id) == 16 and int(finding.id, 16) >= 0 for finding in run(ATTACK))


def test_a_restart_goes_on_with_what_was_found() -> None:
    calls = [login(n) for n in range(40)]
    before = run(calls[:20])
    detection = Detection(Detect())
    detection.restore(before)
    after = run(calls[20:], detection)
    assert [finding.id for finding in after] == [finding.id for finding in before]
    # The five that it took to cross the threshold again are one signal each from the fifth on.
    assert after[0].count == 20 + 16
    assert after[0].first_ns == START
    assert before[0].count == 20
    late = run([login(20 + 3700 + n) for n in range(5)], detection)
    assert late[0].id != before[0].id


def test_findings_are_bounded() -> None:
    detection = Detection(Detect(max_tracked=100, off=["auth-failures-client"]))
    found = []
    for user in range(1000):
        for n in range(5):
            found += detection.observe(login(user * 0.5 + n * 0.01, f"u{user}"))
    counters = detection.counters()
    minutes = 1000 * 0.5 / 60
    assert len(found) <= findings.NEW_PER_MINUTE * (minutes + 2)
    assert counters["detect.suppressed_findings"] == 1000 - len(found)
    assert counters["detect.live_findings"] == 100
    assert counters["detect.evicted_findings"] == len(found) - 100


def test_call_of_a_transaction() -> None:
    t = transaction(
        path="/a?token=[redacted]",
        route="/a",
        auth=Auth("basic", identity("a")),
        client=Address("10.0.0.2", 1),
        server=Address("10.0.0.1", 443),
        start_ns=5,
        duration_ns=7,
        wall_offset_ns=1000,
        login_identity=identity("b"),
    )
    made = call_of(t, "e1", "shop")
    assert (made.time_ns, made.path, made.route, made.endpoint, made.service) == (1012, "/a", "/a", "e1", "shop")
    assert (made.client, made.server, made.loopback) == ("10.0.0.2", "10.0.0.1:443", False)
    assert (made.scheme, made.identity, made.login_identity) == ("basic", identity("a"), identity("b"))
    nothing = call_of(
        transaction(client=None, server=None, auth=None, path=None, method=None, status=None, duration_ns=None),
        None,
        "",
    )
    assert (nothing.client, nothing.server, nothing.loopback, nothing.path) == (None, None, False, None)


@pytest.mark.parametrize(
    ("client", "server", "loopback"),
    [
        ("127.0.0.1", "127.0.0.53", True),
        ("::1", "::1", True),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
        ("10.0.0.1", "10.0.0.1", True),
        ("127.0.0.1", "10.0.0.1", False),
        ("10.0.0.1", "10.0.0.2", False),
    ],
)
def test_loopback(client: str, server: str, loopback: bool) -> None:
    made = call_of(transaction(client=Address(client, 1), server=Address(server, 80)), None, "")
    assert made.loopback is loopback
    assert made.server == (f"[{server}]:80" if ":" in server else f"{server}:80")
