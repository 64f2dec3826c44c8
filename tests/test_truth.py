"""The judge must be able to convict: every kind of error is seeded, and found as what it is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from tests.truth import Call, End, Transaction, compare, disagreements

COUNT = 12


def _calls() -> list[Call]:
    calls = []
    for n in range(COUNT):
        client, server = End("127.0.0.1", 40_000 + n), End("::ffff:127.0.0.1", 443)
        for role, pid, local, remote in (("client", 100 + n % 3, client, server), ("server", 200, server, client)):
            calls.append(
                Call(
                    role=role,  # type: ignore[arg-type]
                    method="POST" if n % 2 else "GET",
                    path=f"/s/{n}/word?status=200",
                    status=200,
                    request_size=10 * n,
                    response_size=1000 + n,
                    pid=pid,
                    local=local,
                    remote=remote,
                    protocol="http/1.1",
                    tls=True,
                    time=0.0,
                )
            )
    return calls


def _faithful(call: Call) -> Transaction:
    """What a sensor that makes no mistake reports of a call."""
    return {
        "kind": "transaction",
        "protocol": call.protocol,
        "side": call.role,
        "method": call.method,
        "scheme": "https" if call.tls else "http",
        "path": call.path,
        "status": call.status,
        "grpc_status": call.grpc_status,
        "request_body_size": call.request_size,
        "response_body_size": call.response_size,
        "client": call.client.canonical(),
        "server": call.server.canonical(),
        "binding": "nested",
        "process": {"pid": call.pid},
        "tls": {"library": "openssl", "library_version": None} if call.tls else None,
        "complete": True,
        "incomplete_reason": None,
    }


CALLS = _calls()


def _transactions() -> list[Transaction]:
    return [_faithful(call) for call in CALLS]


def test_a_faithful_report_passes_in_any_order() -> None:
    verdict = compare(CALLS, reversed(_transactions()))
    assert verdict.passes(1.0)
    assert verdict.exact
    assert len(verdict.matched) == len(CALLS)
    assert verdict.share_whole == 1.0


def test_nothing_expected_does_not_pass() -> None:
    assert not compare([], []).passes()
    assert not compare(CALLS, []).passes()


SEEDED: dict[str, tuple[str, Callable[[Transaction], Any]]] = {
    "method": ("method", lambda t: t.update(method="DELETE")),
    "path": ("path", lambda t: t.update(path="/other")),
    "path redacted": ("path", lambda t: t.update(path=t["path"].replace("200", "***"))),
    "no path though complete": ("path", lambda t: t.update(path=None)),
    "status": ("status", lambda t: t.update(status=499)),
    "no status though complete": ("status", lambda t: t.update(status=None)),
    "request size": ("request_body_size", lambda t: t.update(request_body_size=t["request_body_size"] + 1)),
    "response size": ("response_body_size", lambda t: t.update(response_body_size=0)),
    "process": ("pid", lambda t: t["process"].update(pid=999)),
    "another process of the scenario": ("pid", lambda t: t["process"].update(pid=200)),
    "no process": ("pid", lambda t: t.update(process=None)),
    "client port": ("client", lambda t: t["client"].update(port=1)),
    "client absent, server given": ("client", lambda t: t.update(client=None)),
    "server address": ("server", lambda t: t["server"].update(address="127.0.0.2")),
    "address not canonical": ("server", lambda t: t["server"].update(address="::ffff:127.0.0.1")),
    "ends exchanged": ("client", lambda t: t.update(client=t["server"], server=t["client"])),
    "side": ("side", lambda t: t.update(side="network")),
    "protocol": ("protocol", lambda t: t.update(protocol="h2")),
    "scheme": ("scheme", lambda t: t.update(scheme="http")),
    "incomplete without a reason": ("incomplete_reason", lambda t: t.update(complete=False)),
}


@pytest.mark.parametrize("name", SEEDED)
def test_a_wrong_field_is_found_and_named(name: str) -> None:
    field, spoil = SEEDED[name]
    transactions = _transactions()
    spoil(transactions[6])
    verdict = compare(CALLS, transactions)
    if name == "client absent, server given":
        # Absent is not false, but the transaction counts as unbound.
        assert (len(verdict.unbound), verdict.share_whole < 0.999) == (1, True)
        assert not verdict.passes()
        return
    assert not verdict.passes(0.0)
    assert field in [difference.field for match in verdict.wrong for difference in match.differences]
    assert (len(verdict.wrong), len(verdict.missing), len(verdict.extra)) == (1, 0, 0)
    assert verdict.wrong[0].call == CALLS[6]
    assert f"{field}: logged" in verdict.report()


def test_plaintext_reported_with_a_tls_library_is_wrong() -> None:
    call = replace(CALLS[0], tls=False)
    transaction = {**_faithful(call), "tls": {"library": "openssl", "library_version": None}}
    assert [d.field for d in compare([call], [transaction]).wrong[0].differences] == ["tls"]


def test_a_missing_transaction() -> None:
    verdict = compare(CALLS, _transactions()[1:])
    assert verdict.missing == [CALLS[0]]
    assert not verdict.passes(0.0)
    assert "1 missing" in verdict.report()
    assert CALLS[0].path in verdict.report()


def test_a_transaction_reported_twice_is_extra() -> None:
    transactions = _transactions()
    verdict = compare(CALLS, [*transactions, copy.deepcopy(transactions[3])])
    assert (len(verdict.extra), len(verdict.matched), len(verdict.missing)) == (1, len(CALLS), 0)
    assert not verdict.passes(0.0)


def test_an_invented_call_of_a_known_process_is_extra() -> None:
    invented = {**_transactions()[0], "path": "/decoy", "method": "PATCH"}
    verdict = compare(CALLS, [*_transactions(), invented])
    assert [t["path"] for t in verdict.extra] == ["/decoy"]
    assert "/decoy" in verdict.report()


def test_other_processes_are_foreign() -> None:
    foreign = {**_transactions()[0], "path": "/elsewhere", "process": {"pid": 4}}
    verdict = compare(CALLS, [*_transactions(), foreign, {**foreign, "process": None}])
    assert verdict.passes(1.0)
    assert verdict.foreign == 2


def test_two_calls_that_exchange_their_statuses_are_both_wrong() -> None:
    calls = [replace(call, status=200 + n) for n, call in enumerate(CALLS)]
    transactions = [_faithful(call) for call in calls]
    transactions[0]["status"], transactions[2]["status"] = transactions[2]["status"], transactions[0]["status"]
    verdict = compare(calls, transactions)
    assert {match.call for match in verdict.wrong} == {calls[0], calls[2]}


def test_equal_calls_are_counted_as_often_as_they_happened() -> None:
    twice = [CALLS[0], CALLS[0]]
    assert compare(twice, [_faithful(CALLS[0]), _faithful(CALLS[0])]).passes(1.0)
    assert len(compare(twice, [_faithful(CALLS[0])]).missing) == 1
    assert len(compare(twice[:1], [_faithful(CALLS[0]), _faithful(CALLS[0])]).extra) == 1


def test_unbound_is_counted_but_not_wrong() -> None:
    transactions = _transactions()
    transactions[0].update(client=None, server=None, binding=None, complete=False, incomplete_reason="unbound")
    verdict = compare(CALLS, transactions)
    assert (len(verdict.unbound), len(verdict.incomplete), len(verdict.wrong)) == (1, 0, 0)
    assert verdict.exact
    assert not verdict.passes(0.999)
    assert verdict.passes(0.9)
    assert "1 unbound" in verdict.report()


def test_incomplete_is_counted_and_what_it_says_is_still_checked() -> None:
    transactions = _transactions()
    transactions[0].update(status=None, response_body_size=None, complete=False, incomplete_reason="response_not_seen")
    verdict = compare(CALLS, transactions)
    assert (len(verdict.incomplete), len(verdict.wrong), verdict.exact) == (1, 0, True)
    assert not verdict.passes(0.999)
    assert "response_not_seen x1" in verdict.report()
    transactions[0].update(status=500)
    assert [d.field for d in compare(CALLS, transactions).wrong[0].differences] == ["status"]
    transactions[0].update(status=None, request_body_size=10**6)
    assert [d.field for d in compare(CALLS, transactions).wrong[0].differences] == ["request_body_size"]


def test_unbound_and_incomplete_at_once_is_one_flawed_call() -> None:
    transactions = _transactions()
    transactions[0].update(client=None, server=None, binding=None, complete=False, incomplete_reason="ring_full")
    verdict = compare(CALLS, transactions)
    assert verdict.share_whole == pytest.approx((len(CALLS) - 1) / len(CALLS))


def test_the_report_is_bounded() -> None:
    verdict = compare(CALLS, [])
    assert len(verdict.report().splitlines()) < 10
    assert "and 19 more" in verdict.report()


def test_peers_that_agree_and_peers_that_do_not() -> None:
    assert disagreements(CALLS) == []
    assert len(disagreements(CALLS[1:])) == 1

    def changed(**fields: Any) -> list[Call]:
        return [replace(CALLS[0], **fields), *CALLS[1:]]

    for fields in ({"status": 1}, {"request_size": 1}, {"response_size": 1}, {"protocol": "h2"}, {"tls": False}):
        assert len(disagreements(changed(**fields))) == 1
    assert len(disagreements(changed(local=End("127.0.0.1", 1)))) == 1
