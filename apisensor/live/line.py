"""One transaction as one line of a terminal, and one finding.

    12:03:04.123 → curl/1234        GET    🔒 example.com/users?limit=5        200   12ms     0B  1.2k h2  192.0.2.7:443
    12:03:04.130 ⚠ HIGH Repeated authentication failures of one identity (5 times) [shop POST /login] 5f0c...

The arrow is the observed process's view: → it called, ← it served, · seen on the network. Where the line is narrow the
least telling columns go first: peer, sizes, protocol, duration; then the host is cut, and only then the path.
"""

from __future__ import annotations

import calendar
import functools
import time

from apisensor.live.public import PublicFinding, PublicTransaction
from apisensor.live.text import columns, duration, fit, pad, size, visible
from apisensor.transactions.json_form import rfc3339

WHO_WIDTH = 18
METHOD_WIDTH = 6
URL_LEAST = 12
"""Places of host and path on the narrowest line."""
HOST_LEAST = 8
"""Places that a host keeps beside a long path, with its ellipsis: what it begins with tells most."""

ARROWS = {"client": "→", "server": "←", "network": "·"}

RESET = "\x1b[0m"
DIM = "\x1b[2m"
BOLD = "\x1b[1m"
RED = "\x1b[31m"
GREEN = "\x1b[32m"
YELLOW = "\x1b[33m"
MAGENTA = "\x1b[35m"
CYAN = "\x1b[36m"

_STATUS_COLORS = {1: CYAN, 2: GREEN, 3: CYAN, 4: YELLOW, 5: RED}
_SEVERITY_COLORS = {"info": CYAN, "low": CYAN, "medium": YELLOW, "high": RED, "critical": BOLD + RED}
_SAID = frozenset(("graphql", "json-rpc", "mcp", "soap"))
"""Protocols of operations that the path says nothing of."""
_OPTIONAL = (("peer", 22, 40), ("sizes", 12, 40), ("protocol", 9, 34), ("duration", 7, 24))
"""Columns that a narrow line leaves out, in this order; the places each takes with its space; and those that host and
path have at least where it is shown. Paths differ at their ends: a column is worth less than telling them apart."""


