from __future__ import annotations

import socket

import pytest

from apisensor.sections import Settings, Web
from apisensor.web.listening import ListenError, authority, listen, place


def settings(**changes: object) -> Settings:
    return Settings(web=Web(**{"port": 0, **changes}))  # type: ignore[arg-type]


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "::1"])
def test_it_listens_there_alone(address: str) -> None:
    with listen(settings(address=address)) as listening:
        assert not listening.get_inheritable()
        with socket.create_connection(place(listening), 5):
            pass
        assert place(listening)[0] in ("127.0.0.1", "::1")


def test_a_port_that_is_taken() -> None:
    with listen(settings()) as first:
        port = place(first)[1]
        with pytest.raises(ListenError, match=rf"port {port} is taken: .*set web\.port") as caught:
            listen(settings(port=port))
    assert "\n" not in str(caught.value)
    with listen(settings(port=port)) as again:
        assert place(again)[1] == port


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("192.0.2.1", "no interface of this machine has that address: set web.address"),
        ("no.such.host.invalid", "no address of that name is known"),
        ("a" * 300, "no address of that name is known"),
    ],
)
def test_addresses_that_are_none_of_ours(address: str, said: str) -> None:
    with pytest.raises(ListenError, match=said):
        listen(settings(address=address))


def test_authority() -> None:
    assert authority("127.0.0.1", 80) == "127.0.0.1:80"
    assert authority("::1", 80) == "[::1]:80"
