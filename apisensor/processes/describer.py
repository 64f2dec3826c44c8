"""The describer: understands descriptor sets in the sandbox, and is gone. describing.py starts it.

python -m apisensor.processes.describer PARAMETERS <sets >descriptions
"""

from __future__ import annotations

import os
import sys

import msgspec

from apisensor.content.described import DescriptorSetError
from apisensor.content.descriptor_sets import descriptions
from apisensor.processes.describing import REFUSED, decode_sets
from apisensor.processes.messages import parameters_from
from apisensor.processes.privileges import become, die_with_parent
from apisensor.processes.sandbox import seal


def main() -> int:
    """Reads sets, writes what they say, or why they cannot be used."""
    parameters = parameters_from(sys.argv[1])
    parent = os.getppid()
    become(parameters.settings.general.sandbox_user)
    die_with_parent(parent)
    seal()
    sets = decode_sets(sys.stdin.buffer.read())
    try:
        said, status = msgspec.msgpack.encode(descriptions(sets)), 0
    except DescriptorSetError as error:
        said, status = str(error).encode("utf-8", "replace"), REFUSED
    sys.stdout.buffer.write(said)
    sys.stdout.buffer.flush()
    return status


if __name__ == "__main__":
    sys.exit(main())
