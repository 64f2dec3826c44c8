"""What is counted of one endpoint's calls, and how two counts become one. Every dictionary has its bound in LIMITS.

`add` takes what fits and counts the rest under OTHER; `merge` adds up and then keeps the heaviest. So up to the bounds
merging is associative and commutative; beyond them the sums still are, and what is heavy stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import islice

from apisensor.inventory import histogram
from apisensor.inventory.callers import note as note_caller
from apisensor.inventory.callers import prune as prune_callers
from apisensor.inventory.callers import take as take_callers
from apisensor.inventory.model import OTHER, Profile
from apisensor.transactions.lines import NULL, beginning, first, text_of
from apisensor.transactions.model import Transaction

LIMITS = {
    "statuses": 40,  # some sixty are registered, a service uses ten
    "grpc_statuses": 20,  # seventeen are defined
    "protocols": 8,
    "auth": 24,
    "sensitive_in": 16,  # content knows nine kinds
    "sensitive_out": 16,
    "hosts": 32,  # whoever sends odd Host headers gets no more room than this
    "content_types": 16,
    "response_types": 48,
    "query_names": 64,
    "anomalies": 32,
}
"""Keys that each dictionary of a profile keeps, OTHER not counted."""

NO_RESPONSE = "none"
"""Key of statuses where no response was seen."""
NO_CREDENTIAL = "none"
"""Key of auth where the request carried no credential."""
UNKNOWN_CREDENTIAL = "unknown"
"""Key of auth where part of the request's head was not seen: it may have carried one."""

LONGEST_KEY = 255
"""Characters of a key, a DNS name's limit; longer ones count as OTHER."""
QUERY_SCANNED = 2048
"""Characters of a query that are looked at for names."""
NAMES_PER_CALL = 32
"""Query names counted of one call."""

GRPC_SERVER_ERRORS = frozenset({2, 4, 12, 13, 14, 15})
"""UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS: the server's fault after the RPC
semantic conventions. A test compares it with the exporter's."""

HEAD_NOT_WHOLE = frozenset({"hpack-unknown-field", "header-bytes-limit", "header-count-limit"})
"""Anomalies that say that fields of a head are not known."""

CREDENTIALS = frozenset({"jwt", "api_key", "password", "session", "secret", "token"})
"""Kinds that are where they belong in a header (Authorization, Cookie, an API key field; Set-Cookie on the way back).
There they are no sensitive data carried; in a path, a query or a body they are."""

MEDIA_TYPES = 256
"""Content-Type values whose media type is remembered: multipart ones differ each time."""

_CONTENT_TYPE = beginning("content-type")


def add(profile: Profile, t: Transaction, caller_service: str | None = None) -> None:
    """Counts one call.

    Args:
        profile: Changed in place.
        t: The view that counts; its time is that of its first byte.
        caller_service: service.name of the calling process, where the other view of this call is known.
    """
    wall_ns = t.start_ns + t.wall_offset_ns
    status, grpc_status = t.status, t.grpc_status
    if profile.count == 0 or wall_ns < profile.first_ns:
        profile.first_ns = wall_ns
    profile.last_ns = max(profile.last_ns, wall_ns)
    profile.count += 1
    if (status is not None and status >= 500) or grpc_status in GRPC_SERVER_ERRORS:
        profile.errors += 1
    if t.incomplete_reason is not None:
        profile.incomplete += 1
    if t.encrypted:
        profile.encrypted += 1
    if status is None:
        profile.unanswered += 1
        bump(profile.statuses, NO_RESPONSE, LIMITS["statuses"])
    else:
        bump(profile.statuses, str(status), LIMITS["statuses"])
    if grpc_status is not None:
        bump(profile.grpc_statuses, str(grpc_status), LIMITS["grpc_statuses"])
    bump(profile.protocols, t.protocol, LIMITS["protocols"])
    _add_auth(profile, t)
    if t.sensitive:
        _add_sensitive(profile, t)
    if t.authority:
        bump(profile.hosts, t.authority.lower(), LIMITS["hosts"])
    if t.response_lines is not None:
        _add_content_type(profile, t.response_lines, status)
    if t.path is not None and "?" in t.path:
        for name in query_names(t.path):
            bump(profile.query_names, name, LIMITS["query_names"])
    for anomaly in t.anomalies:
        bump(profile.anomalies, anomaly, LIMITS["anomalies"])
    note_caller(profile.callers, t, caller_service, wall_ns)
    if t.duration_ns is not None:
        histogram.add(profile.latency_ms, t.duration_ns / 1_000_000)
    histogram.add(profile.request_bytes, t.request_body_size)
    if t.response_body_size is not None:
        histogram.add(profile.response_bytes, t.response_body_size)


