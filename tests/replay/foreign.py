"""`python -m tests.replay.foreign FOLDER`: replay held against tshark, on captures that nobody made for it.

Each capture below FOLDER (pcap and pcapng, also gzipped) is read by `apisensor replay` and by tshark; what they tell of
each connection is compared: method, path, status, header lists, sizes of bodies, messages of gRPC and WebSocket. What
differs is printed, for a person to decide by the RFCs who is right. Exit status 1 where replay failed: an exception
that is no ReplayError, no end within the time, packets that it did not count.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from apisensor.processes.replay import replay
from apisensor.replay.errors import ReplayError
from apisensor.transactions.json_form import json_line

from .captures import below
from .tshark import Connection, Told, Unit, connections, dissected, every, of_replay, text

SECONDS = 120
"""Time of either reader with one capture."""
GZIP = b"\x1f\x8b"
Messages = dict[Connection, Counter[tuple[str, str]]]
"""Counts of a connection's messages, by protocol and "request" or "response"."""


class View(msgspec.Struct):
    """What one reader makes of a capture."""

    exchanges: dict[Connection, list[Told]] = msgspec.field(default_factory=lambda: defaultdict(list))
    incomplete: dict[Connection, list[Told]] = msgspec.field(default_factory=lambda: defaultdict(list))
    """Of which it says itself that something is missing."""
    messages: Messages = msgspec.field(default_factory=lambda: defaultdict(Counter))
    ports: dict[int, str] = msgspec.field(default_factory=dict)
    """Of servers: what tshark is to read their connections as."""


class Comparison(msgspec.Struct):
    """Of one capture."""

    path: Path
    failed: str = ""
    """Replay did what it must not; one line."""
    refused: str = ""
    """Its one line about a file that it does not read to the end."""
    seconds: float = 0.0
    packets: tuple[int, int] = (0, 0)
    """That replay and capinfos count; the latter 0 where it refuses the file."""
    same: int = 0
    incomplete: int = 0
    """Exchanges of which replay says itself that they are not whole, and tshark nothing else."""
    unasked: int = 0
    """Responses that tshark tells without a request: replay tells nothing of them, and counts them."""
    only_replay: list[tuple[Connection, Told]] = []
    only_tshark: list[tuple[Connection, Told]] = []
    differ: list[tuple[Connection, Told, Told]] = []
    """Replay's, and tshark's."""
    messages: list[str] = []
    """Counts that differ."""


def replayed(path: Path, result: Comparison) -> View | None:
    """What replay tells. None: nothing, as `result` then says."""
    lines: list[dict[str, Any]] = []
    begun = time.monotonic()
    try:
        with _plain(path) as plain, _at_most(SECONDS):
            summary = replay(str(plain), lambda one: lines.append(json.loads(json_line(one))), reveal=True)
    except ReplayError as error:
        result.refused = str(error)
        return None
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a defect and is said
        result.failed = f"{type(error).__name__}: {error}"
        return None
    result.seconds = time.monotonic() - begun
    result.refused = summary.error or ""
    result.packets = summary.packets, _packets(path)
    lost = {"failed_exchanges", "flows_failed"} & summary.losses.keys()
    if lost:
        result.failed = ", ".join(sorted(lost))
    elif not summary.error and result.packets[1] and result.packets[0] != result.packets[1]:
        result.failed = "{} packets, capinfos counts {}".format(*result.packets)
    view = View()
    for line in lines:
        client, server = ((line[side]["address"], line[side]["port"]) for side in ("client", "server"))
        place = view.exchanges if line["complete"] else view.incomplete
        one = of_replay(line)
        if line["protocol"] == "websocket":  # whose payloads are no content of HTTP
            one = msgspec.structs.replace(one, request_size=0, response_size=0)
        place[client, server].append(one)
        view.ports[server[1]] = "http2" if line["stream_id"] else "http"
        for way in ("request", "response"):
            counted = (line["messages"] or {}).get(way)
            if counted and counted["protocol"] in ("grpc", "websocket"):
                view.messages[client, server][counted["protocol"], way] += counted["count"] or 0
    return view


@contextlib.contextmanager
def _plain(path: Path) -> Iterator[Path]:
    """The capture, decompressed where it has to be: replay refuses gzip with a word."""
    with path.open("rb") as file:
        if file.read(2) != GZIP:
            yield path
            return
    with tempfile.TemporaryDirectory() as folder, gzip.open(path) as content:
        plain = Path(folder) / path.name.removesuffix(".gz")
        plain.write_bytes(content.read())
        yield plain


