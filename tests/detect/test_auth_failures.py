"""Guessing, spraying, stuffing, and what is none of them."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apisensor.detect.detection import Detection
from apisensor.detect.failures import CLIENTS, PATTERNS, SAMPLE, ClientFailures
from apisensor.detect.model import Call, Severity
from apisensor.sections import Detect
from tests.detect.calls import SECOND, START, basic, call, identity, login, rules, run

GUESSED = "auth-failures-identity"
SPRAYED = "auth-failures-client"
GOT_IN = "login-after-failures"


def test_who_mistypes_twice_is_no_finding() -> None:
    calls = []
    for day in range(30):
        start = day * 86_400
        calls += [login(start), login(start + 5), login(start + 9, status=200), basic(start + 10), call(start + 11)]
    assert run(calls) == []


@pytest.mark.parametrize("status", [400, 401, 403, 422])
def test_brute_force_is_found_at_the_crossing_call(status: int) -> None:
    detection = Detection(Detect())
    calls = [login(number * 0.1, status=status) for number in range(5)]
    assert all(detection.observe(one) == [] for one in calls[:4])
    (finding,) = detection.observe(calls[4])
    assert (finding.rule, finding.severity, finding.category) == (GUESSED, "medium", "API2:2023")
    assert (finding.identity, finding.client) == (identity("alice"), "10.0.0.2")
    assert (finding.endpoint, finding.route, finding.service) == ("e-login", "POST /login", "shop")
    assert finding.transactions == [one.transaction for one in calls]
    assert finding.trace_ids == [one.trace_id for one in calls]
    assert (finding.first_ns, finding.time_ns, finding.last_ns) == (START, calls[4].time_ns, calls[4].time_ns)
    assert finding.count == 5
    assert finding.evidence == {
        "failures": 5,
        "window_seconds": 300,
        "clients": ["10.0.0.2"],
        "credential": "login",
        "status": status,
    }


@pytest.mark.parametrize(
    "failure",
    [
        {"status": 401, "scheme": "basic", "identity": identity("a")},
        {"status": 403, "scheme": "bearer", "identity": identity("a")},
        {"status": 200, "grpc_status": 16, "scheme": "bearer", "identity": identity("a")},
        {"status": 200, "grpc_status": 7, "scheme": "bearer", "identity": identity("a")},
        {"status": 401, "scheme": "basic", "identity": identity("client"), "login_identity": identity("a")},
    ],
)
def test_what_is_a_failure(failure: dict[str, object]) -> None:
    found = run([call(number, **failure) for number in range(5)])
    assert rules(found) == [GUESSED]
    assert found[0].identity == identity("a")


@pytest.mark.parametrize(
    "harmless",
    [
        {"status": 401},  # asked for a credential
        {"status": 401, "scheme": "negotiate"},  # in the middle of a handshake
        {"status": 400, "scheme": "bearer", "identity": identity("a")},
        {"status": 422, "scheme": "bearer", "identity": identity("a")},
        {"status": 404, "login_identity": identity("a")},
        {"status": 429, "login_identity": identity("a")},
        {"status": 500, "login_identity": identity("a")},
        {"status": None, "login_identity": identity("a")},
        {"status": 200, "grpc_status": 5, "scheme": "bearer", "identity": identity("a")},
    ],
)
def test_what_is_no_failure(harmless: dict[str, object]) -> None:
    assert run([call(number * 0.1, **harmless) for number in range(100)]) == []


def test_the_window() -> None:
    assert run([login(number * 78) for number in range(100)]) == []
    assert rules(run([login(number * 74.9) for number in range(5)])) == [GUESSED]


def test_an_expired_token_is_of_little_weight() -> None:
    (finding,) = run([call(number, status=401, scheme="bearer", identity=identity("t")) for number in range(3000)])
    assert (finding.rule, finding.severity, finding.count) == (GUESSED, "low", 3000)


@pytest.mark.parametrize(("count", "severity"), [(5, "medium"), (49, "medium"), (50, "high"), (500, "critical")])
def test_severity_rises(count: int, severity: Severity) -> None:
    found = run([login(number * 0.5, client=f"10.1.0.{number % 250}") for number in range(count)])
    assert [(finding.rule, finding.severity, finding.count) for finding in found] == [(GUESSED, severity, count)]
    assert found[0].evidence["clients"] == [f"10.1.0.{number}" for number in range(min(count, CLIENTS))]


@given(st.permutations(range(30)), st.integers(2, 30))
def test_the_order_of_arrival_does_not_matter(order: list[int], threshold: int) -> None:
    calls = [login(number * 0.5) for number in range(30)]
    found = run([calls[number] for number in order], auth_failures=threshold, off=[SPRAYED])
    assert rules(found) == [GUESSED]
    assert (found[0].count, found[0].first_ns, found[0].last_ns) == (30, calls[0].time_ns, calls[29].time_ns)


@given(
    st.lists(
        st.tuples(
            st.integers(-2000, 2000),
            st.sampled_from("abc"),
            st.sampled_from([200, 401, 403, None]),
            st.sampled_from(["10.0.0.1", "10.0.0.2", None]),
        ),
        max_size=60,
    )
)
def test_any_calls(steps: list[tuple[int, str, int | None, str | None]]) -> None:
    """Nothing fails, and no finding without as many failures as its threshold, however late they come."""
    detection = Detection(Detect(auth_failures=3, auth_failures_client=6))
    calls = [login(seconds, user, client=client, status=status or 0) for seconds, user, status, client in steps]
    found = run(calls, detection)
    assert not any(count for name, count in detection.counters().items() if name.startswith("detect.failed."))
    for finding in found:
        if finding.rule == GUESSED:
            mine = [one for one in calls if one.login_identity == finding.identity and one.status in (401, 403)]
            assert 3 <= finding.count <= len(mine)


def test_a_late_failure_beyond_the_window_does_not_count() -> None:
    assert run([login(1000), *[login(0) for _ in range(10)]]) == []


def spread(users: int, each: int, **fields: Any) -> list[Call]:
    return [login(number * 0.2, f"user{number % users}", **fields) for number in range(users * each)]


@pytest.mark.parametrize(
    ("users", "each", "pattern", "severity", "title"),
    [
        (2, 12, "password guessing", "medium", "Password guessing from one client"),
        (4, 6, "password guessing", "medium", "Password guessing from one client"),
        (30, 1, "credential stuffing", "high", "Credential stuffing from one client"),
        (15, 2, "password spraying", "high", "Password spraying from one client"),
        (6, 4, "mixed", "medium", "Repeated authentication failures from one client"),
    ],
)
def test_patterns(users: int, each: int, pattern: str, severity: Severity, title: str) -> None:
    found = [finding for finding in run(spread(users, each)) if finding.rule == SPRAYED]
    assert [(f.severity, f.title, f.client, f.identity, f.count) for f in found] == [
        (severity, title, "10.0.0.2", None, users * each)
    ]
    assert found[0].evidence["pattern"] == pattern
    assert pattern in PATTERNS
    assert found[0].evidence["identities"] == users
    assert found[0].evidence["failures_per_identity"] == each


def test_tokens_that_are_tried_out() -> None:
    calls = [call(n * 0.1, status=401, scheme="bearer", identity=identity(f"t{n}")) for n in range(40)]
    (finding,) = run(calls)
    assert (finding.rule, finding.severity, finding.evidence["pattern"]) == (SPRAYED, "medium", "tokens")


def test_users_behind_one_address_are_no_attack() -> None:
    """200 log in within five minutes from one address, one of eight mistypes once or twice before."""
    calls = []
    for number in range(200):
        for slip in range((number % 8 == 0) + (number % 16 == 0)):
            calls.append(login(number * 1.4 + slip * 0.3, f"user{number}"))
        calls.append(login(number * 1.4 + 1, f"user{number}", status=200))
    assert sum(one.status == 401 for one in calls) > 30
    assert run(calls) == []


def test_single_failures_of_many_that_never_get_in_are_an_attack_behind_such_an_address_too() -> None:
    honest = [login(n * 3, f"user{n}", status=200) for n in range(60)]
    attack = [login(n * 2, f"victim{n}") for n in range(90)]
    found = run(sorted(honest + attack, key=lambda one: one.time_ns))
    assert [finding.evidence["pattern"] for finding in found if finding.rule == SPRAYED] == ["credential stuffing"]


def test_getting_in_elsewhere_is_no_excuse() -> None:
    """A page that asks nobody answers any credential with 200."""
    calls = []
    for number in range(30):
        calls.append(login(number, f"victim{number}"))
        calls += [basic(number, f"x{number}.{n}", status=200, endpoint="public") for n in range(3)]
    assert SPRAYED in rules(run(calls))


def test_many_identities_are_estimated_from_a_sample() -> None:
    chance = random.Random(1)
    subject = ClientFailures()
    for number in range(20_000):
        tries = subject.tried(identity(f"{chance.random()}"), number // 1000)
        if tries is not None:
            tries.failures += 1
        assert len(subject.identities) <= SAMPLE
    estimate = len(subject.identities) << subject.bits
    assert 12_000 < estimate < 28_000
    found = run([login(n * 0.01, f"user{n}") for n in range(5000)], auth_failures_client=20)
    (finding,) = [finding for finding in found if finding.rule == SPRAYED]
    assert finding.evidence["pattern"] == "credential stuffing"
    assert 2500 < int(str(finding.evidence["identities"])) < 10_000
    assert finding.severity == "critical"


def test_who_gets_in_after_guessing() -> None:
    calls = [login(number) for number in range(6)] + [login(7, status=303)]
    found = run(calls)
    assert rules(found) == [GUESSED, GOT_IN]
    assert (found[1].severity, found[1].identity, found[1].client) == ("critical", identity("alice"), "10.0.0.2")
    assert found[1].evidence == {"failures": 6, "clients_that_failed": ["10.0.0.2"], "same_client": "true"}
    assert found[1].transactions == [one.transaction for one in calls]
    # Once: who is in goes on working.
    assert len(run([*calls, *[login(8 + n, status=200) for n in range(9)]])) == 2


@pytest.mark.parametrize(
    ("success", "severity"),
    [
        (login(7, status=200, client="10.9.9.9"), "high"),
        (login(7, status=200, client=None), "high"),
        (login(7, status=200, endpoint="other"), None),
        (login(7, "bob", status=200, client="10.9.9.9"), None),
        (login(7, status=500), None),
        (login(400, status=200), None),
        (call(7, identity=identity("alice"), scheme="bearer"), None),
    ],
)
def test_what_getting_in_is(success: Call, severity: Severity | None) -> None:
    found = [f for f in run([*[login(n) for n in range(6)], success]) if f.rule == GOT_IN]
    assert [finding.severity for finding in found] == ([] if severity is None else [severity])


def test_who_gets_in_after_spraying() -> None:
    calls = spread(30, 1)
    first = login(7, "victim", status=200)
    tried = login(8, "user3", status=200)
    found = run([*calls, first])
    assert rules(found) == [SPRAYED, GOT_IN]
    assert (found[1].severity, found[1].identity) == ("high", identity("victim"))
    assert found[1].evidence["failed_before"] == "false"
    grown = [f for f in run([*calls, first, tried]) if f.rule == GOT_IN]
    assert [(f.severity, f.count) for f in grown] == [("critical", 2)]


def test_a_token_that_is_renewed_is_no_guess() -> None:
    calls = [call(n, status=401, scheme="bearer", identity=identity("sub")) for n in range(10)]
    assert rules(run([*calls, call(11, scheme="bearer", identity=identity("sub"))])) == [GUESSED]
    forbidden = [basic(n, status=403) for n in range(10)]
    assert rules(run([*forbidden, basic(11, status=200)])) == [GUESSED]


def test_a_million_identities_are_bounded() -> None:
    detection = Detection(Detect(max_tracked=500))
    one, found = login(0), 0
    for number in range(1_000_000):
        number_hash = f"{number * 0x9E3779B97F4A7C15 % (1 << 64):032x}"
        another = msgspec.structs.replace(
            one,
            time_ns=START + number * SECOND // 1000,
            login_identity=number_hash,
            client=f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
        )
        found += len(detection.observe(another))
    counters = detection.counters()
    assert counters["detect.tracked"] <= 500 * 7
    assert counters["detect.evicted"] > 3_000_000
    assert counters["detect.live_findings"] == found == 0
