"""Values that give themselves away by their form, and values that a name beside them gives away.

`JOINED` answers in one pass whether a text may hold anything at all; nearly every text of ordinary traffic stops
there. Only what it names is then located (`locate`). Matching is RE2's, linear in the text whatever a peer sends.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Iterator
from typing import Final

from apisensor.content import cards, encodings, names, values
from apisensor.content.matching import compiled, joined
from apisensor.content.model import KINDS, UNCOUNTED, Span, Spans

_EDGE: Final = r"(?:\b|_)"
"""Where a shape may begin: RE2 takes an underscore for a letter, people take it for a separator."""
_UNDERSCORE: Final = 0x5F

API_KEY_FORMATS: Final = (
    r"A(?:KIA|SIA|GPA|IDA|ROA)[A-Z0-9]{12,}",  # AWS identifiers
    r"gh[pousr]_[A-Za-z0-9]{16,}",  # GitHub
    r"github_pat_[A-Za-z0-9_]{20,}",
    r"glpat-[A-Za-z0-9_-]{16,}",  # GitLab
    r"[srp]k_(?:live|test)_[A-Za-z0-9]{8,}",  # Stripe
    r"whsec_[A-Za-z0-9+/=]{16,}",
    r"xox[a-z](?:\.xox[a-z])?-[A-Za-z0-9-]{8,}",  # Slack
    r"xapp-[A-Za-z0-9-]{16,}",
    r"AIza[A-Za-z0-9_-]{30,}",  # Google
    r"ya29\.[A-Za-z0-9_-]{16,}",
    r"GOCSPX-[A-Za-z0-9_-]{16,}",
    r"npm_[A-Za-z0-9]{20,}",
    r"pypi-[A-Za-z0-9_-]{32,}",
    r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",  # SendGrid
    r"sk-(?:ant-|proj-|svcacct-|or-)?[A-Za-z0-9_-]{20,}",  # OpenAI, Anthropic, OpenRouter
    r"hf_[A-Za-z0-9]{20,}",  # Hugging Face
    r"gsk_[A-Za-z0-9]{20,}",
    r"nvapi-[A-Za-z0-9_-]{20,}",
    r"do[opr]_v1_[a-f0-9]{32,}",  # DigitalOcean
    r"shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{16,}",  # Shopify
    r"dckr_[a-z]+_[A-Za-z0-9_-]{16,}",  # Docker
    r"hv[sbr]\.[A-Za-z0-9_-]{16,}",  # Vault
    r"gl(?:sa|c)_[A-Za-z0-9_+/=]{20,}",  # Grafana
    r"sq0[a-z]{3}-[A-Za-z0-9_-]{16,}",  # Square
    r"lin_api_[A-Za-z0-9]{16,}",
    r"PMAK-[A-Za-z0-9-]{20,}",  # Postman
    r"figd_[A-Za-z0-9_-]{16,}",  # Figma
    r"SK[a-f0-9]{32}",  # Twilio
    r"key-[a-f0-9]{32}",  # Mailgun
    r"AGE-SECRET-KEY-1[A-Z0-9]{20,}",
    r"[0-9]{8,10}:AA[A-Za-z0-9_-]{30,}",  # Telegram
    r"T[A-Z0-9]{7,}/B[A-Z0-9]{7,}/[A-Za-z0-9]{16,}",  # Slack web hooks
    r"webhooks/[0-9]{16,}/[A-Za-z0-9_-]{32,}",  # Discord web hooks
)
"""Keys in formats that their providers made recognizable, without their edges."""

_PATTERNS: Final[dict[str, str]] = {
    "credit_card": cards.CANDIDATE,
    "email": r"[A-Za-z0-9._+~\x80-\xff-]+@(?:[A-Za-z0-9\x80-\xff-]+\.)+[A-Za-z\x80-\xff]{2,}",
    "jwt": rf"{_EDGE}eyJ[A-Za-z0-9_-]{{4,}}(?:\.[A-Za-z0-9_-]*){{1,4}}",
    "api_key": rf"{_EDGE}(?:{'|'.join(API_KEY_FORMATS)})",
    "private_key": r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY",
    # RFC 3986 section 3.2.1; up to the last @, as a URL parser would take a password that was not encoded.
    "user_info": r"//[^/?#\s\"'<>]+@",
    "named": names.KEY_AND_SEPARATOR,
    "path_secret": (
        r"(?i:/[A-Za-z0-9_.-]*(?:token|secret|passw|api[-_.]?key|session|reset|verif|confirm|activat|invit|magic)"
        r"[A-Za-z0-9_.-]*/[A-Za-z0-9_.~+=-]{16,})"
    ),
    "form_part": names.PART,
    "base64": encodings.BASE64_TEXT,
    # What makes a call of a JSON object (json_calls); looked for here because another pattern in the scan is free.
    "call": r"\"(?:query|jsonrpc|persistedQuery)\"",
}
HEAD_SHAPES: Final = tuple(shape for shape in _PATTERNS if shape not in ("form_part", "call"))
FORM_SHAPES: Final = ("credit_card", "email", "jwt", "api_key", "private_key", "named", "form_part")
"""For bodies whose names mean something: forms, JSON, plain text."""
JSON_SHAPES: Final = (*FORM_SHAPES, "call")
MARKUP_SHAPES: Final = ("credit_card", "email", "jwt", "api_key", "private_key")
"""For bodies where `token = ` is program text: HTML, scripts, style sheets."""

SHORTEST: Final = 6
"""Nothing shorter than a@b.co has a shape."""

PATH_SECRET_DIGITS: Final = 3
"""A path segment after /reset/ or /token/ that has fewer digits is a word: /token/introspect-refresh."""

_RANK: Final = {
    kind: rank for rank, kind in enumerate([*(kind for kind in KINDS if kind != "email"), UNCOUNTED, "email"])
}
"""Which kind a text has that has several. An address never wins: it would be masked, which shows its host, and what it
overlaps must be hidden."""

_FILE_ENDS: Final = frozenset(b"png jpg jpeg gif webp avif svg ico js mjs css map json".split())
"""icon@2x.png is no address."""


class Zone(enum.Enum):
    """What a text is, which decides where the value after `name=` ends."""

    TARGET = enum.auto()
    """A request target: path parameters end at ; or /, the query's at &. The fragment starts at #."""
    FIELD = enum.auto()
    """A field value, perhaps with a URL in it. Rather too much than too little."""
    BODY = enum.auto()
    """A form, JSON, or text."""


