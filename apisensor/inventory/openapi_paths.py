"""Templates and owners in OpenAPI's terms: paths whose parameters have names of their own, addresses of servers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from apisensor.inventory.model import OTHER, Profile
from apisensor.inventory.owners import destination

MAX_SERVERS = 8
"""Servers of a document: the authorities that were called most."""
MIXED = "value"
"""Name of a parameter that several templates name differently."""

_PORTS = {"http": ":80", "https": ":443"}


def parts_of(route: str) -> list[str]:
    """Text, name of a parameter, text, name, ..., text."""
    parts, rest = [], route
    while "{" in rest and "}" in rest.partition("{")[2]:
        text, _, rest = rest.partition("{")
        name, _, rest = rest.partition("}")
        parts += [text, name]
    return [*parts, rest]


def shape_of_path(route: str) -> str:
    """The route without the names: what OpenAPI tells two paths apart by."""
    return "{}".join(parts_of(route)[::2])


def merged_names(routes: list[str]) -> list[str]:
    """Names of the parameters of routes of one shape, each once: id, id2, id3."""
    names: list[str] = []
    for places in zip(*(parts_of(route)[1::2] for route in routes), strict=True):
        name = places[0] if len(set(places)) == 1 else MIXED
        number, unique = 1, name
        while unique in names:
            number += 1
            unique = f"{name}{number}"
        names.append(unique)
    return names


def path_of(parts: list[str], names: list[str]) -> str:
    """The path with these names of parameters."""
    texts = parts[::2]
    return texts[0] + "".join(f"{{{name}}}{text}" for name, text in zip(names, texts[1:], strict=True))


def server_urls(side: str, owner: str, seen: Iterable[Profile]) -> list[str]:
    """Where the owner was called, most called first; a relative URL where no authority was seen.

    Args:
        seen: of each endpoint: one that was called over TLS alone says nothing of http at its hosts.
    """
    calls: Counter[str] = Counter()
    for profile in seen:
        hosts = {host: count for host, count in profile.hosts.items() if host != OTHER}
        if side == "client" or not hosts:
            hosts = {owner: profile.count} if ":" in owner else {}
        schemes = (["https"] if profile.encrypted else []) + (["http"] if profile.encrypted < profile.count else [])
        for host, count in hosts.items():
            for scheme in schemes:
                address = destination(host, scheme)
                if address is not None:
                    calls[f"{scheme}://{address.removesuffix(_PORTS[scheme])}"] += count
    ordered = sorted(calls, key=lambda url: (-calls[url], not url.startswith("https"), url))
    return ordered[:MAX_SERVERS] or ["/"]
