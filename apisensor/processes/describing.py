"""Descriptor sets from the files that the settings name: read here, understood in the sandbox.

The sandbox can open nothing, so whoever starts reads the files: `run` as root, which may read any that the settings
name, `replay` with the rights of its user. `run` has the bytes parsed by a process that has no rights (describer.py)
and is gone afterwards; what that says is handed to each worker.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Sequence

import msgspec

from apisensor.content.described import LEAVE_OUT, DescriptorSet, DescriptorSetError
from apisensor.processes.messages import PartParameters
from apisensor.sections import Settings

SETS_BYTES = 32 << 20
"""Bytes of all sets together. As many fields as are allowed take 9 MiB, comments of the sources may be as much again;
while protobuf checks them it holds some fifteen times as much."""
WAIT_S = 60
"""As many fields as are allowed take a fifth of a second."""
REFUSED = 3
"""Exit status of the describer that wrote why a set cannot be used."""

encode_sets = msgspec.msgpack.Encoder().encode
decode_sets = msgspec.msgpack.Decoder(list[DescriptorSet]).decode


def read_sets(paths: Sequence[str]) -> list[DescriptorSet]:
    """The files' content.

    Raises:
        DescriptorSetError: one cannot be read, is no regular file, or they are too large.
    """
    sets = []
    left = SETS_BYTES
    for path in paths:
        try:
            content = _read(path, left + 1)
        except OSError as error:
            raise DescriptorSetError.of(path, error.strerror or str(error), "name one that can be read") from None
        left -= len(content)
        if left < 0:
            raise DescriptorSetError.of(path, f"more than {SETS_BYTES:,} bytes in all", LEAVE_OUT)
        sets.append(DescriptorSet(path, content))
    return sets


def _read(path: str, most: int) -> bytes:
    # Without waiting for the writer of a FIFO that somebody put there.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise DescriptorSetError.of(path, "not a regular file", "name another")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(most)
    finally:
        os.close(descriptor)


def describe(settings: Settings) -> bytes | None:
    """What the sets of the settings say, for the workers (msgpack of Descriptions); None: there are none.

    Raises:
        DescriptorSetError: one cannot be used.
    """
    sets = read_sets(settings.worker.descriptor_sets)
    if not sets:
        return None
    parameters = msgspec.json.encode(PartParameters(settings)).decode()
    command = [sys.executable, "-I", "-m", "apisensor.processes.describer", parameters]
    failure = "; ".join(settings.worker.descriptor_sets)
    try:
        done = subprocess.run(
            command,
            input=encode_sets(sets),
            stdout=subprocess.PIPE,
            timeout=WAIT_S,
            check=False,
            env={"PATH": "/usr/bin:/bin"},
        )
    except subprocess.TimeoutExpired:
        raise DescriptorSetError.of(failure, f"not understood within {WAIT_S} s", LEAVE_OUT) from None
    if done.returncode == REFUSED:
        raise DescriptorSetError(" ".join(done.stdout.decode("utf-8", "replace").split()))
    if done.returncode:
        wrong = f"the process that parses it ended with status {done.returncode}"
        raise DescriptorSetError.of(failure, wrong, LEAVE_OUT)
    return done.stdout
