"""Ground truth: what real peers logged about their own calls, against what the sensor reported about them.

Every peer of `tests/peers` writes one `Call` per call it made or served. `compare` matches those with the sensor's
transactions (the documented JSON objects) as multisets and sorts every call and every transaction into exactly one of:
matched, wrong (with the fields that differ), missing, extra. Unbound and incomplete ones are matched, but counted
apart: they say themselves that something is absent, which is not the same as saying something false.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Literal

import msgspec

Transaction = dict[str, Any]
"""A transaction in its public JSON form."""

REPORTED_OF_EACH = 5
"""How many calls of each kind a report names; more would hide the pattern."""


class End(msgspec.Struct, frozen=True, order=True):
    """One end of a connection, as a peer saw it."""

    address: str
    """Of a unix socket its name, "" without one."""
    port: int | None
    """None of a unix socket."""

    def canonical(self) -> dict[str, Any]:
        """As the sensor must write it: IPv4-mapped addresses as IPv4, IPv6 compressed (RFC 5952)."""
        if self.port is None:
            return {"address": self.address, "port": None}
        parsed = ipaddress.ip_address(self.address)
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        return {"address": str(parsed), "port": self.port}


class Call(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One call as one of its two peers logged it. One line of JSON in a peer's log."""

    role: Literal["client", "server"]
    method: str
    path: str
    """With query, as sent."""
    status: int
    request_size: int
    """Bytes of content, without transfer coding, with content coding."""
    response_size: int
    pid: int
    """As the host sees it."""
    local: End
    """The logging process's end of the connection."""
    remote: End
    protocol: Literal["http/1.0", "http/1.1", "h2", "grpc"]
    tls: bool
    time: float
    """Unix time, seconds, at which the peer was done with the call. For people: nothing is compared with it."""
    grpc_status: int | None = None

    @property
    def client(self) -> End:
        return self.local if self.role == "client" else self.remote

    @property
    def server(self) -> End:
        return self.remote if self.role == "client" else self.local


class Difference(msgspec.Struct, frozen=True):
    """A field that the sensor reported with another value than the peer logged."""

    field: str
    logged: Any
    reported: Any


class Match(msgspec.Struct, frozen=True):
    """A call and the transaction that reports it."""

    call: Call
    transaction: Transaction
    differences: tuple[Difference, ...] = ()


class Verdict(msgspec.Struct):
    """What `compare` found. `matched`, `wrong` and `missing` share out the calls; `matched`, `wrong` and `extra` the
    transactions, but for `foreign`: those of other processes about other paths."""

    expected: int
    matched: list[Match]
    """Every field is right, or absent in a transaction that says it is incomplete or unbound."""
    wrong: list[Match]
    missing: list[Call]
    extra: list[Transaction]
    unbound: list[Match]
    """Those of `matched` whose peer is not known."""
    incomplete: list[Match]
    """Those of `matched` that say bytes were not seen; an unbound one is not counted here unless it is that too."""
    foreign: int

    @property
    def exact(self) -> bool:
        """None missing, none extra, none wrong."""
        return not (self.missing or self.extra or self.wrong)

    @property
    def share_whole(self) -> float:
        """Calls reported right, bound and complete, of all calls; 1.0 where there was none."""
        flawed = {id(match) for match in (*self.unbound, *self.incomplete)}
        return (len(self.matched) - len(flawed)) / self.expected if self.expected else 1.0

    def passes(self, least_whole: float = 0.999) -> bool:
        """The acceptance rule: exact, and at least this share bound and complete. No calls at all does not pass."""
        return self.expected > 0 and self.exact and self.share_whole >= least_whole

    def report(self, of_each: int = REPORTED_OF_EACH) -> str:
        """A text for the failing test: the counts, which fields are wrong how often, the first few of each kind."""
        lines = [
            f"{self.expected} calls: {len(self.matched)} matched ({self.share_whole:.2%} bound and complete), "
            f"{len(self.wrong)} wrong, {len(self.missing)} missing, {len(self.extra)} extra, "
            f"{len(self.unbound)} unbound, {len(self.incomplete)} incomplete, {self.foreign} foreign"
        ]
        fields = Counter(difference.field for match in self.wrong for difference in match.differences)
        if fields:
            lines.append("wrong fields: " + ", ".join(f"{name} x{count}" for name, count in fields.most_common()))
        reasons = Counter(str(match.transaction.get("incomplete_reason")) for match in self.incomplete)
        if reasons:
            lines.append("incomplete because: " + ", ".join(f"{name} x{n}" for name, n in reasons.most_common()))
        lines += _listed("wrong", [_describe_wrong(match) for match in self.wrong[:of_each]], len(self.wrong))
        lines += _listed("missing", [_describe_call(call) for call in self.missing[:of_each]], len(self.missing))
        lines += _listed("extra", [_describe_transaction(t) for t in self.extra[:of_each]], len(self.extra))
        for title, matches in (("unbound", self.unbound), ("incomplete", self.incomplete)):
            lines += _listed(title, [_describe_transaction(m.transaction) for m in matches[:of_each]], len(matches))
        return "\n".join(lines)


