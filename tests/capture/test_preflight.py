"""What is said where return probes would end sandboxed applications."""

from __future__ import annotations

import pytest

from apisensor.capture import preflight


@pytest.mark.parametrize(
    ("passes", "release", "hazard"),
    [
        (True, "6.12.0", False),  # tried: a distribution's kernel may have the fix under an old number
        (False, "6.12.20", True),
        (False, "5.10.0", True),
        (None, "6.12.13-amd64", True),
        (None, "6.12.14", False),
        (None, "6.1.0-18-amd64", False),
        (None, "unreadable", False),
    ],
)
def test_the_try_decides_and_else_the_version(
    passes: bool | None, release: str, hazard: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "passes_seccomp", lambda: passes)
    monkeypatch.setattr("platform.release", lambda: release)
    said = preflight.uretprobe_hazard()
    assert (said is not None) is hazard
    if said is not None:
        assert said.startswith(f"kernel {release}: return probes end applications under a seccomp filter")
        assert "take a fixed kernel" in said
        assert "\n" not in said