def bump(counts: dict[str, int], key: str, limit: int) -> None:
    """Counts one under `key`; under OTHER where it is new and there is no room."""
    known = counts.get(key)
    if known is not None:
        counts[key] = known + 1
    elif len(counts) - (OTHER in counts) < limit and 0 < len(key) <= LONGEST_KEY:
        counts[key] = 1
    else:
        counts[OTHER] = counts.get(OTHER, 0) + 1


def succeeded(t: Transaction) -> bool:
    """Whether the response says so: 2xx, and for gRPC status OK (0)."""
    if t.status is None or not 200 <= t.status < 300:
        return False
    return t.grpc_status == 0 if t.protocol == "grpc" else t.grpc_status in (None, 0)


def _add_auth(profile: Profile, t: Transaction) -> None:
    if t.auth is not None:
        bump(profile.auth, t.auth.scheme, LIMITS["auth"])
    elif t.request_lines is None or (t.anomalies and not HEAD_NOT_WHOLE.isdisjoint(t.anomalies)):
        bump(profile.auth, UNKNOWN_CREDENTIAL, LIMITS["auth"])
    else:
        bump(profile.auth, NO_CREDENTIAL, LIMITS["auth"])
        if succeeded(t):
            profile.open_successes += 1


def _add_sensitive(profile: Profile, t: Transaction) -> None:
    received: set[str] = set()
    sent: set[str] = set()
    for found in t.sensitive:
        message, _, part = found.place.partition(".")
        if part != "header" or found.kind not in CREDENTIALS:
            (received if message == "request" else sent).add(found.kind)
    for kind in received:
        bump(profile.sensitive_in, kind, LIMITS["sensitive_in"])
    for kind in sent:
        bump(profile.sensitive_out, kind, LIMITS["sensitive_out"])


def _add_content_type(profile: Profile, lines: bytes, status: int | None) -> None:
    value = first(lines, _CONTENT_TYPE)
    if value is None:
        return
    kept = _media_type(value)
    bump(profile.content_types, kept, LIMITS["content_types"])
    if kept is not OTHER:
        bump(profile.response_types, f"{status} {kept}", LIMITS["response_types"])


@lru_cache(MEDIA_TYPES)
def _media_type(value: bytes) -> str:
    """The media type of a Content-Type value, which is JSON, without its parameters."""
    media = "" if value == NULL else text_of(value).partition(";")[0].strip().lower()
    # RFC 9110 section 8.3.1; anything else is not kept letter by letter
    return media if media.count("/") == 1 and media.isascii() and media.isprintable() else OTHER


def query_names(path: str) -> set[str]:
    """Names of a target's query parameters, as sent. What has no `=` is a value and no name."""
    query = path.partition("?")[2].partition("#")[0][:QUERY_SCANNED]
    pairs = islice((pair for pair in query.split("&") if "=" in pair), NAMES_PER_CALL)
    return {name for pair in pairs if (name := pair.partition("=")[0])}


def merge(into: Profile, more: Profile) -> Profile:
    """Adds what `more` counted to `into`, in place, and returns it. `more` is left as it is."""
    if more.count:
        into.first_ns = min(into.first_ns, more.first_ns) if into.count else more.first_ns
        into.last_ns = max(into.last_ns, more.last_ns)
    for name in ("count", "errors", "incomplete", "unanswered", "encrypted", "open_successes"):
        setattr(into, name, getattr(into, name) + getattr(more, name))
    for name, limit in LIMITS.items():
        merge_counts(getattr(into, name), getattr(more, name), limit)
    take_callers(into.callers, more.callers)
    prune_callers(into.callers)
    histogram.merge(into.latency_ms, more.latency_ms)
    histogram.merge(into.request_bytes, more.request_bytes)
    histogram.merge(into.response_bytes, more.response_bytes)
    return into


def total(parts: Iterable[Profile]) -> Profile:
    """The sum of some profiles, which are left as they are."""
    whole = Profile()
    for part in parts:
        merge(whole, part)
    return whole


def merge_counts(into: dict[str, int], more: dict[str, int], limit: int) -> None:
    """Adds `more`; where there are more than `limit` keys then, the heaviest stay and the rest is OTHER."""
    for key, count in more.items():
        into[key] = into.get(key, 0) + count
    keys = [key for key in into if key != OTHER]
    if len(keys) <= limit:
        return
    keys.sort(key=lambda key: (-into[key], key))
    rest = sum(into.pop(key) for key in keys[limit:])
    into[OTHER] = into.get(OTHER, 0) + rest
