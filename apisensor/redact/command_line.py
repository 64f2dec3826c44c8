"""Command lines without their secrets. What `ps` shows to every user of a machine should not reach a trace store too.

An argument is hidden by what it says (`--password=x`, `DB_PASSWORD=x`, a URL with user information, a token's
shape), by the option before it (`--token x`, curl's `-u user:pass`, `-H 'Authorization: ...'`), or by the program
whose option it is (mysql's `-px`). Shell scripts after `-c` are looked through word by word. Where it is unclear,
the argument is hidden.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from apisensor.content.fields import value_spans
from apisensor.content.names import kind_of_key
from apisensor.content.shapes import HEAD, Zone
from apisensor.redact.text import MARKER, redacted

LONGEST = 4096
"""Characters of a redacted command line; longer ones end in an ellipsis. Class paths of Java fill more than this."""
ARGUMENTS = 1024
"""Arguments that are looked at. What is not looked at is not shown."""
LONGEST_ARGUMENT = 8192
"""Bytes of an argument that are looked at (a script after -c may be long); the rest is not shown."""
ELLIPSIS = "..."

_HIDDEN = MARKER.encode()

_SECRET_OPTIONS: dict[bytes, frozenset[bytes]] = {
    b"curl": frozenset(b"-u --user -U --proxy-user -b --cookie -d -F --form --oauth2-bearer -E --cert".split()),
    b"wget": frozenset(b"--user --http-user --ftp-user --post-data --body-data".split()),
    b"http": frozenset(b"-a --auth".split()),
    b"https": frozenset(b"-a --auth".split()),
    b"ab": frozenset(b"-A -P -C".split()),
    b"redis-cli": frozenset(b"-a --pass -u".split()),
    b"redis-server": frozenset(b"--requirepass --masterauth".split()),
    b"mongo": frozenset(b"-p".split()),
    b"mongosh": frozenset(b"-p".split()),
    b"mongodump": frozenset(b"-p".split()),
    b"mongorestore": frozenset(b"-p".split()),
    b"sshpass": frozenset(b"-p".split()),
    b"ldapsearch": frozenset(b"-w".split()),
    b"ldapmodify": frozenset(b"-w".split()),
    b"smbclient": frozenset(b"-U".split()),
    b"snmpget": frozenset(b"-c -A -X".split()),
    b"snmpwalk": frozenset(b"-c -A -X".split()),
    b"ipmitool": frozenset(b"-P".split()),
    b"sqlcmd": frozenset(b"-P".split()),
    b"openssl": frozenset(b"-passin -passout -pass -k -K".split()),
    b"keytool": frozenset(b"-storepass -keypass -srcstorepass -deststorepass".split()),
    b"htpasswd": frozenset(b"-b".split()),
    b"docker": frozenset(b"-p".split()),
    b"podman": frozenset(b"-p".split()),
}
"""Options of well-known programs whose value is, or has in it, a secret that neither name nor shape gives away. The
value is the next argument, or follows a one-letter option without a space."""

_PORTS_NOT_PASSWORDS = frozenset((b"docker", b"podman"))
"""Their -p is a password for `login` and a port otherwise: digits, dots and colons are shown."""

_JOINED_PASSWORD = frozenset(
    b"mysql mysqldump mysqladmin mysqlimport mysqlshow mariadb mariadb-dump mariadb-admin".split()
)
"""Programs whose `-pSECRET` is one argument, and whose `-p` alone asks."""

_FIELD_OPTIONS = frozenset(b"-H --header --proxy-header --add-header".split())
_BODY_OPTIONS = frozenset(
    b"--data --data-raw --data-binary --data-ascii --data-urlencode --json --form-string --post-data".split()
)
"""What is sent is often a login."""
_USER_OPTIONS = frozenset(b"-u --user -U --login --auth --proxy-user".split())
"""Of any program: hidden where the value looks like user:password and not like a uid:gid."""
_SCRIPT_OPTIONS = frozenset(b"-c -lc -ec -ic -xc -ce -cl --command".split())


def redact_command_line(arguments: list[bytes]) -> str:
    """The arguments joined by spaces, without secrets, at most LONGEST characters. Bytes that are not UTF-8: U+FFFD.

    Args:
        arguments: as /proc/PID/cmdline has them, the program first.
    """
    if len(arguments) == 1 and b" " in arguments[0]:  # a process title that the program wrote over its arguments
        text = _script(arguments[0][:LONGEST_ARGUMENT])
    else:
        text = b" ".join(_words(arguments[:ARGUMENTS]))
    shown = text.decode("utf-8", "replace")
    if len(shown) > LONGEST or len(arguments) > ARGUMENTS:
        shown = shown[: LONGEST - len(ELLIPSIS)] + ELLIPSIS
    return shown


def _words(arguments: list[bytes]) -> Iterator[bytes]:
    program = before = b""
    for argument in arguments:
        cut = argument[:LONGEST_ARGUMENT]
        shown = _argument(program, before, cut)
        yield shown
        name = cut.rpartition(b"/")[2].lower()
        if not program or name in _SECRET_OPTIONS or name in _JOINED_PASSWORD:
            program = name  # also behind sudo, env, timeout, docker exec, and inside scripts
        # An option that carried its secret with it (-psecret) says nothing about the next argument.
        before = cut if shown in (cut, _HIDDEN) else b""


def _argument(program: bytes, before: bytes, argument: bytes) -> bytes:
    options = _SECRET_OPTIONS.get(program, frozenset())
    if before in options or _names_secret(before) or before in _BODY_OPTIONS:
        if before == b"-p" and program in _PORTS_NOT_PASSWORDS and not argument.strip(b"0123456789.:-/tcpud"):
            return argument
        return _HIDDEN
    if before in _USER_OPTIONS and b":" in argument and argument.replace(b":", b"").strip(b"0123456789"):
        return _HIDDEN
    if before in _FIELD_OPTIONS:
        return _field(argument)
    if before in _SCRIPT_OPTIONS and b" " in argument:
        return _script(argument)
    option = argument[:2]
    if len(argument) > 2 and option != b"--":
        if option in options or (option == b"-p" and program in _JOINED_PASSWORD):
            return option + _HIDDEN
        if option == b"-H" and b":" in argument:
            return option + _field(argument[2:])
    name, equals, value = argument.partition(b"=")
    if equals and name in _FIELD_OPTIONS:
        return name + equals + _field(value)
    if equals and value and (name in _BODY_OPTIONS or name in options):
        return name + equals + _HIDDEN
    return _by_shape(argument)


def _names_secret(option: bytes) -> bool:
    """`--token`, `-password`, `--api-key`: the next argument is the secret."""
    return option.startswith(b"-") and b"=" not in option and bool(kind_of_key(option.lstrip(b"-")))


def redact_word(word: str) -> str:
    """A single text that came from a command line or an environment variable, without secrets that have a shape."""
    return _by_shape(word.encode("utf-8", "replace")).decode("utf-8", "replace")


def _by_shape(argument: bytes) -> bytes:
    return redacted(argument, HEAD.find(argument, Zone.FIELD))


def _field(line: bytes) -> bytes:
    """A header line given to a client: hidden as the same line on the wire is."""
    name, colon, value = line.partition(b":")
    if not colon:
        return _by_shape(line)
    rest = value.lstrip(b" ")
    return _by_shape(name) + colon + value[: len(value) - len(rest)] + redacted(rest, value_spans(name, rest))


def _script(script: bytes) -> bytes:
    """A shell script: its words, without their quotes, like arguments. One that cannot be split is hidden."""
    try:
        words = shlex.split(script.decode("utf-8", "surrogateescape"), posix=True)
    except ValueError:  # a quote is not closed
        return _HIDDEN
    return b" ".join(_words([word.encode("utf-8", "surrogateescape") for word in words]))