Locator = Callable[[bytes, Zone], Iterator[Span]]

_REGEX: Final = {shape: compiled(pattern) for shape, pattern in _PATTERNS.items()}
_PART: Final = compiled(names.PART_AND_VALUE)
_USER_AND_PASSWORD: Final = compiled(r"^([A-Za-z0-9._@+-]{1,64}):(.{3,})")
_ID: Final = compiled(r"^(?:[0-9]{1,20}|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|//.*)$")
"""What follows the colon of a Relay global id ("User:42") or of a URL, and is no password."""


def _plain(shape: str) -> Locator:
    finditer = _REGEX[shape].finditer

    def locate(view: bytes, _zone: Zone) -> Iterator[Span]:
        for match in finditer(view):
            start, end = match.span()
            yield start + (view[start] == _UNDERSCORE), end, shape

    return locate


def _cards(view: bytes, _zone: Zone) -> Iterator[Span]:
    for match in _REGEX["credit_card"].finditer(view):
        yield from cards.cards_within(view, *match.span())


def _emails(view: bytes, _zone: Zone) -> Iterator[Span]:
    for match in _REGEX["email"].finditer(view):
        start, end = match.span()
        if view[view.rindex(b".", start, end) + 1 : end].lower() not in _FILE_ENDS:
            yield start, end, "email"


def _private_keys(view: bytes, _zone: Zone) -> Iterator[Span]:
    """The whole block; to the end of the text where its end is missing."""
    done = 0
    for match in _REGEX["private_key"].finditer(view):
        if match.start() < done:
            continue
        end = view.find(b"-----END", match.end())
        last = view.find(b"-----", end + 8) if end >= 0 else -1
        done = len(view) if last < 0 else last + 5
        yield match.start(), done, "private_key"


def _user_info(view: bytes, _zone: Zone) -> Iterator[Span]:
    for match in _REGEX["user_info"].finditer(view):
        start, end = match.start() + 2, match.end() - 1
        if start < end:
            yield start, end, "password" if b":" in view[start:end] else UNCOUNTED


def _named(view: bytes, zone: Zone) -> Iterator[Span]:
    done = 0
    for match in _REGEX["named"].finditer(view):
        if match.start() < done:  # inside the value found last; looking again would cost the square of a hostile text
            continue
        kind = names.kind_of_key(match.group(1))
        if kind is None or (zone is Zone.BODY and kind == UNCOUNTED):
            continue
        start, end = values.extent(view, match.start(1), match.end(), zone is Zone.TARGET, zone is Zone.FIELD)
        if start < end:
            done = end
            yield start, end, kind


