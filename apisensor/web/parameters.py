"""Query strings as checked structs: what is unknown, repeated, empty or out of bounds is refused, with a reason."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from apisensor.store.model import LARGEST_PAGE
from apisensor.store.reader import LONGEST_OVERVIEW_H
from apisensor.web.errors import ApiError

T = TypeVar("T", bound=msgspec.Struct)

MAX_TEXT = 512
"""Characters of one parameter: it is compared with every row."""
MAX_UNIX = 1 << 40
"""Unix time, seconds: far beyond any."""

BOUNDS: dict[str, tuple[int, int]] = {
    "limit": (1, LARGEST_PAGE),
    "hours": (1, LONGEST_OVERVIEW_H),
    "since": (0, MAX_UNIX),
    "until": (0, MAX_UNIX),
    "step": (1, 31 * 86_400),
}
"""Integer parameters: least and largest value."""


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class OverviewParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    hours: int = 24
    """How far back."""


class TrafficParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    since: int | None = None
    """Unix time, seconds; else a day before `until`."""
    until: int | None = None
    """Unix time, seconds; else now."""
    step: int | None = None
    """Seconds of one point; else what gives about 100 points."""


def parse(kind: type[T], items: Iterable[tuple[str, str]]) -> T:
    """The parameters as `kind`.

    Raises:
        ApiError: one is unknown, given twice, empty, too long, of the wrong type or out of its bounds.
    """
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    given: dict[str, Any] = {}
    for name, value in items:
        if name not in fields:
            allowed = f"allowed are {', '.join(fields)}" if fields else "there are none here"
            raise ApiError("bad_request", f"no parameter {name[:40]!r}: {allowed}")
        if not value:
            raise ApiError("bad_request", f"{name}: may not be empty; leave it out")
        if len(value) > MAX_TEXT:
            raise ApiError("bad_request", f"{name}: longer than {MAX_TEXT} characters")
        if is_list(fields[name].type):
            given.setdefault(name, []).append(value)
        elif name in given:
            raise ApiError("bad_request", f"{name}: given twice")
        else:
            given[name] = value
    try:
        result = msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ApiError("bad_request", _why(error, given)) from None
    for name, (least, largest) in BOUNDS.items():
        number = getattr(result, name, None)
        if number is not None and not least <= number <= largest:
            raise ApiError("bad_request", f"{name}: allowed is {least:,} to {largest:,}")
    return result


def _why(error: msgspec.ValidationError, given: dict[str, Any]) -> str:
    """ "Expected `int`, got `str` - at `$.limit`" as "limit: Expected `int`, got `str`"."""
    what, _, where = str(error).partition(" - at `$.")
    name = where.rstrip("`").partition("[")[0]
    return f"{name}: {what}" if name in given else str(error)


def is_list(kind: Any) -> bool:
    return isinstance(inspect.type_info(kind), inspect.ListType)
