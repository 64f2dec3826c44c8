"""What reading a packet capture counts, by name. docs/recording.md lists the same."""

from __future__ import annotations

LOSSES = {
    "segments_missing_bytes": "bytes that were sent and not captured",
    "snap_length_bytes": "bytes that the capture's snapshot length cut off",
    "packets_dropped_by_capture": "packets that the capturing program says it lost (pcapng statistics)",
    "connections_evicted": "connections given up because the table was full",
    "gaps_flow_buffer_limit": "times that too much waited for a missing segment of one connection",
    "gaps_total_buffer_limit": "times that too much waited for missing segments in all",
    "bytes_after_close": "bytes captured after their connection was over",
    "fragments_incomplete": "IP fragments whose packet was not all there within 30 s, or when the capture ended",
    "fragments_evicted": "IP fragments given up because too many waited for the rest of their packet",
    "fragments_cut": "IP fragments that the capture's snapshot length cut, which cost their packet",
}
"""Something of the traffic is missing: a transaction may be incomplete for it."""

NOTES = {
    "retransmitted_bytes": "bytes captured more than once",
    "retransmissions_that_differ": "segments whose bytes differ from those sent before for the same place",
    "connections_joined_late": "connections whose handshake was not captured, or not all of it",
    "resets_out_of_window": "RST segments ignored because their sequence number is not the connection's",
    "fragments_repeated": "IP fragments captured more than once",
    "fragments_that_differ": "repeated IP fragments with other bytes than were captured first, which count",
    "fragments_overlapping": "IP fragments that overlap partly; their packet is discarded, as Linux does",
    "fragments_malformed": "IP fragments that no packet can have: empty, beyond 64 KiB, not of a multiple of 8 bytes",
    "packets_without_time": "packets that took the time of the packet before (pcapng: simple blocks, impossible times)",
}
"""Worth knowing; nothing is missing for it."""
