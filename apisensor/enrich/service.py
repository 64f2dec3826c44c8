"""service.name of a process. The order of sources is documented in docs/attribution.md:

1. its OTEL_SERVICE_NAME, 2. service.name in its OTEL_RESOURCE_ATTRIBUTES (both as the OpenTelemetry SDK reads them),
3. the systemd service it belongs to, 4. what an interpreter runs: script, module, jar or main class, application of a
Python server, 5. the executable's base name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import unquote

LONGEST = 255
"""Characters of a service name: more is a mistake in somebody's environment, and names become labels."""

_DELETED = " (deleted)"
_PYTHON_OPTIONS_WITH_VALUE = frozenset(("-W", "-X", "--check-hash-based-pycs"))
_NODE_OPTIONS_WITH_VALUE = frozenset(
    ("-r", "--require", "--import", "--loader", "--experimental-loader", "-C", "--conditions", "--env-file", "--title")
)
_NODE_TEXT_OPTIONS = frozenset(("-e", "--eval", "-p", "--print", "-pe", "-"))
_JAVA_OPTIONS_WITH_VALUE = frozenset(
    (
        "-cp",
        "-classpath",
        "--class-path",
        "-p",
        "--module-path",
        "--upgrade-module-path",
        "--add-modules",
        "--add-exports",
        "--add-opens",
        "--add-reads",
        "--limit-modules",
        "--patch-module",
        "--enable-native-access",
        "--source",
    )
)
_PYTHON_SERVERS = frozenset(("gunicorn", "uvicorn", "hypercorn", "daphne", "waitress-serve", "granian", "uwsgi"))
_SERVER_OPTIONS_WITHOUT_VALUE = frozenset(
    (
        "--reload",
        "--preload",
        "--daemon",
        "-D",
        "--proxy-headers",
        "--no-access-log",
        "--access-log",
        "--factory",
        "--use-colors",
        "--no-use-colors",
        "--no-server-header",
        "--no-proxy-headers",
        "--check-config",
        "--enable-stdio-inheritance",
        "--debug",
    )
)
_SCRIPT_ENDS = (
    ".py",
    ".pyc",
    ".pyz",
    ".js",
    ".mjs",
    ".cjs",
    ".ts",
    ".rb",
    ".pl",
    ".php",
    ".sh",
    ".jar",
    ".war",
    ".dll",
)


def service_name(
    otel_service_name: str | None,
    otel_resource_attributes: str | None,
    unit: str | None,
    executable: str | None,
    arguments: list[str],
) -> str | None:
    """The first source that names the service; None where nothing is known, not even the executable."""
    name = (
        (otel_service_name or "").strip()
        or _resource_attribute(otel_resource_attributes or "")
        or unit
        or _program(executable, arguments)
        or _base(executable or "")
    )
    return name[:LONGEST] if name else None


def _resource_attribute(attributes: str) -> str | None:
    """service.name of key=value pairs, comma-separated, percent-encoded (OpenTelemetry resource SDK)."""
    found = None
    for pair in attributes.split(","):
        key, equals, value = pair.partition("=")
        if equals and key.strip() == "service.name":
            found = unquote(value.strip()).strip() or found
    return found


def _program(executable: str | None, arguments: list[str]) -> str | None:
    """What the interpreter runs; None where the process is none, or runs its standard input or a text of -c."""
    if not arguments:
        return None
    for candidate in (_base(executable or ""), _base(arguments[0])):
        interpreter = _INTERPRETERS.get(candidate.rstrip("0123456789.") or candidate)
        if interpreter is not None:
            return _title(arguments) or interpreter(arguments[1:])
    return _server(_base(arguments[0]), arguments[1:])


def _title(arguments: list[str]) -> str | None:
    """gunicorn writes `gunicorn: worker [application]` over its arguments."""
    if len(arguments) == 1 and arguments[0].startswith("gunicorn: ") and arguments[0].endswith("]"):
        return _module(arguments[0].rpartition("[")[2][:-1])
    return None


