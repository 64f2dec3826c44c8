"""What the analysis counts. A worker keeps the sequence in shared memory, so that what a killed worker had counted is
still known; the names, in lower case, become metrics.

After a worker died, REQUESTS_BEGUN minus what was delivered is exactly what was lost with it.
"""

from __future__ import annotations

import enum


class Count(enum.IntEnum):
    """Index into the counters. All only ever rise."""

    REQUESTS_BEGUN = 0
    """Requests whose first byte (HTTP/2: first HEADERS frame) was seen; each becomes exactly one exchange. What begins
    like an HTTP/1 request after a late join or a loss counts once its head is complete, for it may be none."""
    EXCHANGES_EMITTED = 1
    """Exchanges handed on."""
    EXCHANGES_INCOMPLETE = 2
    """Of those, how many have an incomplete_reason."""
    ORPHAN_RESPONSES = 3
    """Responses whose request passed before the sensor looked, or was lost. No exchange is invented for them."""

    FLOWS_BEGUN = 4
    """Flows seen for the first time."""
    FLOWS_HTTP1 = 5
    """Flows, and insides of tunnels, that turned out to be HTTP/1."""
    FLOWS_HTTP2 = 6
    """Flows, and insides of tunnels, that turned out to be HTTP/2, or switched to it."""
    FLOWS_NOT_HTTP = 7
    """Flows given up because nothing in a bounded look was HTTP."""
    FLOWS_CIPHERTEXT = 8
    """Flows given up because they carry TLS records: the plaintext is elsewhere, or nowhere to be seen."""
    FLOWS_SWITCHED = 9
    """Flows given up because they became a protocol that is not read (Upgrade)."""
    FLOWS_REJECTED = 10
    """Flows given up after max_rejects messages that a parser refused, or max_mistakes that never were any."""
    FLOWS_FAILED = 11
    """Flows given up because a parser failed: an error in the sensor."""
    FLOWS_EVICTED = 12
    """Flows dropped because max_flows were open; unfinished exchanges were emitted."""
    FLOWS_IDLE = 13
    """Flows whose unfinished exchanges were given up after idle_ns."""
    FLOWS_JOINED_LATE = 14
    """Flows of which the first thing seen was not the beginning of a request."""

    NOT_HTTP_BYTES = 15
    """Payload of flows that are not, or no longer, HTTP."""
    UNREAD_BYTES = 16
    """Payload of HTTP flows passed over while looking for the next message (late join, after a loss)."""
    REPEATED_BYTES = 17
    """Payload that came twice and was dropped."""

    PARSE_ERRORS = 18
    """Messages or frames that a parser refused."""
    HPACK_ERRORS = 19
    """Header blocks that could not be decoded."""
    LIMIT_HITS = 20
    """Messages, streams or requests given up because of a limit; the anomaly of the exchange names it."""
    HELD_OVER = 21
    """Exchanges emitted as unbound because max_held waited already."""
    UNBOUND = 22
    """Exchanges emitted without a peer."""

    GAPS_OF_UNKNOWN_LENGTH = 23
    """Losses of which nobody knows how many bytes they were."""
    # One for each events.model.Cause, in its order: BYTES_LOST_UNKNOWN + cause.
    BYTES_LOST_UNKNOWN = 24
    """Bytes missing without a word."""
    BYTES_LOST_RING_FULL = 25
    """Bytes for which the ring buffer had no room."""
    BYTES_LOST_COPY_FAULT = 26
    """Bytes the kernel could not read."""
    BYTES_LOST_CALL_LIMIT = 27
    """Bytes of a call beyond capture.call_limit."""
    BYTES_LOST_NOT_IN_USER_MEMORY = 28
    """Bytes sent by sendfile, splice and the like."""
    BYTES_LOST_SKIPPED = 29
    """Bytes that the analysis declined: no loss."""
    BYTES_LOST_DETACHED = 30
    """Bytes that passed while probes were off."""
    BYTES_LOST_SEGMENT_MISSING = 31
    """Bytes of segments that a packet capture lacks."""
    BYTES_LOST_MAP_FULL = 32
    """Bytes of calls that a kernel map had no room for."""
    BYTES_LOST_UNSEEN_PATH = 33
    """Bytes that passed by a path that the back end does not see."""

    FLOWS_WEBSOCKET = 34
    """HTTP/1 flows that became a WebSocket."""
    TUNNELS = 35
    """Flows that became a tunnel (CONNECT); what it carries is looked at like a new flow."""
    FLOWS_OVER_MEMORY = 36
    """Flows dropped because all together held more than total_bytes, the largest first; unfinished exchanges were
    emitted."""

    FLOWS_SHED = 37
    """Flows given up for the governor."""
    SHED_BYTES = 38
    """Payload of theirs that was copied already."""
    SHED_BODIES = 39
    """Bodies that were counted and not kept, for the governor."""

    # Transactions that a limit kept something from, by the limit: those that the anomaly of the same name says.
    LIMIT_HEADER_BYTES = 40
    LIMIT_HEADER_COUNT = 41
    LIMIT_FLOW_BUFFER = 42
    LIMIT_PIPELINE = 43
    LIMIT_STREAMS = 44
    LIMIT_INFLATE = 45
    LIMIT_CODING_SIZE = 46
    LIMIT_CODING_RATIO = 47
    LIMIT_CODING_COUNT = 48
