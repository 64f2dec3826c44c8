"""Compiled programs in a file, so that the next start needs no compiler.

BCC compiles C for seconds; what comes of it depends on the text, its macros (which hold all that it knows of the
running kernel) and the compiler. So it is kept under a key of all that. The kernel's name is not in it: an update that
moves none of the fields that are looked at, as many of a distribution's (Debian's 6.1.170 to 6.1.180), costs nothing.

The file is root's alone (0600) in a folder that only root may write, and carries its own hash. Whatever is wrong with
it, it is passed over, said, and written anew.
"""

import base64
import hashlib
import json
import os
import platform
import stat

from apisensor.loader.errors import CacheError
from apisensor.loader.kernel import Definition
from apisensor.loader.programs import Compiled

FORMAT = 2
"""Raised when the form of the file changes."""
MOST_BYTES = 64 << 20
"""A file larger than this is not one of ours: all programs are a few MB."""


def key(*parts: str) -> str:
    """Of the text and all that it is compiled with."""
    digest = hashlib.sha256(f"{FORMAT}\0{platform.machine()}".encode())
    for part in parts:
        digest.update(b"\0" + hashlib.sha256(part.encode()).digest())
    return digest.hexdigest()


def write(path: str, cache_key: str, compiled: Compiled) -> None:
    """Keeps it in place of what was there. Raises CacheError."""
    content = {
        "maps": compiled.maps,
        "programs": {name: base64.b64encode(code).decode() for name, code in compiled.programs.items()},
        "layouts": compiled.layouts,
    }
    body = f"{cache_key}\n{json.dumps(content)}".encode()
    temporary = f"{path}.new"
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise CacheError(f"{path} cannot be written: {error.strerror}") from error


def read(path: str, cache_key: str) -> Compiled | None:
    """What was kept under this key; None: nothing, or for another text, other macros or another compiler.

    Raises:
        CacheError: there is a file that cannot be trusted or read.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
                raise CacheError(f"{path} is not a file that only its owner, who runs this, may read and write")
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CacheError(f"{path} cannot be read: {error.strerror}") from error
    digest, _, body = content.partition(b"\n")
    if len(content) > MOST_BYTES or hashlib.sha256(body).hexdigest().encode() != digest:
        raise CacheError(f"{path} is damaged")
    kept_key, _, text = body.partition(b"\n")
    if kept_key.decode() != cache_key:
        return None
    try:
        kept = json.loads(text)
        maps = [Definition(*row) for row in kept["maps"]]
        programs = {name: base64.b64decode(code) for name, code in kept["programs"].items()}
        return Compiled(maps, programs, kept["layouts"])
    except (ValueError, TypeError, KeyError) as error:
        raise CacheError(f"{path} is not what this version writes ({error})") from error
