"""An endpoint as the inventory has it in memory, and how its id is made."""

from __future__ import annotations

from hashlib import blake2b

from apisensor.inventory.gathered import Gathered
from apisensor.inventory.model import EndpointKey


def endpoint_id(key: EndpointKey) -> str:
    """16 hexadecimal digits that follow from the key: the same after a restart and on every node."""
    text = "\0".join((key.side, key.owner, key.method, key.route))
    return blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()


class Endpoint:
    """One endpoint: who it is, and what is new of it."""

    __slots__ = ("former", "id", "key", "news")

    def __init__(self, id: str, key: EndpointKey) -> None:
        self.id = id
        self.key = key
        self.news: Gathered | None = None
        """Of the calls since the last flush; None: there were none."""
        self.former: list[Endpoint] = []
        """Endpoints that became part of this one and are not yet accounted for."""

    def absorb(self, other: Endpoint) -> None:
        """Makes the other part of this one."""
        self.former += [other, *other.former]
        other.former = []

    def rename(self, key: EndpointKey) -> list[str]:
        """Takes a new key. Returns the ids under which it, or a part of it, was known till now."""
        old = [self.id, *(part.id for part in self.former)]
        self.key, self.id, self.former = key, endpoint_id(key), []
        return [id for id in old if id != self.id]
