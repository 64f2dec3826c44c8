"""curl and nginx in podman containers made from one folder: without an image registry, with their own OpenSSL.

Every container gets an overlay of its own over that folder, as containers of one image do: the same libssl inode shows
up behind two device numbers, in two mount namespaces. They share the host's network namespace and have pids of their
own; what their peers log is translated to the host's.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from tests.peers.certificates import Certificate
from tests.peers.curl import Curl
from tests.peers.nginx import Ports, read_log, url, write_configuration
from tests.peers.nginx_process import command
from tests.peers.plan import Request
from tests.peers.process import START_SECONDS, Peer, PeerError, listens, program, wait_until
from tests.truth import Call

_PACKAGES = "ca-certificates,curl,nginx-light"
_DEBOOTSTRAP_SECONDS = 280
_STORAGE = "/dev/shm/apisensor-test-containers"
"""On tmpfs: an overlay cannot have its upper layer on an overlay, which the file system of this machine may be."""
_PODMAN = (
    *("--runtime", "runc", "--cgroup-manager=cgroupfs"),
    *("--root", f"{_STORAGE}/root", "--runroot", f"{_STORAGE}/run", "--storage-driver", "overlay"),
)
"""crun refuses the hybrid cgroup layout, and there need not be a systemd."""
_RUN = ("--rm", "--network=host", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")
"""Limits that a machine without the right to raise its own can give."""


def root_file_system() -> Path:
    """A minimal system of this machine's release with curl and nginx; made once, in a minute, and kept.

    Raises:
        PeerError: debootstrap failed, with its last words.
    """
    release = _os_release()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "apisensor-tests"
    cache.mkdir(parents=True, exist_ok=True)
    made = cache / f"root-{release['VERSION_CODENAME']}"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            making = Path(tempfile.mkdtemp(dir=cache, prefix="making-"))
            try:
                _debootstrap(making, release)
                making.chmod(0o755)
                making.rename(made)
            finally:
                shutil.rmtree(making, ignore_errors=True)
    return made


def _os_release() -> dict[str, str]:
    lines = Path("/etc/os-release").read_text().splitlines()
    return {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines)}


def _mirror(suite: str) -> str:
    """Where this machine's own configuration takes its packages from."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    for line in listed.stdout.splitlines():
        if line.startswith(f"{suite} main "):
            return line.split()[2]
    raise PeerError(f"apt knows no repository of {suite}: run apt-get update")


def _debootstrap(directory: Path, release: dict[str, str]) -> None:
    suite = release["VERSION_CODENAME"]
    components = "main,universe" if release["ID"] == "ubuntu" else "main"
    asked = ["apt-config", "shell", "PROXY", "Acquire::http::Proxy"]
    proxy = subprocess.run(asked, check=True, capture_output=True, text=True, timeout=60)
    found = re.search(r"PROXY='(.+)'", proxy.stdout)
    environment = {**os.environ, **({"http_proxy": found[1]} if found else {})}
    # A preloaded library of this machine is not in the new one.
    environment.pop("LD_PRELOAD", None)
    done = subprocess.run(
        [
            program("debootstrap"),
            "--variant=minbase",
            f"--components={components}",
            f"--include={_PACKAGES}",
            suite,
            str(directory),
            _mirror(suite),
        ],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_DEBOOTSTRAP_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise PeerError(f"debootstrap failed: {done.stdout[-1000:]}{done.stderr[-1000:]}")


class Container:
    """A running container. Its standard input and output are those of `peer`, the podman process.

    Args:
        shared: directory of the host that the container sees under the same path.
    """

    def __init__(self, command: Sequence[str], shared: Path, errors: Path) -> None:
        id_file = errors.with_suffix(".id")
        self.peer = Peer(
            [
                *(program("podman"), *_PODMAN, "run", "--interactive", *_RUN),
                *("--cidfile", str(id_file), "--volume", f"{shared}:{shared}"),
                *("--rootfs", f"{root_file_system()}:O"),
                *command,
            ],
            errors,
        )
        self.id = ""
        """Full length, as it stands in the cgroup path."""
        self.pid = 0
        """Of the container's first process, on the host."""
        try:
            wait_until(lambda: self._identify(id_file), START_SECONDS, "the container to run")
        except BaseException:
            self.stop()
            raise

    def _identify(self, id_file: Path) -> bool:
        if self.peer.process.poll() is not None:
            raise PeerError(f"the container ended: {self.peer.last_words()}")
        self.id = id_file.read_text() if id_file.exists() else ""
        if not self.id:
            return False
        form = "{{.State.Running}} {{.State.Pid}}"
        asked = _podman("inspect", "--type", "container", "--format", form, self.id)
        running, _, pid = asked.stdout.partition(" ")
        if running != "true":
            return False
        self.pid = int(pid)
        return True

    def host_pids(self) -> dict[int, int]:
        """Pid inside: pid on the host, of the first process and its children."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        pids = {}
        for pid in (self.pid, *map(int, children)):
            inside = re.search(r"^NSpid:.*\s(\d+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
            if inside:
                pids[int(inside[1])] = pid
        return pids

    def stop(self) -> None:
        if self.id and self.peer.process.poll() is None:
            _podman("kill", "--signal", "KILL", self.id)
        self.peer.stop()


def _podman(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [program("podman"), *_PODMAN, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


class ContainerNginx:
    """`tests.peers.nginx.Nginx`, in a container."""

    def __init__(self, directory: Path, certificate: Certificate, *, workers: int = 1, sendfile: bool = False) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.ports = Ports.free()
        configuration = write_configuration(directory, certificate, self.ports, workers=workers, sendfile=sendfile)
        self.container = Container(command("nginx", configuration), directory, directory / "container")
        try:
            wait_until(lambda: listens("127.0.0.1", self.ports.tls), START_SECONDS, "nginx in its container")
            # Translated while they run; a port is open before the last worker is there.
            wait_until(lambda: len(self.container.host_pids()) > workers, START_SECONDS, "nginx's workers")
            self._host_pids = self.container.host_pids()
        except BaseException:
            self.stop()
            raise

    @property
    def pids(self) -> list[int]:
        """The workers, on the host."""
        return [pid for pid in self._host_pids.values() if pid != self.container.pid]

    def base(self, address: str, protocol: str, tls: bool) -> str:
        return url(address, self.ports.of(protocol, tls), tls)

    def calls(self) -> list[Call]:
        logged = read_log(self.directory / "access.log")
        return [replace(call, pid=self._host_pids[call.pid]) for call in logged]

    def stop(self) -> None:
        self.container.stop()


class ContainerCurl:
    """One curl in a container that waits for its configuration."""

    def __init__(self, curl: Curl, shared: Path) -> None:
        self._curl = curl
        self.container = Container(["curl", *curl.arguments], shared, curl.directory / "container")

    @property
    def pids(self) -> list[int]:
        return [self.container.pid]

    def drive(self, requests: list[Request]) -> list[Call]:
        return self._curl.drive(self.container.peer, requests, self.container.pid)

    def stop(self) -> None:
        self.container.stop()
