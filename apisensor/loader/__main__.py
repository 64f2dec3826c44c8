"""Hands the loaded programs and maps to who started it, and exits.

    python3 -I __main__.py SOCKET_DESCRIPTOR BPF_DIRECTORY  < parameters as JSON  > the same socket: one message

The answer is one JSON object with the descriptors attached (SCM_RIGHTS), in the order of its "descriptors" list, or
an object {"error": one line}.
"""

import json
import os
import signal
import socket
import sys

if not __package__:  # run by its path: only so does it find its neighbours
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from apisensor.loader.errors import CacheError, LoaderError
from apisensor.loader.load import load


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C in the terminal ends all parts; `run` says so
    link = socket.socket(fileno=int(sys.argv[1]))
    try:
        # `owner` must outlive the message: bcc closes what it has made.
        answer, descriptors, owner = load(json.load(sys.stdin), sys.argv[2])
    except (LoaderError, CacheError) as error:
        answer, descriptors, owner = {"error": str(error)}, [], None
    except (OSError, KeyError, ValueError) as error:
        answer, descriptors, owner = {"error": f"loading failed: {type(error).__name__}: {error}"}, [], None
    socket.send_fds(link, [json.dumps(answer).encode()], descriptors)
    del owner
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main())
