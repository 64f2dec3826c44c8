"""A path -> the segments of its template, by form alone.

    /Shops/17/orders;v=2/?page=3   ->   ("Shops", "{id}", "orders")

What a template does not tell: the query, path parameters (RFC 3986 section 3.3: what follows a semicolon), empty and
dot segments, a slash at the end, and how characters were percent-encoded. Case stays: paths are case-sensitive.
"""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote, unquote

from apisensor.inventory.shapes import LONGEST_LITERAL, LONGEST_SHAPED, is_opaque, shape_of
from apisensor.inventory.words import WORDS

MAX_SEGMENTS = 16
"""Segments of a template; what follows is {rest}. Kubernetes' longest path has eleven."""
REST = "{rest}"
TEXT = "{text}"
"""A segment too long for a word."""
BINARY = "{binary}"
"""A segment with control characters, or with bytes that are not UTF-8."""
LEARNT = "{value}"
"""A place in which too many different words were seen (`tree`)."""

SEGMENTS_KEPT = 8192
"""Segments whose template is remembered: the words of all APIs of the node, and the ids of the moment."""
LONGEST_RPC = 255
"""Characters of a gRPC route."""

_LITERAL = "!$&'()*+,=:@~"
"""RFC 3986's pchar beyond letters, digits and -._~. Braces are no part of it, so no path fakes a parameter."""
_LONGEST_EXTENSION = 5
_LONGEST_VERB = 32


def is_word(segment: str) -> bool:
    """Whether the segment of a template stays as it is for ever: well-known words, versions, verbs of a resource."""
    return segment.lower() in WORDS or _is_version(segment) or "}:" in segment


def is_parameter(segment: str) -> bool:
    """Whether all of the segment is a parameter."""
    return segment[:1] == "{" and segment[-1:] == "}"


def _is_version(segment: str) -> bool:
    """v1, v2.1, v1beta1. Two digits at most: versions are few."""
    if segment[:1] not in ("v", "V") or len(segment) > 9:
        return False
    rest = segment[1:].replace("alpha", ".").replace("beta", ".").split(".")
    return bool(rest[0]) and all(part.isascii() and (part.isdigit() or not part) and len(part) <= 2 for part in rest)


def bare(path: str) -> str:
    """The path without query and fragment."""
    return path.partition("?")[0].partition("#")[0] if "?" in path or "#" in path else path


def alike(path: str) -> str:
    """What bare paths of one template share, as far as integers go, which are what most parameters are: 0 stands for
    all of them. Itself where there are none."""
    if not path.isascii():  # other digits are no integers
        return path
    return "/".join(["0" if part.isdigit() else part for part in path.split("/")])


def segments(path: str) -> tuple[str, ...] | None:
    """Segments of the template of a bare path; () for the root, None for what is no path ("*", an authority)."""
    if path and path[0] != "/":
        return None
    kept: list[str] = []
    for raw in path.split("/"):
        text = raw.partition(";")[0]
        if "%" in text:
            text = unquote(text)
        if text in ("", "."):
            continue
        if text == "..":
            del kept[-1:]
        elif len(kept) <= MAX_SEGMENTS:
            kept.append(text if len(text) <= LONGEST_SHAPED else text[: LONGEST_SHAPED + 1])
    cut = len(kept) > MAX_SEGMENTS
    template = map(segment, kept[: MAX_SEGMENTS - 1] if cut else kept)
    return (*template, REST) if cut else tuple(template)


def template_segments(route: str) -> tuple[str, ...]:
    """Segments of a template, from its text."""
    return tuple(route.removeprefix("/").split("/")) if route != "/" else ()


@lru_cache(SEGMENTS_KEPT)
def segment(text: str) -> str:
    """The segment of a template for one decoded segment of a path."""
    if len(text) > LONGEST_SHAPED:
        return TEXT
    if not text.isprintable() or "\ufffd" in text:
        return BINARY
    shape = shape_of(text)
    if shape is not None:
        return f"{{{shape}}}"
    if text.isalnum() and text.isascii():
        return text if len(text) <= LONGEST_LITERAL else TEXT
    composed = _list(text) or _verb(text) or _key(text) or _file(text) or _dotted(text)
    template = composed or quote(text, safe=_LITERAL)
    return template if len(template) <= LONGEST_LITERAL else TEXT


def _list(text: str) -> str | None:
    """1,2,3 -> {id}: values of one shape."""
    if "," not in text:
        return None
    shapes = {shape_of(part) for part in text.split(",")}
    return f"{{{shape}}}" if len(shapes) == 1 and (shape := shapes.pop()) else None


def _verb(text: str) -> str | None:
    """17:cancel -> {id}:cancel (Google's custom methods, AIP-136)."""
    head, colon, verb = text.rpartition(":")
    if not colon or not verb.isalpha() or not verb.isascii() or len(verb) > _LONGEST_VERB:
        return None
    shape = shape_of(head)
    return f"{{{shape}}}:{verb}" if shape else None


def _key(text: str) -> str | None:
    """Orders(17) -> Orders({id}), Orders('a') -> Orders({key}) (OData URL conventions, section 4.3)."""
    name, bracket, key = text.partition("(")
    if not bracket or key[-1:] != ")" or len(key) < 2 or not name.isidentifier() or not name.isascii():
        return None
    return f"{name}({{{shape_of(key[:-1]) or 'key'}}})"


def _file(text: str) -> str | None:
    """app.3f9a1c.js -> app.{hash}.js, 17.json -> {id}.json, index-BkZ3xT1q.js -> index-{hash}.js."""
    *stem, extension = text.split(".")
    if not stem or not extension.isalnum() or not extension[0].isalpha() or len(extension) > _LONGEST_EXTENSION:
        return None
    whole = shape_of(".".join(stem))
    if whole is not None and whole != "key":
        return f"{{{whole}}}.{quote(extension)}"
    parts = [_hashed(part) for part in stem]
    return ".".join((*parts, quote(extension))) if "{hash}" in "".join(parts) else None


def _dotted(text: str) -> str | None:
    """header.payload.signature -> {token}"""
    return "{token}" if "." in text and "token" in map(shape_of, text.split(".")) else None


def _hashed(part: str) -> str:
    if is_opaque(part):
        return "{hash}"
    head, dash, tail = part.rpartition("-")
    return f"{quote(head, safe=_LITERAL)}-{{hash}}" if dash and is_opaque(tail) else quote(part, safe=_LITERAL)


def is_rpc(protocol: str, method: str | None, path: str) -> bool:
    """Whether the bare path is a route by itself, "/package.Service/Method".

    gRPC says so; Connect and gRPC-Web look like it: POST, a dotted package, names as protobuf's style guide has them.
    """
    service, slash, name = path[1:].partition("/")
    if not slash or not service or not name or "/" in name or path[0] != "/" or len(path) > LONGEST_RPC:
        return False
    if not service.replace(".", "").isidentifier() or not name.isidentifier() or not path.isascii():
        return False
    return protocol == "grpc" or (
        method == "POST" and service.rpartition(".")[2][:1].isupper() and "." in service and name[0].isupper()
    )
