"""What is counted of one endpoint's calls, and how two counts become one. Every dictionary has its bound in LIMITS.

`count` takes what fits and counts the rest under OTHER; `merge` adds up and then keeps the heaviest. So up to the
bounds merging is associative and commutative; beyond them the sums still are, and what is heavy stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import islice

from apisensor.inventory import histogram
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

Names = tuple[str, ...]
Sensitives = tuple[tuple[str, str], ...]
"""Kind and place of each."""
Shape = tuple[
    int | None,
    int | None,
    str,
    str | None,
    bool,
    bool,
    str | None,
    str | None,
    tuple[Sensitives, Names, Names],
]
"""Status, gRPC status, protocol; scheme of the credential, None where there was none; whether it is complete, and
encrypted; authority; media type of the response; what is sensitive, names of the query's parameters, anomalies."""
_NO_NAMES: tuple[Sensitives, Names, Names] = ((), (), ())


def call_shape(t: Transaction) -> Shape:
    """What is counted of a call by name, without its caller."""
    status, auth, lines, path, anomalies = t.status, t.auth, t.response_lines, t.path, t.anomalies
    if auth is not None:
        scheme = auth.scheme
    elif t.request_lines is None or (anomalies and not HEAD_NOT_WHOLE.isdisjoint(anomalies)):
        scheme = UNKNOWN_CREDENTIAL
    else:
        scheme = None
    content_type = None if lines is None else first(lines, _CONTENT_TYPE)
    sensitive = tuple([(found.kind, found.place) for found in t.sensitive]) if t.sensitive else ()
    names = query_names(path) if path is not None and "?" in path else ()
    return (
        status,
        t.grpc_status,
        t.protocol,
        scheme,
        t.incomplete_reason is None,
        t.encrypted,
        t.authority,
        None if content_type is None else _media_type(content_type),
        (sensitive, names, tuple(anomalies)) if sensitive or names or anomalies else _NO_NAMES,
    )


def count(profile: Profile, shape: Shape, calls: int) -> None:
    """Counts calls of one shape, in place; not their times, sizes and callers."""
    status, grpc_status, protocol, scheme, complete, encrypted, authority, media_type, several = shape
    sensitive, names, anomalies = several
    profile.count += calls
    if (status is not None and status >= 500) or grpc_status in GRPC_SERVER_ERRORS:
        profile.errors += calls
    if not complete:
        profile.incomplete += calls
    if encrypted:
        profile.encrypted += calls
    if status is None:
        profile.unanswered += calls
    bump(profile.statuses, NO_RESPONSE if status is None else str(status), LIMITS["statuses"], calls)
    if grpc_status is not None:
        bump(profile.grpc_statuses, str(grpc_status), LIMITS["grpc_statuses"], calls)
    bump(profile.protocols, protocol, LIMITS["protocols"], calls)
    bump(profile.auth, NO_CREDENTIAL if scheme is None else scheme, LIMITS["auth"], calls)
    if scheme is None and _succeeded(protocol, status, grpc_status):
        profile.open_successes += calls
    if sensitive:
        _count_sensitive(profile, sensitive, calls)
    if authority:
        bump(profile.hosts, authority.lower(), LIMITS["hosts"], calls)
    if media_type is not None:
        bump(profile.content_types, media_type, LIMITS["content_types"], calls)
        if media_type is not OTHER:
            bump(profile.response_types, f"{status} {media_type}", LIMITS["response_types"], calls)
    for name in names:
        bump(profile.query_names, name, LIMITS["query_names"], calls)
    for anomaly in anomalies:
        bump(profile.anomalies, anomaly, LIMITS["anomalies"], calls)


def bump(counts: dict[str, int], key: str, limit: int, calls: int = 1) -> None:
    """Counts calls under `key`; under OTHER where it is new and there is no room."""
    known = counts.get(key)
    if known is not None:
        counts[key] = known + calls
    elif len(counts) - (OTHER in counts) < limit and 0 < len(key) <= LONGEST_KEY:
        counts[key] = calls
    else:
        counts[OTHER] = counts.get(OTHER, 0) + calls


def _succeeded(protocol: str, status: int | None, grpc_status: int | None) -> bool:
    """Whether the response says so: 2xx, and for gRPC status OK (0)."""
    if status is None or not 200 <= status < 300:
        return False
    return grpc_status == 0 if protocol == "grpc" else grpc_status in (None, 0)


def _count_sensitive(profile: Profile, sensitive: Sensitives, calls: int) -> None:
    received: dict[str, None] = {}
    sent: dict[str, None] = {}
    for kind, place in sensitive:
        message, _, part = place.partition(".")
        if part != "header" or kind not in CREDENTIALS:
            (received if message == "request" else sent)[kind] = None
    for kind in received:
        bump(profile.sensitive_in, kind, LIMITS["sensitive_in"], calls)
    for kind in sent:
        bump(profile.sensitive_out, kind, LIMITS["sensitive_out"], calls)


@lru_cache(MEDIA_TYPES)
def _media_type(value: bytes) -> str:
    """The media type of a Content-Type value, which is JSON, without its parameters."""
    media = "" if value == NULL else text_of(value).partition(";")[0].strip().lower()
    # RFC 9110 section 8.3.1; anything else is not kept letter by letter
    return media if media.count("/") == 1 and media.isascii() and media.isprintable() else OTHER


def query_names(path: str) -> tuple[str, ...]:
    """Names of a target's query parameters, as sent, each once. What has no `=` is a value and no name."""
    query = path.partition("?")[2].partition("#")[0][:QUERY_SCANNED]
    pairs = islice((pair for pair in query.split("&") if "=" in pair), NAMES_PER_CALL)
    return tuple({name: None for pair in pairs if (name := pair.partition("=")[0])})


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