def compare(truth: Iterable[Call], transactions: Iterable[Transaction]) -> Verdict:
    """Matches calls with transactions, each at most once.

    A transaction takes part when its process is one of the truth's or its path is: so a call reported under a wrong
    process is found, and the rest of the node's traffic is not in the way. Matching goes from the strictest key to
    looser ones (`_KEYS`); whatever only a looser key brings together differs in at least one field and is wrong.
    """
    calls = list(truth)
    pids = {call.pid for call in calls}
    paths = {call.path for call in calls}
    ours: list[Transaction] = []
    foreign = 0
    for transaction in transactions:
        if _pid(transaction) in pids or transaction["path"] in paths:
            ours.append(transaction)
        else:
            foreign += 1
    verdict = Verdict(len(calls), [], [], [], [], [], [], foreign)
    left_calls: Sequence[Call] = calls
    left: Sequence[Transaction] = ours
    for key_of_call, key_of_transaction in _KEYS:
        found, left_calls, left = _pair(left_calls, left, key_of_call, key_of_transaction)
        for match in found:
            _sort_in(verdict, match)
    verdict.missing.extend(left_calls)
    verdict.extra.extend(left)
    return verdict


def disagreements(calls: Iterable[Call]) -> list[str]:
    """Where the two peers of a call contradict each other, one line each; [] when the logs agree entirely.

    Shows, without any sensor, that the logs deserve to be called truth. Method and path identify a call.
    """
    views: dict[tuple[str, str], dict[str, list[Call]]] = defaultdict(lambda: {"client": [], "server": []})
    for call in calls:
        views[call.method, call.path][call.role].append(call)
    found = []
    for (method, path), view in views.items():
        if len(view["client"]) != 1 or len(view["server"]) != 1:
            found.append(f"{method} {path}: {len(view['client'])} client and {len(view['server'])} server views")
            continue
        client, server = view["client"][0], view["server"][0]
        for field in ("status", "request_size", "response_size", "protocol", "tls", "grpc_status"):
            if getattr(client, field) != getattr(server, field):
                found.append(f"{method} {path}: {field} {getattr(client, field)!r} / {getattr(server, field)!r}")
        seen_by_client = (client.local.canonical(), client.remote.canonical())
        seen_by_server = (server.remote.canonical(), server.local.canonical())
        if seen_by_client != seen_by_server:
            found.append(f"{method} {path}: connection {seen_by_client} / {seen_by_server}")
    return found


def _pid(transaction: Transaction) -> int | None:
    process = transaction["process"]
    return None if process is None else process["pid"]


def _frozen_end(end: dict[str, Any] | None) -> Hashable:
    return None if end is None else (end["address"], end["port"])


def _ends_of_call(call: Call) -> Hashable:
    return (_frozen_end(call.client.canonical()), _frozen_end(call.server.canonical()))


def _ends(t: Transaction) -> Hashable:
    return (_frozen_end(t["client"]), _frozen_end(t["server"]))


_KEYS: list[tuple[Callable[[Call], Hashable], Callable[[Transaction], Hashable]]] = [
    (lambda c: (c.pid, c.role, c.method, c.path), lambda t: (_pid(t), t["side"], t["method"], t["path"])),
    # From here on a pair is wrong in what its key leaves out: process, side, method, then path.
    (lambda c: (c.role, c.method, c.path), lambda t: (t["side"], t["method"], t["path"])),
    (lambda c: (c.pid, c.method, c.path), lambda t: (_pid(t), t["method"], t["path"])),
    (lambda c: (c.pid, c.role, c.path), lambda t: (_pid(t), t["side"], t["path"])),
    (
        lambda c: (c.pid, c.role, c.method, c.status, _ends_of_call(c)),
        lambda t: (_pid(t), t["side"], t["method"], t["status"], _ends(t)),
    ),
    (lambda c: (c.pid, c.role, _ends_of_call(c)), lambda t: (_pid(t), t["side"], _ends(t))),
]


