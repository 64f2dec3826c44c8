"""The finder process: one open file at a time in, symbol offsets out, in the sandbox.

python -m apisensor.processes.finder PARAMETERS
"""

from __future__ import annotations

import os
import resource
import select
import signal
import sys

import msgspec

from apisensor.finder.answer import Question
from apisensor.finder.symbols import find_functions, find_hints, find_version
from apisensor.processes.garbage import give_back
from apisensor.processes.link import Link
from apisensor.processes.messages import Ready, encode, parameters_from
from apisensor.processes.privileges import become, die_with_parent
from apisensor.processes.sandbox import seal

FINDERS = {Question.FUNCTIONS: find_functions, Question.VERSION: find_version, Question.HINT: find_hints}
WORK_S, ANSWER_S = 1.5, 5.0
"""Processor time for one file, and time in all, on a busy node and a slow disk; capture waits a little longer. Node.js,
100 MB, takes 0.2 s of work."""
MEMORY_BYTES = 1 << 30
"""Address space: a size field of a malformed file must not make the finder grow."""


def limit(work_s: float, answer_s: float) -> None:
    """A file made to keep the finder busy (SIGPROF) or waiting (SIGALRM) ends it: run starts another. 0: no limit."""
    signal.setitimer(signal.ITIMER_PROF, work_s)
    signal.setitimer(signal.ITIMER_REAL, answer_s)


def main() -> int:
    """Answers until its parent ends."""
    parameters = parameters_from(sys.argv[1])
    parent = os.getppid()
    link, run = Link.of(parameters.descriptors["capture"]), Link.of(parameters.run)
    become(parameters.settings.general.sandbox_user)
    die_with_parent(parent)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    waiting = select.poll()
    waiting.register(link.fileno(), select.POLLIN)
    seal()
    run.send(encode(Ready()))
    while True:
        waiting.poll()
        received = link.receive()
        if received is None:
            continue
        for descriptor in received[1]:
            limit(WORK_S, ANSWER_S)
            number, asked = received[0][:8], Question(received[0][8:])
            with os.fdopen(descriptor, "rb") as file:
                found = FINDERS[asked](file)
            limit(0, 0)
            link.send(encode(msgspec.structs.replace(found, question=int.from_bytes(number, "little"))))
            give_back()  # a file's tables may be many MB, and the next large file is an hour away


if __name__ == "__main__":
    sys.exit(main())
