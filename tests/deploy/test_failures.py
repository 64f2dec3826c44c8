"""What stops an installation is said in one line: what happened, what to do. Each cause is brought about for real."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.deploy.room import Room

OS_RELEASE = "printf 'ID={}\\nVERSION_ID={}\\nPRETTY_NAME=\"{}\"\\n' >/etc/os-release"
NO_BCC = "dpkg --purge --force-depends python3-bpfcc >/dev/null 2>&1"
INSTALL = "exec ./deploy/install"

LOCKED = """python3 - <<'E'
import fcntl, subprocess, sys
held = [open(path, "w") for path in ("/var/lib/dpkg/lock-frontend", "/var/lib/apt/lists/lock")]
for lock in held:
    fcntl.lockf(lock, fcntl.LOCK_EX)
sys.exit(subprocess.run(["./deploy/install"]).returncode)
E"""

CAUSES = {
    "not root": ("exec setpriv --reuid=65534 --clear-groups ./deploy/install", "not root: .*sudo"),
    "old Debian": (f"{OS_RELEASE.format('debian', '11', 'Debian 11')}; {INSTALL}", "Debian 11 is too old: .*Debian 12"),
    "old Ubuntu": (f"{OS_RELEASE.format('ubuntu', '22.04', 'Ubuntu 22.04')}; {INSTALL}", "Ubuntu 22.04 is too old: "),
    "no apt": (f"rm /usr/bin/apt-get; {INSTALL}", "has no apt: .*Debian 12 and later and Ubuntu 24.04"),
    "processor": ("exec setarch linux32 ./deploy/install", "processor i686 is not supported: .*x86-64"),
    "no BTF": (f"mount -t tmpfs none /sys/kernel/btf && {INSTALL}", "no BTF .*CONFIG_DEBUG_INFO_BTF=y"),
    "lock held": (f"{NO_BCC}; export APISENSOR_LOCK_WAIT=0; {LOCKED}", "another package manager is at work; wait"),
    "apt without network": (
        f"{NO_BCC}; rm -rf /var/lib/apt/lists/*; exec unshare --net ./deploy/install",
        "no network; check",
    ),
    "pip without network": (
        "exec unshare --net ./deploy/install",
        "runtime.txt could not be installed: no network; check",
    ),
    "old Python": (
        f"printf '#!/bin/sh\\nexit 1\\n' >/bin/p; chmod +x /bin/p; mv /bin/p /usr/bin/python3; {INSTALL}",
        "not Python 3.11",
    ),
    "disk full": (
        f"fallocate -l $(($(df --output=avail -B1 /opt | tail -1) - 100000000)) /fill; {INSTALL}",
        "the disk is full: .*free 700 MB",
    ),
    "no systemd": ("exec ./deploy/install --service", "systemd does not run here: .*deploy/run"),
    "wrong argument": ("exec ./deploy/install --help-me", "unknown argument: --help-me: usage: "),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_one_line_says_what_to_do(cause: str, room: Room) -> None:
    command, expected = CAUSES[cause]
    room.run("sh", "-c", "rm -rf /run/systemd")
    assert_one_line(room, command, expected)


def test_a_file_that_is_not_the_locked_one(clone: Path, room: Room) -> None:
    lock = clone / "deploy" / "lock" / "runtime.txt"
    name = "hyperframe"
    entry, forged = rf"(?m)^{name}==(\S+) (?:\\\n    --hash=\S+ ?)+", rf"{name}==\1 --hash=sha256:{'0' * 64}"
    text, count = re.subn(entry, forged, lock.read_text())
    assert count == 1
    lock.write_text(text)
    assert_one_line(room, INSTALL, "a downloaded file is not the one that was locked; ")


def assert_one_line(room: Room, command: str, expected: str) -> None:
    done = room.run("sh", "-c", command, check=False)
    lines = [line for line in done.stdout.splitlines() if not line.startswith(("[", "      "))]
    assert done.returncode == 1
    assert len(lines) == 1, done.stdout
    assert re.match(f"apisensor: .*{expected}", lines[0]), done.stdout