def _python(arguments: list[str]) -> str | None:
    rest = iter(arguments)
    for argument in rest:
        if argument in _PYTHON_OPTIONS_WITH_VALUE:
            next(rest, None)
        elif argument == "-m" or (argument.startswith("-") and not argument.startswith("--") and argument[-1:] == "m"):
            module = next(rest, None)
            return None if module is None else _server(module, list(rest)) or module
        elif argument.startswith("-m") and len(argument) > 2:
            return _server(argument[2:], list(rest)) or argument[2:]
        elif argument == "-" or argument.startswith("-c"):
            return None
        elif not argument.startswith("-"):
            return _server(_base(argument), list(rest)) or _stem(argument)
    return None


def _server(program: str, arguments: list[str]) -> str | None:
    """The application that a Python server, celery, flask or django-admin runs."""
    if program in _PYTHON_SERVERS:
        application = _first_positional(arguments, _server_option)
        return _module(application) if application else None
    if program == "celery":
        return _value_of(arguments, ("-A", "--app"))
    if program == "flask":
        application = _value_of(arguments, ("-A", "--app"))
        return _module(application) if application else None
    return None


def _node(arguments: list[str]) -> str | None:
    rest = iter(arguments)
    for argument in rest:
        if argument in _NODE_TEXT_OPTIONS:
            return None
        if argument in _NODE_OPTIONS_WITH_VALUE:
            next(rest, None)
        elif not argument.startswith("-"):
            return _stem(argument)
    return None


def _java(arguments: list[str]) -> str | None:
    rest = iter(arguments)
    for argument in rest:
        if argument == "-jar":
            jar = next(rest, None)
            return _stem(jar) if jar else None
        if argument in ("-m", "--module"):
            return next(rest, None)
        if argument in _JAVA_OPTIONS_WITH_VALUE:
            next(rest, None)
        elif not argument.startswith(("-", "@")):
            return argument
    return None


def _script(text_option: str) -> Callable[[list[str]], str | None]:
    """Shells, Ruby, Perl, PHP: the first argument that is no option; none where the option for a text is there."""

    def script(arguments: list[str]) -> str | None:
        for argument in arguments:
            if not argument.startswith(("-", "+")):
                return _stem(argument)
            if not argument.startswith("--") and text_option in argument:
                return None
        return None

    return script


def _runner(arguments: list[str]) -> str | None:
    """deno run x.ts, bun run x.ts, dotnet x.dll."""
    positional = [argument for argument in arguments if not argument.startswith("-")]
    if positional[:1] in (["run"], ["exec"], ["serve"]):
        positional = positional[1:]
    return _stem(positional[0]) if positional else None


_INTERPRETERS: dict[str, Callable[[list[str]], str | None]] = {
    "python": _python,
    "pypy": _python,
    "node": _node,
    "nodejs": _node,
    "java": _java,
    "ruby": _script("e"),
    "perl": _script("e"),
    "php": _script("r"),
    "sh": _script("c"),
    "bash": _script("c"),
    "dash": _script("c"),
    "ash": _script("c"),
    "zsh": _script("c"),
    "deno": _runner,
    "bun": _runner,
    "dotnet": _runner,
}


def _first_positional(arguments: list[str], takes_value: Callable[[str], bool]) -> str | None:
    rest: Iterator[str] = iter(arguments)
    for argument in rest:
        if not argument.startswith("-"):
            return argument
        if "=" not in argument and takes_value(argument):
            next(rest, None)
    return None


def _server_option(option: str) -> bool:
    """Nearly all options of these servers take a value; a short one may have it attached (-w4)."""
    return option not in _SERVER_OPTIONS_WITHOUT_VALUE and (option.startswith("--") or len(option) == 2)


def _value_of(arguments: list[str], options: tuple[str, ...]) -> str | None:
    for index, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in options:
            return value if equals else next(iter(arguments[index + 1 :]), None)
    return None


def _module(application: str) -> str:
    """`shop.wsgi:application` -> `shop.wsgi`; `shop:create_app()` -> `shop`."""
    return application.partition(":")[0] or application


def _base(path: str) -> str:
    return path.removesuffix(_DELETED).rpartition("/")[2]


def _stem(path: str) -> str:
    base = _base(path)
    for end in _SCRIPT_ENDS:
        if base.endswith(end) and len(base) > len(end):
            return base.removesuffix(end)
    return base
