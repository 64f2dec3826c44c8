"""Why nothing may have been seen: sentences over numbers. `run` says them when nothing was captured for a while."""

from __future__ import annotations

import msgspec

SAID_PROCESSES = 3
"""Blind processes named in one line; `apisensor status` has them all."""


class QuietFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the parts counted since the start, whatever became of it."""

    seconds: float
    """How long no transaction was seen."""
    connections: int = 0
    """Sockets seen with bytes on them."""
    plaintext_bytes: int = 0
    """On sockets without TLS."""
    encrypted_bytes: int = 0
    """TLS records on sockets."""
    captured_tls_bytes: int = 0
    """Plaintext that TLS probes captured."""
    attached_libraries: int = 0
    unattached_libraries: list[str] = []
    """TLS libraries found and not attached, with the reason: "/usr/lib/libgnutls.so.30 (gnutls is not hooked)"."""
    blind_processes: list[str] = []
    """Processes with encrypted bytes and no probe: "caddy (1234)"."""
    late_flows: int = 0
    """Flows joined in the middle of which no message start was seen yet."""
    not_http_flows: int = 0
    """Flows whose bytes are no HTTP."""
    open_requests: int = 0
    """Requests seen whose response is still awaited."""
    suppressed_flows: int = 0
    """Flows left out because of capture.never_*."""
    lost: dict[str, int] = {}
    """Cause: events or bytes lost."""
    dead_parts: list[str] = []
    """Names of parts that are not running just now."""
    starting_parts: list[str] = []
    """Names of parts that were not started yet: the loader is at work."""


def quiet_note(facts: QuietFacts) -> list[str]:
    """What is seen, and what may be the reason; at most a handful of lines, the likeliest first."""
    lines = [_seen(facts)]
    if facts.dead_parts:
        lines.append(f"not running just now: {', '.join(facts.dead_parts)}; see `apisensor status`")
    if facts.starting_parts:
        lines.append(f"still starting: {', '.join(facts.starting_parts)}; until it says ready nothing is seen")
    if facts.lost and sum(facts.lost.values()):
        causes = ", ".join(f"{cause} {count:,}" for cause, count in sorted(facts.lost.items()) if count)
        lines.append(f"events were lost ({causes}): a larger capture.ring_bytes helps against ring_full")
    if facts.blind_processes:
        named = ", ".join(facts.blind_processes[:SAID_PROCESSES])
        more = len(facts.blind_processes) - SAID_PROCESSES
        others = f" and {more} more" if more > 0 else ""
        lines.append(f"their HTTPS cannot be seen, no library that is hooked: {named}{others}; see `apisensor status`")
    if facts.unattached_libraries:
        lines.append(f"not attached: {'; '.join(facts.unattached_libraries[:SAID_PROCESSES])}")
    if _no_call_seen(facts):
        lines.append("encrypted traffic passes, but no call of an attached library: its process may use another copy")
    if facts.open_requests:
        lines.append(f"{facts.open_requests:,} requests await their responses (long polls, streams?)")
    if facts.late_flows:
        lines.append(f"{facts.late_flows:,} connections are older than the sensor: seen from their next request on")
    if facts.not_http_flows:
        lines.append(f"{facts.not_http_flows:,} connections carry something else than HTTP")
    if facts.suppressed_flows:
        lines.append(f"{facts.suppressed_flows:,} connections are left out by capture.never_* (`apisensor settings`)")
    if len(lines) == 1:
        lines.append(_idle(facts))
    return lines


def _no_call_seen(facts: QuietFacts) -> bool:
    explained = facts.captured_tls_bytes or facts.blind_processes
    return bool(facts.encrypted_bytes and facts.attached_libraries and not explained)


def _seen(facts: QuietFacts) -> str:
    libraries = f"{facts.attached_libraries} TLS {'library' if facts.attached_libraries == 1 else 'libraries'} attached"
    return (
        f"no HTTP call seen for {facts.seconds:.0f} s: {facts.connections:,} connections, "
        f"{facts.plaintext_bytes:,} bytes plain, {facts.encrypted_bytes:,} bytes encrypted, {libraries}"
    )


def _idle(facts: QuietFacts) -> str:
    if not facts.connections:
        return "no process of this node sent or received anything; try `curl http://example.com/`"
    return "what passes is no finished HTTP call yet"
