"""deploy/install and deploy/uninstall, run for real: in a room, where what they leave behind can be listed."""

from __future__ import annotations

import re

import pytest

from apisensor.cli.doctor.node_checks import CAPABILITIES
from apisensor.settings import load_settings
from tests.deploy.room import SECONDS, Room
from tests.versioned import PROJECT

PACKAGE_RECORDS = re.compile(
    # What apt and dpkg keep of every installation and removal, and glibc's cache of libraries.
    r"/var/lib/(dpkg|apt|systemd/catalog)(/|$)|/var/cache/(apt|debconf|ldconfig|man)(/|$)|/var/log/|/etc/ld[.]so[.]cache$"
    # The copies that the account tools keep of the files before their last change.
    r"|/etc/(passwd|group|shadow|gshadow|subuid|subgid)-$"
    # Bytecode that the distribution's Python writes beside its own modules, whoever imports them.
    r"|/usr/lib/python3.*/__pycache__(/|$)"
)


def without_package(room: Room) -> dict[str, str]:
    """Takes BCC away, so that there is a Debian package to install; then what the room differs in from the machine."""
    room.run("dpkg", "--purge", "--force-depends", "python3-bpfcc")
    return room.changes()


@pytest.mark.timeout(2 * SECONDS)
def test_installed_twice_then_uninstalled(room: Room) -> None:
    before = without_package(room)

    first = room.run("./deploy/install").stdout
    assert re.findall(r"^\[(\d)/5\] ", first, re.MULTILINE) == list("12345")
    assert "installing: python3-bpfcc" in first
    assert "compiling the modules on the path of every record" in first
    doctor = room.run("apisensor", "doctor", check=False).stdout
    assert re.search(r"ok +modules +those on the path of every record are compiled", doctor)
    assert re.search(r"programs for Linux \S+: compiled, /var/lib/apisensor/programs", first)
    version = room.run("apisensor", "--version").stdout
    assert re.fullmatch(r"apisensor \d+\.\d+\.\d+\n", version)
    assert room.run("readlink", "/usr/local/bin/apisensor").stdout == "/opt/apisensor/venv/bin/apisensor\n"
    assert room.run("/usr/bin/python3", "-c", "import bcc").stdout == ""
    owners = room.run("stat", "-c", "%A %U:%G %n", "/etc/apisensor/apisensor.toml", "/var/lib/apisensor").stdout
    assert owners.splitlines() == [
        "-rw-r----- root:apisensor /etc/apisensor/apisensor.toml",
        "drwxr-x--- root:apisensor /var/lib/apisensor",
    ]
    assert room.run("getent", "passwd", "apisensor").stdout.rstrip().endswith(":/nonexistent:/usr/sbin/nologin")
    # As the sensor's own user, which must be able to read the program: the settings file is in force and says nothing.
    settings = room.run("setpriv", "--reuid=apisensor", "--regid=apisensor", "--clear-groups", "apisensor", "settings")
    assert "/var/lib/apisensor" in settings.stdout
    room.run("systemd-analyze", "verify", "/run/room/deploy/apisensor.service")
    installed = room.run("sh", "-c", "cat /opt/apisensor/venv/lib/python3*/site-packages/apisensor/bpf/apisensor.c")
    assert installed.stdout == (PROJECT / "bpf" / "apisensor.c").read_text()

    # Nothing is left to do, and so neither a network nor a change is needed.
    room.run("sh", "-c", "echo '# mine' >>/etc/apisensor/apisensor.toml")
    settled = room.changes()
    second = room.run("unshare", "--net", "./deploy/install").stdout
    assert "apisensor is up to date" in second
    assert "its modules on the path of every record are compiled" in second
    assert re.search(r"programs for Linux \S+: from the cache, ", second)
    assert not changed(settled, room.changes())

    kept = room.run("./deploy/uninstall", "--keep-data", "--packages").stdout
    assert "removed: python3-bpfcc" in kept
    assert "# mine" in room.run("cat", "/etc/apisensor/apisensor.toml").stdout
    assert room.run("getent", "passwd", "apisensor").stdout
    room.run("./deploy/uninstall")
    assert not changed(before, room.changes())
    assert room.run("find", "/run", "/tmp", "-name", "*apisensor*", "-not", "-path", "/run/room/*").stdout == ""