def _form_parts(view: bytes, _zone: Zone) -> Iterator[Span]:
    for match in _PART.finditer(view):
        kind = names.kind_of_key(match.group(1))
        if kind:
            yield (*match.span(2), kind)


def _path_secrets(view: bytes, _zone: Zone) -> Iterator[Span]:
    for match in _REGEX["path_secret"].finditer(view):
        start = view.rindex(b"/", match.start(), match.end()) + 1
        segment = view[start : match.end()]
        if sum(0x30 <= byte <= 0x39 for byte in segment) >= PATH_SECRET_DIGITS and not segment.isdigit():
            yield start, match.end(), "token"


def _base64(view: bytes, _zone: Zone) -> Iterator[Span]:
    for start, end, text in encodings.base64_texts(view):
        match = _USER_AND_PASSWORD.search(text)
        if match is not None and _ID.search(match.group(2)) is None:
            yield start, end, "password"
        else:
            inner = FORM.locate(text, Zone.BODY)
            if inner:
                yield start, end, min((kind for _, _, kind in inner), key=_RANK.__getitem__)


def _calls(_view: bytes, _zone: Zone) -> Iterator[Span]:
    """Nothing in it is sensitive."""
    return iter(())


_LOCATORS: Final[dict[str, Locator]] = {
    "call": _calls,
    "credit_card": _cards,
    "email": _emails,
    "jwt": _plain("jwt"),
    "api_key": _plain("api_key"),
    "private_key": _private_keys,
    "user_info": _user_info,
    "named": _named,
    "path_secret": _path_secrets,
    "form_part": _form_parts,
    "base64": _base64,
}


class Scan:
    """The shapes that matter for one sort of text, joined for the first look."""

    def __init__(self, shapes: tuple[str, ...]) -> None:
        self._match = joined([_PATTERNS[shape] for shape in shapes])
        self._locators = [_LOCATORS[shape] for shape in shapes]
        self._call = shapes.index("call") if "call" in shapes else -1

    def may_match(self, text: bytes) -> bool:
        """False: the text, as it stands, holds nothing. Percent-encoding is not looked through."""
        return self._match(text) is not None

    def locate(self, view: bytes, zone: Zone, limit: int | None = None) -> Spans:
        """What the text, as it stands, holds; spans may overlap. Each shape stops after `limit` finds."""
        hits = self._match(view)
        return [] if hits is None else self._located(view, zone, limit, hits)

    def look(self, view: bytes, limit: int) -> tuple[Spans, bool] | None:
        """The same of a body, and whether it may hold calls; None: it holds neither."""
        hits = self._match(view)
        return None if hits is None else (self._located(view, Zone.BODY, limit, hits), self._call in hits)

    def _located(self, view: bytes, zone: Zone, limit: int | None, hits: list[int]) -> Spans:
        found: Spans = []
        for hit in hits:
            found.extend(itertools.islice(self._locators[hit](view, zone), limit))
        return found if len(found) < 2 else _without_hosts(view, found)

    def find(self, text: bytes, zone: Zone) -> Spans:
        """What the text holds, looking through percent-encoding: in order, not overlapping."""
        if len(text) < SHORTEST:
            return []
        found: Spans = []
        for view, positions in encodings.views(text):
            found += encodings.moved(self.locate(view, zone), positions)
        return merged(found)


def _without_hosts(view: bytes, found: Spans) -> Spans:
    """Drops the "address" pass@host.example that user:pass@host.example seems to hold: user information covers it."""
    ends = {end for _, end, kind in found if kind != "email" and view[end : end + 1] == b"@"}
    if not ends:
        return found
    return [span for span in found if span[2] != "email" or view.rindex(b"@", span[0], span[1]) not in ends]


def merged(found: Spans) -> Spans:
    """Overlapping spans become one, of the most telling kind."""
    if len(found) < 2:
        return found
    found.sort()
    result = [found[0]]
    for start, end, kind in found[1:]:
        last_start, last_end, last_kind = result[-1]
        if start < last_end:
            result[-1] = (last_start, max(last_end, end), min(kind, last_kind, key=_RANK.__getitem__))
        else:
            result.append((start, end, kind))
    return result


FORM: Final = Scan(FORM_SHAPES)
JSON: Final = Scan(JSON_SHAPES)
MARKUP: Final = Scan(MARKUP_SHAPES)
HEAD: Final = Scan(HEAD_SHAPES)
