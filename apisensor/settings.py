"""The settings table, and how a value gets into it.

One frozen object holds every setting (sections.py). Sources, each overriding the ones before it: its defaults, one TOML
file (`--config`, else APISENSOR_CONFIG, else /etc/apisensor/apisensor.toml where it exists), the environment
(APISENSOR_SECTION_KEY), and the command line (`--set section.key=value`). Export to OTLP is configured by the standard
OTEL_* variables instead, which this module leaves alone.

An unknown key and a value that is not allowed are errors: nothing is replaced by a default in silence.

docs/settings.md shows this table; a test compares them.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from apisensor.sections import Settings

DEFAULT_CONFIG = "/etc/apisensor/apisensor.toml"
CONFIG_BYTES = 1 << 20
"""A settings file larger than this is a mistake (a device, a log): it is refused unread."""


class SettingsError(Exception):
    """A setting is unknown or not allowed. Its text is one line: source, key, value, what is allowed."""


class Field(msgspec.Struct, frozen=True):
    """One line of the table."""

    key: str
    """"section.name"."""
    type: Any
    default: Any
    description: str
    reason: str
    """Why it is bounded; empty where it is not."""
    allowed: str
    """In words."""

    @property
    def environment(self) -> str:
        return "APISENSOR_" + self.key.replace(".", "_").upper()


def _allowed(kind: Any) -> str:
    """What a type accepts, in words."""
    meta = [m for m in get_args(kind)[1:] if isinstance(m, Meta)] if get_origin(kind) is Annotated else []
    base = get_args(kind)[0] if meta else kind
    first = meta[0] if meta else Meta()
    if get_origin(base) is Literal:
        return " | ".join(get_args(base))
    if get_origin(base) is list:
        return f"a list of up to {first.max_length:,}, each: {_allowed(get_args(base)[0])}"
    if base is bool:
        return "true | false"
    if base is int:
        return f"whole number, {first.ge:,} to {first.le:,}"
    if first.pattern:
        return f"text matching {first.pattern}"
    return "text, not empty" if first.min_length else "text"


_EXTRA_CHECKS: dict[str, tuple[str, Any]] = {
    "capture.ring_bytes": ("a power of two", lambda v: v & (v - 1) == 0),
    "capture.never_executables": ("absolute paths", lambda v: all(PurePosixPath(p).is_absolute() for p in v)),
    "worker.descriptor_sets": ("absolute paths", lambda v: all(PurePosixPath(p).is_absolute() for p in v)),
    "general.state_directory": ("an absolute path", lambda v: PurePosixPath(v).is_absolute()),
    "general.runtime_directory": ("an absolute path", lambda v: PurePosixPath(v).is_absolute()),
    "redact.key_file": ("empty or an absolute path", lambda v: not v or PurePosixPath(v).is_absolute()),
}
"""Key: (what is asked for beyond the type, its test)."""


def _fields() -> Iterator[Field]:
    for section, section_type in get_type_hints(Settings).items():
        defaults = section_type()
        for name, kind in get_type_hints(section_type, include_extras=True).items():
            meta = get_args(kind)[1]
            key = f"{section}.{name}"
            extra = f"; {_EXTRA_CHECKS[key][0]}" if key in _EXTRA_CHECKS else ""
            allowed = _allowed(kind) + extra
            reason = (meta.extra or {}).get("reason", "")
            yield Field(key, kind, getattr(defaults, name), meta.description, reason, allowed.removeprefix("text; "))


TABLE: dict[str, Field] = {field.key: field for field in _fields()}
"""Every setting by its key, in order."""

_BY_ENVIRONMENT = {field.environment: field for field in TABLE.values()}

_NOT_SETTINGS = re.compile(
    "APISENSOR_(CONFIG"  # names the file
    "|PLAIN"  # compiled.py
    "|TEST_.*|ALLOW_NO_BPF|LOCK_WAIT"  # the tests' and the installer's
    r"|SERVICE_(HOST|PORT.*)|PORT(_\d+_(TCP|UDP|SCTP).*)?)"  # Kubernetes, beside a Service "apisensor"
)
"""Variables that begin like ours and are not for us; any other that is unknown is a mistake."""


def load_settings(
    config: str | None = None, environ: Mapping[str, str] | None = None, assignments: Sequence[str] = ()
) -> Settings:
    """The settings from all sources.

    Args:
        config: path of the TOML file; None: APISENSOR_CONFIG, else DEFAULT_CONFIG where it exists.
        environ: environment variables; None: this process's.
        assignments: "section.key=value", as given on the command line.

    Raises:
        SettingsError: a key is unknown, a value is not allowed, or the file cannot be read.
    """
    return load_with_sources(config, environ, assignments)[0]


def load_with_sources(
    config: str | None = None, environ: Mapping[str, str] | None = None, assignments: Sequence[str] = ()
) -> tuple[Settings, dict[str, str]]:
    """Like load_settings; with the source of every key ("default", a path, a variable's name, "command line")."""
    environ = os.environ if environ is None else environ
    values = {key: field.default for key, field in TABLE.items()}
    sources = dict.fromkeys(TABLE, "default")
    for source, key, value, is_text in _given(config, environ, assignments):
        values[key] = _checked(source, TABLE[key], value, is_text)
        sources[key] = source
    sections: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, name = key.split(".")
        sections.setdefault(section, {})[name] = value
    return msgspec.convert(sections, Settings), sources


def _given(
    config: str | None, environ: Mapping[str, str], assignments: Sequence[str]
) -> Iterator[tuple[str, str, Any, bool]]:
    """(source, key, value, whether the value is text that stands for its type), weakest source first."""
    explicit = config or environ.get("APISENSOR_CONFIG")
    if explicit or os.path.exists(DEFAULT_CONFIG):
        path = explicit or DEFAULT_CONFIG
        for section, entries in _read_toml(path).items():
            if not isinstance(entries, dict):
                raise SettingsError(f"{path}: {section}: a section is expected, as in [general]{_near(section)}")
            for name, value in entries.items():
                yield path, _known(path, f"{section}.{name}"), value, False
    for variable, value in environ.items():
        if not variable.startswith("APISENSOR_") or _NOT_SETTINGS.fullmatch(variable):
            continue
        if variable not in _BY_ENVIRONMENT:
            near = difflib.get_close_matches(variable, _BY_ENVIRONMENT, 1)
            raise SettingsError(f"environment: {variable} is no setting" + (f"; near: {near[0]}" if near else ""))
        yield variable, _BY_ENVIRONMENT[variable].key, value, True
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise SettingsError(f"command line: {_shown(assignment)}: section.key=value is expected")
        yield "command line", _known("command line", key.strip()), value, True


def _read_toml(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            content = file.read(CONFIG_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"settings file {path}: {error.strerror}") from None
    if len(content) > CONFIG_BYTES:
        raise SettingsError(f"{path}: larger than {CONFIG_BYTES:,} bytes: not a settings file")
    try:
        return tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"{path}: not TOML: {str(error) or 'nested too deeply'}") from None


def _known(source: str, key: str) -> str:
    if key not in TABLE:
        raise SettingsError(f"{source}: {_shown(key)[1:-1]} is no setting{_near(key)}")
    return key


def _near(key: str) -> str:
    near = difflib.get_close_matches(key, TABLE, 1, cutoff=0.5)
    return f"; near: {near[0]}" if near else "; `apisensor settings` lists them all"


def _shown(value: Any) -> str:
    """A value in an error: on one line, its end cut off."""
    text = repr(value)
    return text if len(text) <= 100 else text[:100] + "..."


def _from_text(field: Field, text: str) -> Any:
    """An environment variable's or flag's text as the value that a TOML file would hold; lists are comma-separated."""
    if isinstance(field.default, list):
        items = [item.strip() for item in text.split(",") if item.strip()]
        return msgspec.convert(items, field.type, strict=False)
    if isinstance(field.default, str):
        return msgspec.convert(text, field.type)
    return msgspec.convert(text.strip().replace("_", ""), field.type, strict=False)


def _checked(source: str, field: Field, value: Any, is_text: bool) -> Any:
    try:
        result = _from_text(field, value) if is_text else msgspec.convert(value, field.type)
        if "\0" in str(result):
            raise msgspec.ValidationError
        if field.key in _EXTRA_CHECKS and not _EXTRA_CHECKS[field.key][1](result):
            raise msgspec.ValidationError
    except msgspec.ValidationError:
        raise SettingsError(f"{source}: {field.key} = {_shown(value)}: allowed is {field.allowed}") from None
    return result


def shown_default(value: Any) -> str:
    """A value as a TOML file would have it."""
    return msgspec.json.encode(value).decode()


if __name__ == "__main__":
    try:
        for _key, _value in msgspec.to_builtins(load_settings(assignments=sys.argv[1:])).items():
            for _name, _setting in _value.items():
                print(f"{_key}.{_name} = {shown_default(_setting)}")
    except SettingsError as _error:
        sys.exit(f"apisensor: {_error}")
