"""What all export tests share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Receivers are on loopback; a proxy that the machine is configured with has no way there."""
    for name in list(os.environ):
        if name.lower() in {"http_proxy", "https_proxy", "all_proxy", "grpc_proxy"}:
            monkeypatch.delenv(name)