def _pair(
    calls: Sequence[Call],
    transactions: Sequence[Transaction],
    key_of_call: Callable[[Call], Hashable],
    key_of_transaction: Callable[[Transaction], Hashable],
) -> tuple[list[Match], list[Call], list[Transaction]]:
    """Pairs those of equal key, within a key those with the fewest differences first. Returns pairs and the rest."""
    groups: dict[Hashable, list[Transaction]] = defaultdict(list)
    for transaction in transactions:
        groups[key_of_transaction(transaction)].append(transaction)
    found: list[Match] = []
    left: list[Call] = []
    for call in calls:
        candidates = groups.get(key_of_call(call))
        if not candidates:
            left.append(call)
            continue
        best = min(range(len(candidates)), key=lambda at: len(_differences(call, candidates[at])))
        transaction = candidates.pop(best)
        found.append(Match(call, transaction, tuple(_differences(call, transaction))))
    return found, left, [transaction for group in groups.values() for transaction in group]


def _unbound(transaction: Transaction) -> bool:
    return transaction["binding"] is None or transaction["client"] is None or transaction["server"] is None


def _sort_in(verdict: Verdict, match: Match) -> None:
    if match.differences:
        verdict.wrong.append(match)
        return
    verdict.matched.append(match)
    transaction = match.transaction
    if _unbound(transaction):
        verdict.unbound.append(match)
    if not transaction["complete"] and transaction["incomplete_reason"] != "unbound":
        verdict.incomplete.append(match)


def _differences(call: Call, transaction: Transaction) -> list[Difference]:
    """The fields that are false. What a transaction that says it is incomplete or unbound leaves out is not false."""
    bytes_missing = not transaction["complete"] and transaction["incomplete_reason"] != "unbound"
    logged: dict[str, Any] = {
        "method": call.method,
        "path": call.path,
        "status": call.status,
        "request_body_size": call.request_size,
        "response_body_size": call.response_size,
        "pid": call.pid,
        "side": call.role,
        "protocol": call.protocol,
        "grpc_status": call.grpc_status,
        "scheme": "https" if call.tls else "http",
        "client": call.client.canonical(),
        "server": call.server.canonical(),
    }
    reported: dict[str, Any] = {**{name: transaction.get(name) for name in logged}, "pid": _pid(transaction)}
    if _unbound(transaction):
        # An end that is given must be right, whatever became of the other.
        for name in ("client", "server"):
            if reported[name] is None:
                del logged[name]
    if bytes_missing:
        for name in ("method", "path", "status", "grpc_status"):
            if reported[name] is None:
                logged.pop(name)
        for name in ("request_body_size", "response_body_size"):
            # What was seen of a content cannot be more than there was.
            if reported[name] is None or reported[name] <= logged[name]:
                del logged[name]
    if "hpack-unknown-field" in transaction.get("anomalies", ()) and call.protocol == "grpc":
        # The field that says so is one of those that could not be known.
        for name, without in (("protocol", "h2"), ("grpc_status", None)):
            if reported[name] == without:
                logged.pop(name, None)
    differences = [Difference(name, value, reported[name]) for name, value in logged.items() if reported[name] != value]
    if not call.tls and transaction.get("tls") is not None:
        differences.append(Difference("tls", None, transaction["tls"]))
    if not transaction["complete"] and not transaction["incomplete_reason"]:
        differences.append(Difference("incomplete_reason", "a documented reason", transaction["incomplete_reason"]))
    return differences


def _listed(title: str, described: list[str], count: int) -> list[str]:
    if not described:
        return []
    more = [f"  ... and {count - len(described)} more"] if count > len(described) else []
    return [f"{title}:", *(f"  {line}" for line in described), *more]


def _describe_call(call: Call) -> str:
    ends = f"{call.client.address}:{call.client.port} -> {call.server.address}:{call.server.port}"
    sizes = f"{call.request_size}/{call.response_size} B"
    scheme = "https" if call.tls else "http"
    return f"{call.role} pid {call.pid} {call.protocol} {scheme} {call.method} {call.path} {call.status} {sizes} {ends}"


def _describe_transaction(t: Transaction) -> str:
    ends = " -> ".join(f"{end['address']}:{end['port']}" if end else "?" for end in (t["client"], t["server"]))
    sizes = f"{t['request_body_size']}/{t['response_body_size']} B"
    reason = "" if t["complete"] else f" incomplete: {t['incomplete_reason']}"
    head = f"{t['side']} pid {_pid(t)} {t['protocol']} {t['scheme']}"
    return f"{head} {t['method']} {t['path']} {t['status']} {sizes} {ends} binding {t['binding']}{reason}"


def _describe_wrong(match: Match) -> str:
    differing = "; ".join(f"{d.field}: logged {d.logged!r}, reported {d.reported!r}" for d in match.differences)
    return f"{_describe_call(match.call)}\n    {differing}"