def changed(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple[str | None, str | None]]:
    paths = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    return {path: (before.get(path), after.get(path)) for path in sorted(paths) if not PACKAGE_RECORDS.search(path)}


@pytest.mark.timeout(2 * SECONDS)
def test_installation_interrupted_is_continued(room: Room) -> None:
    # What a power failure in the middle leaves: an environment without pip, a package without its last files.
    room.run("python3", "-m", "venv", "--without-pip", "/opt/apisensor/venv")
    room.run("ln", "-s", "/opt/apisensor/venv/bin/apisensor", "/usr/local/bin/apisensor")
    # Beside it no compiler: the sensor is installed all the same.
    room.run("sh", "-c", "mv $(readlink -f /usr/bin/gcc) /usr/bin/away")
    assert re.search(r"not compiled, so they run as plain Python, .*: .*gcc", room.run("./deploy/install").stdout)
    room.run("sh", "-c", "rm /opt/apisensor/venv/lib/python3*/site-packages/apisensor/settings.py")
    again = room.run("env", "APISENSOR_PLAIN=1", "./deploy/install").stdout
    assert "installed in" in again
    assert "its modules stay plain Python: APISENSOR_PLAIN is set" in again
    assert "apisensor" in room.run("apisensor", "--version").stdout


def test_a_package_that_others_need_is_kept(room: Room) -> None:
    # git is not the sensor's; a record that claims what git needs must not take git away.
    library = room.run("sh", "-c", "dpkg-query -W -f '${Package}\\n' 'libcurl3*-gnutls'").stdout.split()[0]
    room.run("sh", "-c", f"mkdir -p /opt/apisensor && echo {library} >/opt/apisensor/debian-packages")
    said = room.run("./deploy/uninstall", "--packages").stdout
    assert "kept for git," in said
    assert room.run("git", "--version").stdout.startswith("git version")


def test_a_foreign_command_is_not_overwritten(room: Room) -> None:
    room.run("sh", "-c", "echo someone >/usr/local/bin/apisensor")
    done = room.run("./deploy/install", check=False)
    assert done.returncode == 1
    assert "apisensor: /usr/local/bin/apisensor is in the way: " in done.stdout
    assert room.run("sh", "-c", "[ ! -e /opt/apisensor ] && echo first").stdout == "first\n"
    room.run("./deploy/uninstall")
    assert room.run("cat", "/usr/local/bin/apisensor").stdout == "someone\n"


def test_places_are_those_of_the_settings() -> None:
    steps = (PROJECT / "deploy" / "steps.sh").read_text()
    places = dict(re.findall(r"^(STATE|RUNTIME|SENSOR_USER)=(\S+)", steps, re.MULTILINE))
    general = load_settings(environ={}, config="/dev/null").general
    assert places == {
        "STATE": general.state_directory,
        "RUNTIME": general.runtime_directory,
        "SENSOR_USER": general.user,
    }


def test_every_place_is_documented() -> None:
    steps = (PROJECT / "deploy" / "steps.sh").read_text()
    places = re.findall(r"^[A-Z]+=(/\S+)", steps, re.MULTILINE)
    documented = (PROJECT / "docs" / "files.md").read_text()
    assert places
    assert not [place for place in places if place not in documented and place != "/usr/bin/python3"]


def test_unit_grants_what_doctor_asks_for_and_no_more() -> None:
    unit = (PROJECT / "deploy" / "apisensor.service").read_text()
    granted = set(" ".join(re.findall(r"^CapabilityBoundingSet=(.*)", unit, re.MULTILINE)).split())
    listed = {capability.name for capability in CAPABILITIES}
    assert granted >= {capability.name for capability in CAPABILITIES if capability.needed}
    # CAP_SYS_ADMIN is what Debian's own kernel wants for perf events; capture keeps it only there.
    assert granted >= listed
    # Of its own: the socket buffers between the parts.
    assert granted - listed <= {"CAP_NET_ADMIN"}


def test_continuous_integration_runs_the_test_command() -> None:
    assert '/../deploy/test"' in (PROJECT / ".ci" / "run").read_text()