@contextlib.contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    def over(*_: object) -> None:
        raise TimeoutError(f"no end within {seconds} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _packets(path: Path) -> int:
    done = subprocess.run(["capinfos", "-T", "-r", "-M", "-c", str(path)], capture_output=True, text=True, check=False)
    return int(done.stdout.rstrip().rpartition("\t")[2] or 0)


def by_tshark(units: list[Unit]) -> View:
    """What tshark tells."""
    view = View()
    for ends, one in connections(units):
        if one.stream_id % 2 or not one.stream_id:  # the others were pushed: no request that anybody made
            view.exchanges[ends].append(_origin_form(one))
            view.ports[ends[1][1]] = "http2" if one.stream_id else "http"
    known = {frozenset(connection): connection for connection in view.exchanges}
    for unit in units:
        connection = known.get(frozenset((unit.source, unit.destination)))
        if connection is None:
            continue
        way = "request" if unit.source == connection[0] else "response"
        if unit.protocol == "grpc":
            view.messages[connection]["grpc", way] += sum(1 for _ in every(unit.tree, "grpc.message_length"))
        elif unit.protocol == "websocket":
            opcode, last = text(unit.tree, "websocket.opcode"), text(unit.tree, "websocket.fin")
            view.messages[connection]["websocket", way] += opcode in ("0", "1", "2") and last in ("1", "True", "true")
    return view


def _origin_form(one: Told) -> Told:
    """The path of a target in absolute form (RFC 9112 section 3.2.2): replay tells the rest as scheme and authority."""
    scheme, separator, rest = one.path.partition("://")
    if not separator or not scheme.isalpha():
        return one
    _, slash, path = rest.partition("/")
    return msgspec.structs.replace(one, path=slash + path)


def compare(path: Path) -> Comparison:
    """One capture, by both."""
    result = Comparison(path)
    ours = replayed(path, result)
    if ours is None:
        return result
    try:
        units = dissected(path, {}, octets=True)
        theirs = by_tshark(units)
        unseen = {port: said for port, said in ours.ports.items() if theirs.ports.get(port) != said}
        if unseen:  # on ports that tshark expects something else on
            theirs = by_tshark(dissected(path, unseen, octets=True))
    except (subprocess.SubprocessError, json.JSONDecodeError) as error:
        result.refused = result.refused or f"tshark: {error}"
        return result
    for connection in sorted({*ours.exchanges, *ours.incomplete, *theirs.exchanges}):
        _match(connection, ours, theirs, result)
    for connection in sorted({*ours.messages, *theirs.messages}):
        if connection not in ours.incomplete and ours.messages[connection] != theirs.messages[connection]:
            result.messages.append(
                f"{_name(connection)}: {dict(ours.messages[connection])}, tshark {dict(theirs.messages[connection])}"
            )
    return result


def _match(connection: Connection, ours: View, theirs: View, result: Comparison) -> None:
    whole, parts = list(ours.exchanges[connection]), list(ours.incomplete[connection])
    left = []
    for one in theirs.exchanges[connection]:
        if one in whole:
            whole.remove(one)
            result.same += 1
        else:
            left.append(one)
    for one in left:
        near = next((own for own in whole if _alike(own, one)), None)
        if near is not None:
            whole.remove(near)
            result.differ.append((connection, near, one))
            continue
        if not one.method:
            result.unasked += 1
            continue
        part = next((own for own in parts if _within(own, one)), None)
        if part is not None:
            parts.remove(part)
            result.incomplete += 1
        else:
            result.only_tshark.append((connection, one))
    result.only_replay += [(connection, one) for one in [*whole, *parts]]


def _alike(own: Told, other: Told) -> bool:
    return own.stream_id == other.stream_id and own.method == other.method and own.path == other.path


def _within(own: Told, other: Told) -> bool:
    """Whether all that is known of an exchange that is not whole is what tshark says."""
    names = ("method", "path", "status")
    return own.stream_id == other.stream_id and all(
        not getattr(own, name) or not getattr(other, name) or getattr(own, name) == getattr(other, name)
        for name in names
    )


def _name(connection: Connection) -> str:
    return " > ".join(f"{address}:{port}" for address, port in connection)


def _brief(one: Told) -> str:
    stream = f"[{one.stream_id}] " if one.stream_id else ""
    return f"{stream}{one.method} {one.path[:100]} {one.status} ({one.request_size}, {one.response_size})"


def _differences(own: Told, other: Told) -> Iterator[str]:
    for name in Told.__struct_fields__:
        mine, its = getattr(own, name), getattr(other, name)
        if mine == its:
            continue
        if isinstance(mine, tuple):
            lacking, more = Counter(its) - Counter(mine), Counter(mine) - Counter(its)
            yield f"{name}: replay {list(more.elements())}, tshark {list(lacking.elements())}"[:600]
        else:
            yield f"{name}: replay {mine}, tshark {its}"


def report(result: Comparison, most: int) -> None:
    """Prints one capture's comparison; of each kind of difference so many at most."""
    counts = f"{result.same} same, {result.incomplete} incomplete, {len(result.differ)} differ, "
    counts += f"{len(result.only_replay)} only replay, {len(result.only_tshark)} only tshark, {result.unasked} unasked"
    print(f"{result.path}: {counts}, {result.seconds:.1f} s")
    if result.failed:
        print(f"  FAILED: {result.failed}")
    elif result.refused:
        print(f"  {result.refused}")
    for connection, own, other in result.differ[:most]:
        print(f"  differ {_name(connection)} {_brief(own)}")
        for line in _differences(own, other):
            print(f"    {line}")
    for who, found in (("replay", result.only_replay), ("tshark", result.only_tshark)):
        for connection, one in found[:most]:
            print(f"  only {who} {_name(connection)} {_brief(one)}")
    for line in result.messages[:most]:
        print(f"  messages {line}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.replay.foreign", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--most", type=int, default=5, help="differences shown of each kind and capture")
    chosen = parser.parse_args()
    results = []
    with contextlib.suppress(KeyboardInterrupt):
        for path in [chosen.folder] if chosen.folder.is_file() else below(chosen.folder):
            results.append(compare(path))
            report(results[-1], chosen.most)
            sys.stdout.flush()
    print(
        f"{len(results)} captures: {sum(one.same for one in results)} exchanges same, "
        f"{sum(one.incomplete for one in results)} incomplete, {sum(len(one.differ) for one in results)} differ, "
        f"{sum(len(one.only_replay) for one in results)} only replay, "
        f"{sum(len(one.only_tshark) for one in results)} only tshark, {sum(one.unasked for one in results)} unasked; "
        f"{sum(bool(one.failed) for one in results)} failed, {sum(bool(one.refused) for one in results)} refused"
    )
    return int(any(one.failed for one in results))


if __name__ == "__main__":
    sys.exit(main())
