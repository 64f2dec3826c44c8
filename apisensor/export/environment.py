"""The OTEL_* variables as text -> checked values, each with the error that names it.

A variable that is empty counts as unset (OpenTelemetry specification, "Environment Variable Specification"). Unlike the
SDK, which warns and goes on with a default, a value that is not allowed stops the start.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import unquote

from apisensor.export.signal import Signal
from apisensor.settings import SettingsError

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110 section 5.6.2: methods and field names. Applied to the operator's own environment only."""


class Environment:
    """The variables, each with the error that names it."""

    def __init__(self, environ: Mapping[str, str], signal: Signal) -> None:
        self._environ = environ
        self.signal = signal

    def get(self, name: str) -> str:
        return self._environ.get(name, "").strip()

    def otlp(self, option: str) -> tuple[str, str]:
        """Name and value of OTEL_EXPORTER_OTLP_[SIGNAL_]option; the general name and "" where neither is set."""
        name = f"OTEL_EXPORTER_OTLP_{self.signal.infix}_{option}"
        if not self.get(name):
            name = f"OTEL_EXPORTER_OTLP_{option}"
        return name, self.get(name)

    def error(self, name: str, allowed: str, *, secret: bool = False) -> SettingsError:
        shown = "its value" if secret else repr(self.get(name))
        return SettingsError(f"{name}: {shown} is not allowed; allowed: {allowed}")

    def boolean(self, name: str) -> bool:
        value = self.get(name).lower()
        if value not in {"", "true", "false"}:
            raise self.error(name, "true, false")
        return value == "true"

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        value = self.get(name)
        if not value:
            return default
        if not re.fullmatch(r"[0-9]{1,12}", value) or not least <= int(value) <= most:
            raise self.error(name, f"a whole number from {least} to {most}")
        return int(value)

    def names(self, name: str) -> tuple[str, ...]:
        """A comma-separated list of tokens."""
        items = tuple(item.strip() for item in self.get(name).split(",") if item.strip())
        if not all(TOKEN.fullmatch(item) for item in items):
            raise self.error(name, "names separated by commas")
        return items

    def pairs(self, name: str) -> dict[str, str]:
        """name=value,name=value with percent-encoded values (W3C Baggage without properties)."""
        pairs = {}
        for item in self.get(name).split(","):
            key, equals, value = (part.strip() for part in item.partition("="))
            if not item.strip():
                continue
            if not equals or not key:
                raise self.error(name, "name=value pairs separated by commas, values percent-encoded", secret=True)
            pairs[unquote(key)] = unquote(value)
        return pairs

    def file(self, option: str, load: Callable[[str], None]) -> str | None:
        """Path of a PEM file that load takes; it raises ValueError where there is nothing usable in it."""
        name, path = self.otlp(option)
        if not path:
            return None
        try:
            with open(path, "rb"):
                load(path)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no usable PEM"
            raise SettingsError(f"{name}: {path!r} is not allowed ({reason}); allowed: a readable PEM file") from None
        return path
