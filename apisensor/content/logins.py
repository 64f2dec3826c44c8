"""Who logs in: the user field of a body that has a password beside it (JSON, form, multipart form).

Called only for bodies in which a password was found. What it reads is small and whole; anything else is no login.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from apisensor.content.matching import compiled
from apisensor.content.names import kind_of_key

LARGEST = 16 << 10
"""Bytes of a login body. Larger ones are imports of users or documents that speak of passwords."""
FIELDS = 64
"""Fields of a form or of a JSON object that are looked at."""
OBJECTS = 16
"""Objects within the outermost one that are looked at."""
LONGEST_USER = 256
"""Bytes. RFC 5321 section 4.5.3.1 allows addresses of 254."""

USER_NAMES = (
    *("username", "usernameoremail", "emailorusername", "user", "login", "loginname", "loginid", "loginuser"),
    *("log", "jusername", "userlogin", "useremail", "email", "emailaddress", "mail", "account", "accountname"),
    *("accountid", "userid", "uid", "userprincipalname", "identifier", "identity", "principal", "handle", "nickname"),
    *("name", "phone", "phonenumber", "mobile", "mobilenumber", "msisdn", "cpf"),
)
"""Names of the field that says who it is, without case and separators; where several are there the first counts."""

_RANK = {name: rank for rank, name in enumerate(USER_NAMES)}
_decode_json = msgspec.json.Decoder().decode
_PART = compiled(r"(?i:[ ;]name=\"?([^\"\r\n;]{1,128})\"?[^\r\n]*\r?\n(?:[^\r\n]+\r?\n)*\r?\n([^\r\n]{1,1000})\r?\n--)")
"""A part of multipart/form-data (RFC 7578 section 4.2): name, value of one line."""

_Field = tuple[bytes, Any]


def login_user(body: bytes) -> bytes | None:
    """The user that a login body names, raw; None: it is no login."""
    if len(body) > LARGEST:
        return None
    start = body.lstrip(b" \t\r\n\xef\xbb\xbf")[:2]
    if start[:1] == b"{":
        return _of_json(body)
    groups: dict[bytes, list[_Field]] = {}
    for name, value in _multipart(body) if start == b"--" else _form(body):
        # `user[email]` and `user[password]` belong together.
        groups.setdefault(name.rpartition(b"[")[0], []).append((name, value))
    return _first(groups.values())


def _first(groups: Iterable[Iterable[_Field]]) -> bytes | None:
    return next((user for group in groups if (user := _user(group)) is not None), None)


def _user(fields: Iterable[_Field]) -> bytes | None:
    """The user among fields that stand beside each other; None where there is no password among them."""
    best, user, password = len(USER_NAMES), None, False
    for name, value in fields:
        text = _text(value)
        if not text:
            continue
        plain = name.rpartition(b"[")[2].lower().translate(None, b"]-_. ")
        rank = _RANK.get(plain.decode("latin-1"))
        if rank is not None and rank < best and len(text) <= LONGEST_USER:
            best, user = rank, text
        elif kind_of_key(name) == "password":
            password = True
    return user if password else None


def _text(value: Any) -> bytes | None:
    if isinstance(value, bytes):
        return value.strip()
    if isinstance(value, str):
        return value.strip().encode("utf-8", "surrogatepass")
    return b"%d" % value if isinstance(value, int) and not isinstance(value, bool) else None


def _of_json(body: bytes) -> bytes | None:
    """The outermost object's, else that of an object directly in it."""
    try:
        document = _decode_json(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return None
    if not isinstance(document, dict):
        return None
    objects = [document, *(value for value in document.values() if isinstance(value, dict))]
    return _first(_members(members) for members in objects[: 1 + OBJECTS])


def _members(members: dict[str, Any]) -> Iterator[_Field]:
    for (name, value), _ in zip(members.items(), range(FIELDS), strict=False):
        yield name.encode("utf-8", "surrogatepass"), value


def _form(body: bytes) -> Iterator[_Field]:
    for pair in body.split(b"&", FIELDS)[:FIELDS]:
        name, equals, value = pair.partition(b"=")
        if equals:
            yield _unquoted(name), _unquoted(value)


def _unquoted(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" "))


def _multipart(body: bytes) -> Iterator[_Field]:
    for match, _ in zip(_PART.finditer(body), range(FIELDS), strict=False):
        yield match.group(1), match.group(2)
