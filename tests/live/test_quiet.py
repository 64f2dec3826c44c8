from __future__ import annotations

from typing import Any

import pytest

from apisensor.live.quiet import QuietFacts, quiet_note


def test_nothing_happens_on_the_node() -> None:
    assert quiet_note(QuietFacts(seconds=10)) == [
        "no HTTP call seen for 10 s: 0 connections, 0 bytes plain, 0 bytes encrypted, 0 TLS libraries attached",
        "no process of this node sent or received anything; try `curl http://example.com/`",
    ]


@pytest.mark.parametrize(
    ("facts", "said", "not_said"),
    [
        ({"blind_processes": ["caddy (12)"]}, "no library that is hooked: caddy (12); see", "more"),
        ({"blind_processes": [f"p{i} (1)" for i in range(5)]}, "p2 (1) and 2 more", "p3"),
        ({"unattached_libraries": ["/lib/libgnutls.so.30 (not hooked)"]}, "not attached: /lib/libgnutls.so.30", "own"),
        ({"encrypted_bytes": 5, "attached_libraries": 1}, "but no call of an attached library", "blind"),
        (
            {"encrypted_bytes": 5, "attached_libraries": 1, "captured_tls_bytes": 9},
            "no finished HTTP call",
            "but no call",
        ),
        ({"open_requests": 3}, "3 requests await their responses", "finished"),
        ({"late_flows": 2}, "2 connections are older than the sensor", "finished"),
        ({"not_http_flows": 7}, "7 connections carry something else than HTTP", "finished"),
        ({"suppressed_flows": 1}, "capture.never_*", "finished"),
        ({"lost": {"ring_full": 1200, "copy_fault": 0}}, "ring_full 1,200", "copy_fault"),
        ({"lost": {"ring_full": 0}}, "no finished", "lost"),
        ({"dead_parts": ["worker-0"]}, "not running just now: worker-0", "finished"),
        ({"starting_parts": ["worker-0", "capture"]}, "still starting: worker-0, capture; until", "not running"),
    ],
)
def test_each_reason_is_said(facts: dict[str, Any], said: str, not_said: str) -> None:
    lines = quiet_note(QuietFacts(seconds=12.4, connections=3, plaintext_bytes=1000, **facts))
    text = "\n".join(lines)
    assert said in text
    assert not_said not in text
    assert all(len(line) < 240 for line in lines)
