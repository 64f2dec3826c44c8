"""Bounds of offline work, each with its reason. Whatever a bound costs is counted under its name."""

from __future__ import annotations

import msgspec

MAX_PACKET = 16 << 20
"""Bytes of one captured packet or block of packets. libpcap's default snapshot length is 256 KiB; more than this is a
corrupt length field, and believing it would read the rest of the file into memory."""

MAX_RECORD = 16 << 20
"""Bytes of one record of a recording; a greater length is corruption."""


class ReplayLimits(msgspec.Struct, frozen=True):
    """Bounds on the reassembly of packet captures."""

    connections: int = 65_536
    """TCP connections in the table, closed ones included until they are forgotten. Beyond it the one that was quiet for
    longest is closed and counted (`connections_evicted`)."""

    flow_bytes: int = 4 << 20
    """Bytes of a connection waiting for a missing segment, 200 for each piece included. Receive windows rarely reach it
    (Linux grows them to 6 MB at most); beyond it the missing segment is given up (`gaps_flow_buffer_limit`)."""

    total_bytes: int = 256 << 20
    """The same over all connections: what a replay may need in memory besides the parsers
    (`gaps_total_buffer_limit`)."""

    reorder_packets: int = 64
    """Packets of the connection after which bytes that the receiver acknowledged, but that were not captured, are given
    up. Capture order differs from wire order by a few packets (several queues, several interfaces, merged files)."""

    reorder_ns: int = 200_000_000
    """The same in capture time: an acknowledgement comes after its segment, so only the capture can be late with it."""

    idle_ns: int = 7_500_000_000_000
    """Capture time without a packet after which a connection is closed: just above Linux's tcp_keepalive_time, 2 h."""

    fragment_bytes: int = 4 << 20
    """Bytes of memory that IP fragments take while the rest of their packet is waited for: Linux's ipfrag_high_thresh.
    Beyond it the oldest packet's are given up (`fragments_evicted`)."""

    fragment_ns: int = 30_000_000_000
    """Capture time that fragments wait: Linux's ipfrag_time. Identifications are used again, IPv4's often
    (`fragments_incomplete`)."""
