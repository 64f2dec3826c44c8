"""The words for TLS that is not seen."""

from __future__ import annotations

import io

import pytest

from apisensor.capture.blind import BUILT_IN, by_hint, by_name
from apisensor.finder.hints import HINTS
from apisensor.finder.symbols import find_hints


def test_every_hint_has_its_words() -> None:
    assert set(HINTS.values()) == set(BUILT_IN)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/usr/lib/jvm/java-17-openjdk-amd64/lib/server/libjvm.so", "Java (JSSE): its code is made while it runs"),
        ("/usr/lib/firefox/libssl3.so", "NSS: its functions are not hooked"),
    ],
)
def test_by_the_name_of_a_file(path: str, said: str) -> None:
    assert (by_name(["/bin/x", path]) or "").startswith(said)
    assert by_name(["/bin/x", "/usr/lib/libssl.so.3"]) is None


@pytest.mark.parametrize("before", [0, (1 << 20) - 5, 3 << 20])
def test_by_a_text_in_a_file(before: int) -> None:
    """Also where the text lies across two blocks of reading."""
    path = b"/registry/src/index-1949/rustls-0.23.37/src/conn.rs"
    hint = find_hints(io.BytesIO(bytes(before) + path + bytes(100))).hint
    assert hint == "rustls"
    assert by_hint(hint, "/usr/bin/uv").startswith("rustls in /usr/bin/uv: ")
    assert find_hints(io.BytesIO(bytes(before + 100))).hint is None
