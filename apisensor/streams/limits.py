"""The limits of the analysis, each with its reason. Whatever exceeds one is counted (`transactions.counts`)."""

from __future__ import annotations

import msgspec

from apisensor.sections import Worker

_KIB = 1024
_MIB = 1024 * _KIB
_SECOND = 1_000_000_000


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one analyzer may hold. Sizes in bytes, times in ns of event time."""

    max_flows: int = 20_000
    """Flows followed at once. Memory: some 1 KiB each, 5 KiB while in use, more while a message is under way. The one
    idle for longest makes room; what was open on it is emitted as incomplete. As many flows again are remembered as not
    HTTP."""

    idle_ns: int = 300 * _SECOND
    """A flow without events for so long has its unfinished exchanges given up. Long polls take minutes; an exchange
    whose end was lost must not stay for ever. The flow's peer and its HPACK tables stay."""

    rest_ns: int = 2 * _SECOND
    """A flow without events for so long, between two exchanges, is kept as what must be known of it, a fifth of its
    memory. Busy connections are never idle for so long, and going on costs some ten microseconds."""

    bind_wait_ns: int = 3 * _SECOND
    """How long a finished exchange of an unbound flow waits for its peer. Binding takes microseconds; finding out that
    a process needs more probes for it takes longer on a busy node."""

    max_held: int = 10_000
    """Finished exchanges that wait for their peer, in all flows. Beyond it the oldest is emitted as unbound."""

    body_capture: int = 64 * _KIB
    """Bytes kept of each body; the rest is counted. Memory: one such buffer for each body under way."""

    flow_bytes: int = 8 * _MIB
    """Bytes of bodies kept at once in one flow: pipelined requests and concurrent streams multiply `body_capture`.
    Beyond it bodies are only counted ("flow-buffer-limit")."""

    total_bytes: int = 256 * _MIB
    """What all flows together may hold of messages under way: heads, bodies, tables, exchanges that wait for their
    peer. Ordinary traffic of thousands of connections holds a few MiB. Beyond it the largest flows are given up;
    it is looked at each time an eighth of it has passed."""

    header_bytes: int = 256 * _KIB
    """A message's head, or an HTTP/2 header list. Servers refuse 8 to 64 KiB; beyond is an attack or not HTTP."""

    header_count: int = 1_000
    """Field lines of one message. nginx, Node.js and Go stop well below; more are cut ("header-count-limit")."""

    start_line: int = 16 * _KIB
    """Bytes in which a start line must end while a parser looks for the first message, or for the next one after a
    loss. Servers refuse lines of 8 KiB. Once in step, only header_bytes bounds it."""

    max_pipelined: int = 2_000
    """HTTP/1 requests of one flow that wait for their response. Real clients send a handful, benchmarks hundreds."""

    max_early: int = 64
    """HTTP/1 responses of one flow that wait for their request: threads that report out of order are few."""

    early_ns: int = 100_000_000
    """How long before its request's first byte a response may be seen and still belong to it. Threads report out of
    order by microseconds, on a busy machine by one scheduling delay; more than that is a response to something else."""

    max_streams: int = 2_000
    """HTTP/2 streams open at once in one connection. Servers allow 100 to 1,000; beyond is an attack."""

    websocket_part_ns: int = 300 * _SECOND
    """A WebSocket that is open for so long is told as far as it has come, and goes on in another transaction: nobody
    should wait for days to learn of a connection."""

    hpack_table: int = 64 * _KIB
    """Dynamic table of one direction. RFC 7541 starts with 4 KiB and peers raise it to 64 KiB; what a larger one holds
    beyond is unknown, never wrong."""

    identify_calls: int = 4
    """Calls that each direction gets to show a message start before the flow is taken for something else than HTTP."""

    identify_chunks: int = 256
    """The same for a flow of which only one direction speaks: a late join may begin inside a large body."""

    max_rejects: int = 3
    """Messages of one flow that a parser may refuse; then the flow is given up."""

    max_mistakes: int = 1_000
    """Start lines of one flow, found while out of step, that turned out to begin no message: content that quotes HTTP
    has some in each call until the next message. A flow that has so many is not HTTP as it can be read here."""

    skip_beyond: int = 256 * _KIB
    """A body of known length with more than this to come, and whose captured part is full, is asked to be skipped by
    the kernel. Less is not worth the round trip: the bytes are in the ring already."""


def limits_of(worker: Worker) -> Limits:
    """The limits that the settings say."""
    return Limits(
        max_flows=worker.max_flows,
        idle_ns=worker.idle_seconds * _SECOND,
        bind_wait_ns=worker.bind_wait_ms * 1_000_000,
        body_capture=worker.body_capture,
        header_bytes=worker.header_limit,
        max_streams=worker.max_streams,
    )
