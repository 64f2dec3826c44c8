"""A room: this machine as a command sees it, on an overlay, so that what the command writes lands in a folder of ours.

The lower layer is the machine's own root file system (and nothing writes to it), the upper one a tmpfs. /proc, /sys and
/dev are the machine's, but of processes it sees only its own. It lives in namespaces and ends with the process that
made them, whatever happens to the test.
"""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from pathlib import Path

ENTER = """
set -eu
mount -t tmpfs -o size=3g tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
for place in sys dev; do mount --rbind "/$place" "$1/root/$place"; done
mount -t proc proc "$1/root/proc"
for place in tmp run; do mount -t tmpfs tmpfs "$1/root/$place"; done
mkdir -p "$1/root/run/lock" "$1/root/run/room"
# Lent, read-only: the clone, and where names are resolved.
mount --bind -o ro "$2" "$1/root/run/room"
for file in /etc/resolv.conf /etc/hosts; do
    [ ! -f "$file" ] || mount --bind -o ro "$file" "$1/root$file" 2>/dev/null || true
done
echo entered
exec cat >/dev/null
"""

UNSHARE = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]


class Room:
    """Use as a context manager. `place` is an empty folder for the mounts, `lent` becomes /run/room in the room."""

    def __init__(self, place: Path, lent: Path) -> None:
        self._place = place
        self._lent = lent

    def __enter__(self) -> Room:
        self._holder = subprocess.Popen(
            [*UNSHARE, "bash", "-c", ENTER, "room", self._place, self._lent],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._holder.stdout is not None
        said = self._holder.stdout.readline()
        if said != "entered\n":
            raise RuntimeError(f"no room: {said}{self._holder.communicate(timeout=30)[0]}")
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.communicate(timeout=30)

    def run(
        self, *command: str, check: bool = True, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command in the room, as root, in /run/room. Raises AssertionError with its output where it fails."""
        root = f"{self._place}/root"
        namespaces = f"/proc/{self._holder.pid}/ns"
        enter = ["nsenter", f"--mount={namespaces}/mnt", f"--pid={namespaces}/pid_for_children", "chroot", root]
        done = subprocess.run(
            [*enter, "sh", "-c", 'cd /run/room && exec "$@"', "sh", *command],
            env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=280,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout
        return done

    def changes(self) -> dict[str, str]:
        """What differs from the machine: path -> mode, owner and content, or "removed". Of folders, the new ones."""
        upper = Path(f"/proc/{self._holder.pid}/root{self._place}/upper")
        found = {}
        for folder, folders, files in os.walk(upper):
            for name in folders + files:
                path = Path(folder, name)
                original = "/" / path.relative_to(upper)
                state = path.lstat()
                if stat.S_ISCHR(state.st_mode):  # a whiteout: gone in the room
                    if original.exists() or original.is_symlink():
                        found[str(original)] = "removed"
                elif _described(path) != _described(original):
                    found[str(original)] = _described(path)
        return found


def _described(path: Path) -> str:
    try:
        state = path.lstat()
    except FileNotFoundError:
        return "absent"
    content = ""
    if stat.S_ISREG(state.st_mode):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    elif stat.S_ISLNK(state.st_mode):
        content = os.readlink(path)
    return f"{stat.filemode(state.st_mode)} {state.st_uid}:{state.st_gid} {content}"
