"""What the parts tell each other. Each link carries one tagged union; the codec of each is below it."""

from __future__ import annotations

from typing import Literal

import msgspec

from apisensor.capture.library import Library
from apisensor.enrich.model import ProcessGone, ProcessSeen
from apisensor.events.model import Address
from apisensor.live.pauses import Pause, Resume
from apisensor.replay.model import RecordingHeader
from apisensor.sections import Settings


class ProcessTraffic(msgspec.Struct, frozen=True, array_like=True):
    """Bytes of one process as the kernel counted them, and what is attached to it."""

    pid: int
    plain_bytes: int
    encrypted_bytes: int
    decrypted_bytes: int
    captured_bytes: int
    """Of both kinds of plaintext: copied for the workers."""
    unseen_bytes: int
    """Those of the encrypted that passed outside of any observed call and session."""
    library: str | None
    """Path of its TLS library, where it has one that is known."""
    blind: str | None = None
    """Why TLS that it moves is not seen, one line; said when that is first noticed."""


class KernelReport(msgspec.Struct, frozen=True, tag="kernel"):
    """The kernel's counters and the processes that moved bytes, once a second."""

    counters: dict[str, int]
    processes: list[ProcessTraffic]
    """The 200 that moved most."""
    paused: list[str] = []
    """Rules that pause capture."""


class Note(msgspec.Struct, frozen=True, tag="note"):
    """Something the user should read, one line."""

    text: str


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The part does its work from now on."""

    text: str = ""


class Resend(msgspec.Struct, frozen=True, tag="resend"):
    """The core is new: tell it again what processes and libraries there are."""


class PartState(msgspec.Struct, frozen=True):
    """One part as `run` sees it."""

    name: str
    pid: int | None
    user: str
    started_ns: int
    """CLOCK_MONOTONIC."""
    restarts: int
    last_exit: str | None
    memory_bytes: int | None
    resting: bool = False


class PauseOrder(msgspec.Struct, frozen=True, tag="pause_order"):
    """Pause or resume capture of something."""

    number: int
    """Of the order: the answer has it."""
    order: Pause | Resume


class PauseAnswer(msgspec.Struct, frozen=True, tag="pause_answer"):
    """What became of an order; put into force when this is sent."""

    number: int
    text: str
    """One line."""
    refused: bool


class GovernorState(msgspec.Struct, frozen=True):
    """What the governor leaves out just now (governor.py)."""

    share_percent: int
    used_percent: float
    """Of the machine, by all parts and BPF programs, in the last seconds."""
    level: int
    """0: nothing is left out."""
    bodies: bool
    shed_percent: float
    """Of the connections."""


class Parts(msgspec.Struct, frozen=True, tag="parts"):
    """All parts; sent when one changes and every few seconds."""

    parts: list[PartState]
    notes: list[str] = []
    governor: GovernorState | None = None
    """None: governor.cpu_share is 0."""
    maps: dict[str, int] = {}
    """Kernel memory, bytes, of the maps of the kernel side, by their names there; rings are "ring:N"."""


class Keep(msgspec.Struct, frozen=True, tag="keep"):
    """Hold the attached descriptors under this label while capture lives and beyond, until dropped.

    A dead capture process thereby takes no probe with it; its successor gets labels and descriptors back.
    """

    label: str
    library: Library | None
    """None: the tracepoints."""


class Drop(msgspec.Struct, frozen=True, tag="drop"):
    """Close what is held under this label: the probes are gone then."""

    label: str


FromCapture = ProcessSeen | ProcessGone | Library | KernelReport | Note | PauseAnswer
"""capture -> core."""
ToCapture = Resend | PauseOrder
"""core -> capture."""
ToRun = Ready | Keep | Drop | Note
"""capture, core, worker -> run."""
FromRun = Parts | Keep
"""run -> core (Parts), run -> capture (Keep, what was held for its predecessor)."""

encode = msgspec.msgpack.Encoder().encode
decode_from_capture = msgspec.msgpack.Decoder(FromCapture).decode
decode_to_run = msgspec.msgpack.Decoder(ToRun).decode
decode_from_run = msgspec.msgpack.Decoder(FromRun).decode
decode_to_capture = msgspec.msgpack.Decoder(ToCapture).decode


class PartParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a part is started with: its settings, and the numbers of the descriptors that it inherits."""

    settings: Settings
    run: int = -1
    """Link to run; -1: there is none (the describer)."""
    descriptors: dict[str, int] = {}
    """Programs and maps as the loader named them (capture); "ring", "skips" (worker); "page:N" shared counters, ..."""
    uprobe_multi: bool = False
    index: int = 0
    """Of the worker."""
    output: Literal["table", "jsonl", "none"] = "none"
    """How core prints transactions on standard output."""
    page: Address | None = None
    """Where the web part listens: calls to it are the sensor's own."""
    own: list[int] = []
    """Processes of the sensor that are there already."""
    held: int = 0
    """How many Keep messages wait in capture's link."""
    skip_slots: int = 0
    ring_bytes: int = 0
    recording: RecordingHeader | None = None
    """Set when a recording is written ("recording" descriptor): nothing is analysed then."""


def parameters_from(text: str) -> PartParameters:
    """Parses a part's only argument."""
    return msgspec.json.decode(text, type=PartParameters)
