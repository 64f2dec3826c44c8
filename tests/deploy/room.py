"""A room: this machine as a command sees it, on overlays, so that what the command writes lands in folders of ours.

The lower layers are the machine's own file systems (which nothing writes to), the upper ones lie on a tmpfs. /sys and
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
place=$1 lent=$2
layer() { # layer MOUNT_POINT NUMBER: its upper folder is upper/NUMBER
    mkdir -p "$place/upper/$2" "$place/work/$2"
    mount -t overlay overlay -o "lowerdir=$1,upperdir=$place/upper/$2,workdir=$place/work/$2" "$place/root$1"
    echo "layer $2 $1"
}
mounts=$(awk '$2 != "/" {print $2}' /proc/self/mounts | sort -u)
mount -t tmpfs -o size=3g tmpfs "$place"
mkdir "$place/root"
layer / 0
# An overlay shows nothing of what is mounted on its lower layer: each of those is laid over by itself.
number=0
for mount in $mounts; do
    case $mount/ in
        /proc/* | /sys/* | /dev/* | /run/* | /tmp/* | "$place"/*) continue ;;
    esac
    number=$((number + 1))
    if [ -d "$mount" ]; then layer "$mount" $number; else mount --bind -o ro "$mount" "$place/root$mount"; fi
done
for tree in sys dev; do mount --rbind "/$tree" "$place/root/$tree"; done
mount -t proc proc "$place/root/proc"
for folder in tmp run; do mount -t tmpfs tmpfs "$place/root/$folder"; done
mkdir -p "$place/root/run/lock" "$place/root/run/room"
mount --bind -o ro "$lent" "$place/root/run/room"
# resolv.conf is often a link into /run.
name_servers=$(realpath /etc/resolv.conf)
case $name_servers in
    /run/*) mkdir -p "$place/root${name_servers%/*}" && cp "$name_servers" "$place/root$name_servers" ;;
esac
echo entered
exec cat >/dev/null
"""

SECONDS = 580
"""That a command may take. An installation with its compilation is two minutes of a processor that others use, too."""

UNSHARE = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Without the environment of these tests: the room's own commands are the ones under test."""


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
        self._layers: dict[str, str] = {}
        while (said := self._holder.stdout.readline()) != "entered\n":
            if not said.startswith("layer "):
                raise RuntimeError(f"no room: {said}{self._holder.communicate(timeout=30)[0]}")
            _, number, mount_point = said.rstrip("\n").split(" ", 2)
            self._layers[number] = mount_point
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.communicate(timeout=30)

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a command in the room, as root, in /run/room. Raises AssertionError with its output where it fails."""
        process = f"/proc/{self._holder.pid}"
        # By the process's own root: that of its namespace is another one where these tests run in a chroot.
        enter = [
            "nsenter",
            f"--mount={process}/ns/mnt",
            f"--pid={process}/ns/pid_for_children",
            f"--root={process}/root{self._place}/root",
            f"--wd={process}/root{self._place}/root",
        ]
        done = subprocess.run(
            [*enter, "sh", "-c", 'cd /run/room && exec "$@"', "sh", *command],
            env={**os.environ, "PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout
        return done

    def changes(self) -> dict[str, str]:
        """What differs from the machine: path -> mode, owner and content, or "removed". Of folders, the new ones."""
        found = {}
        for number, mount_point in self._layers.items():
            upper = Path(f"/proc/{self._holder.pid}/root{self._place}/upper/{number}")
            for folder, folders, files in os.walk(upper):
                for name in folders + files:
                    path = Path(folder, name)
                    original = mount_point / path.relative_to(upper)
                    state = path.lstat()
                    if stat.S_ISCHR(state.st_mode) and state.st_rdev == 0:  # a whiteout: gone in the room
                        if os.path.lexists(original):
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