class LineFormat:
    """How lines look: their width and whether colours and signs beyond ASCII may be used."""

    def __init__(self, width: int | None, color: bool, unicode: bool = True) -> None:
        """
        Args:
            width: places of a line; None: nothing is cut.
            color: ANSI colours.
            unicode: "→" and the lock; else ">" and "s".
        """
        self.width = width
        self.color = color
        self.unicode = unicode

    def transaction(self, t: PublicTransaction) -> str:
        """The line, without its newline."""
        shown, url_width = self._columns(t)
        status = "-" if t.status is None else str(t.status)
        url = _url(t, url_width)
        parts = [
            self._paint(_local_time(t.start_time), DIM),
            self._arrow(t.side),
            self._paint(pad(_who(t), WHO_WIDTH) if self.width else _who(t), BOLD),
            pad(visible(t.method or "?"), METHOD_WIDTH) if self.width else visible(t.method or "?"),
            self._lock(t.scheme == "https"),
            pad(url, url_width) if url_width is not None else url,
            self._paint(f"{status:>3}", "" if t.grpc_status else _STATUS_COLORS.get((t.status or 0) // 100, ""))
            + self._paint(_grpc(t), RED if t.grpc_status else GREEN),
        ]
        if "duration" in shown:
            parts.append(f"{duration(t.duration_ms):>6}")
        if "sizes" in shown:
            parts.append(f"{size(t.request_body_size):>5} {size(t.response_body_size):>5}")
        if "protocol" in shown:
            parts.append(pad(visible(t.protocol), 8))
        if "peer" in shown:
            parts.append(self._paint(pad(_peer(t), 21) if self.width else _peer(t), DIM))
        parts.extend(self._paint(mark, color) for mark, color in _marks(t))
        return " ".join(parts).rstrip()

    def finding(self, f: PublicFinding) -> str:
        """The line of a finding, never cut: what it says is what the reader is here for."""
        where = [visible(text) for text in (f.service, f.route) if text]
        who = [f"client {visible(f.client)}"] if f.client else []
        about = ", ".join([" ".join(where), *who] if where else who)
        times = f" ({f.count:,} times)" if f.count > 1 else ""
        sign = "⚠" if self.unicode else "!"
        told = f"{sign} {f.severity.upper()} {visible(f.title)}{times}"
        parts = [
            self._paint(_local_time(f.last_time or f.time), DIM),
            self._paint(told, _SEVERITY_COLORS.get(f.severity, RED)),
        ]
        return " ".join([*parts, *([f"[{about}]"] if about else []), self._paint(visible(f.id), DIM)])

    def note(self, text: str) -> str:
        """A line that is no transaction: what the sensor itself has to say."""
        line = f"-- {visible(text)}"
        return self._paint(line if self.width is None else fit(line, self.width), MAGENTA)

    def _columns(self, t: PublicTransaction) -> tuple[set[str], int | None]:
        """Which optional columns are shown, and the places left for host and path (None: as many as it takes)."""
        shown = {name for name, _, _ in _OPTIONAL}
        if self.width is None:
            return shown, None
        fixed = 13 + 2 + WHO_WIDTH + 1 + METHOD_WIDTH + 1 + 3 + 1 + 3
        left = self.width - fixed - sum(width for _, width, _ in _OPTIONAL)
        left -= sum(columns(mark) + 1 for mark, _ in _marks(t)) + columns(_grpc(t))
        for name, width, url_least in _OPTIONAL:
            if left < url_least:
                shown.discard(name)
                left += width
        return shown, max(left, URL_LEAST)

    def _arrow(self, side: str) -> str:
        if not self.unicode:
            return {"client": ">", "server": "<"}.get(side, ".")
        return self._paint(ARROWS.get(side, "·"), CYAN if side == "server" else MAGENTA if side == "client" else DIM)

    def _lock(self, encrypted: bool) -> str:
        """Two places in either case: the lock is wide."""
        if not self.unicode:
            return "s " if encrypted else "  "
        return "🔒" if encrypted else "  "

    def _paint(self, text: str, color: str) -> str:
        return f"{color}{text}{RESET}" if self.color and color and text else text


def _url(t: PublicTransaction, width: int | None) -> str:
    """Host and path, with what was asked for inside them; where all have no room the host is cut first."""
    authority, path = visible(t.authority or ""), visible(t.path if t.path is not None else "?")
    asked = [one.words() for one in t.operations if one.protocol in _SAID]
    more = f" +{len(asked) - 1}" if len(asked) > 1 else ""
    path += f" {{{visible(asked[0])}{more}}}" if asked else ""
    if width is None:
        return authority + path
    return fit(authority, max(width - columns(path), HOST_LEAST)) + path


def _grpc(t: PublicTransaction) -> str:
    """gRPC answers 200 whatever happened: its own status is what tells."""
    return f" grpc:{t.grpc_status}" if t.grpc_status is not None else ""


def _marks(t: PublicTransaction) -> list[tuple[str, str]]:
    marks = []
    if t.incomplete_reason is not None:
        marks.append((f"!{visible(t.incomplete_reason)}", RED))
    marks.extend((f"~{visible(name)}", YELLOW) for name in t.anomalies)
    return marks


def _who(t: PublicTransaction) -> str:
    if t.process is None:
        return "-"
    name = t.process.service or (t.process.executable or "?").rpartition("/")[2]
    pid = f"/{t.process.pid}"
    return fit(visible(name), WHO_WIDTH - len(pid)) + pid


def _peer(t: PublicTransaction) -> str:
    """The other end, as the observed process sees it; both ends of a packet capture."""
    if t.side == "network" and t.client and t.server:
        return f"{_address(t.client.address, t.client.port)}>{_address(t.server.address, t.server.port)}"
    peer = t.server if t.side == "client" else t.client
    return "unbound" if peer is None else _address(peer.address, peer.port)


def _address(address: str, port: int | None) -> str:
    if port is None:
        return f"unix:{visible(address)}"
    return f"[{visible(address)}]:{port}" if ":" in address else f"{visible(address)}:{port}"


_STAMP_LENGTH = len(rfc3339(0))


def _local_time(start_time: str) -> str:
    """RFC 3339 in UTC as the local time of day, to the millisecond."""
    if len(start_time) != _STAMP_LENGTH:
        return pad(visible(start_time), 12)
    return _local_second(start_time[:19]) + visible(start_time[19:23])


@functools.lru_cache(maxsize=8)
def _local_second(stamp: str) -> str:
    """A busy node prints thousands of lines of one second."""
    try:
        seconds = calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return pad(visible(stamp), 8)
    return time.strftime("%H:%M:%S", time.localtime(seconds))
