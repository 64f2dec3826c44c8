"""The web process: page and REST API over the store and core's socket. Unprivileged.

python -m apisensor.processes.web PARAMETERS

It ends when nobody has been there for a while, and `run` starts it again when somebody connects.

Inherits the listening socket ("web") and a descriptor from which the login token is read ("token").
"""

from __future__ import annotations

import os
import signal
import socket
import sys

from apisensor.processes import log
from apisensor.processes.link import Link
from apisensor.processes.messages import Ready, encode, parameters_from
from apisensor.processes.privileges import become, die_with_parent
from apisensor.web.access import Access
from apisensor.web.answers import Sources
from apisensor.web.app import create_app
from apisensor.web.core import Core
from apisensor.web.guard import allowed_hosts
from apisensor.web.listening import place
from apisensor.web.reading import Store
from apisensor.web.serving import serve

TOKEN_BYTES = 256
"""More than any token has."""


def main() -> int:
    """Works until SIGTERM or the end of its parent."""
    parameters = parameters_from(sys.argv[1])
    parent = os.getppid()
    settings = parameters.settings
    token = os.pread(parameters.descriptors["token"], TOKEN_BYTES, 0).decode("ascii").strip()
    listening = socket.socket(fileno=parameters.descriptors["web"])
    address, port = place(listening)
    log.make(settings, "web")
    sources = Sources(Store(settings.store_file), Core(settings.live_socket))
    app = create_app(sources, Access(token), allowed_hosts(address, port, settings.web.hosts), port)
    # All is imported, and the page in memory: this user need not be able to read where the sensor is installed.
    become(parameters.settings.general.user)
    die_with_parent(parent)
    # uvicorn ends in order and then raises the signal again for whoever handled it before
    signal.signal(signal.SIGTERM, lambda _signal, _frame: None)
    Link.of(parameters.run).send(encode(Ready()))
    # At once: whoever connects from now on waits in the socket's queue for the next one.
    serve(app, listening, rest=lambda: os._exit(0))
    sources.store.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
