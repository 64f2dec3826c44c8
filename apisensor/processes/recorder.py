"""The recorder process, which takes core's place while a recording is written: processes and clocks go into the file.

    python -m apisensor.processes.recorder PARAMETERS

The workers write the events themselves, into the same file (O_APPEND, whole records), inside their sandbox.
"""

from __future__ import annotations

import functools
import os
import select
import signal
import sys
import time

from apisensor.enrich.model import ProcessGone, ProcessSeen
from apisensor.processes import log
from apisensor.processes.link import Link
from apisensor.processes.messages import (
    KernelReport,
    Note,
    PartParameters,
    Ready,
    Resend,
    decode_from_capture,
    encode,
    parameters_from,
)
from apisensor.processes.privileges import WRITE_FAILED, become, die_with_parent
from apisensor.replay.model import ClockSample, LossCounters
from apisensor.replay.recording import RecordingWriter

CLOCK_S = 1.0


class Recorder:
    """Writes what capture tells."""

    def __init__(self, parameters: PartParameters) -> None:
        if parameters.recording is None:
            raise ValueError("a recorder without a recording")
        self._log = log.make(parameters.settings, "recorder")
        write = functools.partial(os.write, parameters.descriptors["recording"])
        self._writer = RecordingWriter(write, parameters.recording)
        self._capture = Link.of(parameters.descriptors["capture"])
        self._run = Link.of(parameters.run)
        self.stopping = False

    def loop(self) -> None:
        """Works until it is told to stop."""
        self._capture.send(encode(Resend()))
        self._run.send(encode(Ready()))
        waiting = select.poll()
        waiting.register(self._capture.fileno(), select.POLLIN)
        next_clock = 0.0
        while not self.stopping:
            waiting.poll(CLOCK_S * 1000)
            while (received := self._capture.receive()) is not None:
                self._take(decode_from_capture(received[0]))
            if time.monotonic() >= next_clock:
                next_clock = time.monotonic() + CLOCK_S
                now = time.monotonic_ns()
                self._writer.clock(ClockSample(now, time.time_ns() - now))
                self._writer.flush()
        self._writer.flush()

    def _take(self, message: object) -> None:
        if isinstance(message, ProcessSeen | ProcessGone):
            self._writer.process(message)
        elif isinstance(message, KernelReport):
            losses = {name: count for name, count in message.counters.items() if ".lost" in name and count}
            self._writer.losses(LossCounters(time.monotonic_ns(), losses))
        elif isinstance(message, Note):
            self._log.warning(message.text)


def main() -> int:
    """Works until SIGTERM or the end of its parent."""
    parameters = parameters_from(sys.argv[1])
    parent = os.getppid()
    become(parameters.settings.general.user)
    die_with_parent(parent)
    try:
        recorder = Recorder(parameters)

        def stop(_signal: int, _frame: object) -> None:
            recorder.stopping = True

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        recorder.loop()
    except OSError as error:
        return WRITE_FAILED + (error.errno or 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
