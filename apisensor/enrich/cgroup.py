"""Container, runtime, pod and systemd unit from /proc/PID/cgroup (cgroups(7)), for v1, v2 and hybrid layouts.

The formats are what runtimes were seen to write:

    docker        /docker/ID   /system.slice/docker-ID.scope
    containerd    .../cri-containerd-ID.scope   .../kubepods-podUID.slice:cri-containerd:ID   /k8s.io/ID
    cri-o         .../crio-ID.scope   .../crio-ID
    podman        .../libpod-ID.scope[/container]   /libpod_parent/libpod-ID   /system.slice/X.service/libpod-payload-ID
    kubernetes    /kubepods/burstable/podUID/ID   /kubepods.slice/kubepods-podU_I_D.slice/...
    lxc           /lxc/NAME   /lxc.payload.NAME   /lxc.payload/NAME
    systemd-nspawn    /machine.slice/machine-NAME.scope   /machine.slice/systemd-nspawn@NAME.service

Containers nest (Docker in Docker, kind): the innermost is the process's. A runtime that the path does not name stays
None; it is not guessed from the orchestrator.
"""

from __future__ import annotations

from typing import NamedTuple

from apisensor.content.matching import compiled

LONGEST = 64 * 1024
"""Characters of a cgroup file that are read: a dozen lines of up to 4,096 (PATH_MAX)."""


class Membership(NamedTuple):
    """Where a process belongs."""

    container: str | None = None
    """Id, full length; for lxc and systemd-nspawn the name."""
    runtime: str | None = None
    """"docker", "containerd", "cri-o", "podman", "lxc", "systemd-nspawn"; None where the path does not say."""
    pod: str | None = None
    """Kubernetes pod UID."""
    unit: str | None = None
    """systemd service unit inside the container, or of the node where there is no container; without ".service"."""


_RUNTIME_OF_PREFIX = {
    "docker": "docker",
    "cri-containerd": "containerd",
    "containerd": "containerd",
    "nerdctl": "containerd",
    "crio": "cri-o",
    "libpod": "podman",
    "libpod-payload": "podman",  # --cgroups=split, as Quadlet starts containers: below the unit's own cgroup
}
_RUNTIME_OF_PARENT = {"docker": "docker", "k8s.io": "containerd", "libpod_parent": "podman"}

# PREFIX-ID, PREFIX:ID or ID; conmon's cgroups (crio-conmon-ID, libpod-conmon-ID) hold the monitor, not the container.
_CONTAINER = compiled(r"(?:([a-z-]+)[-:])?([0-9a-f]{64})(?:\.scope)?")
_ECS_TASK = compiled(r"[0-9a-f]{32}-[0-9]{1,10}")
_POD = compiled(
    r"(?:.*-)?pod([0-9a-f]{8}[_-][0-9a-f]{4}[_-][0-9a-f]{4}[_-][0-9a-f]{4}[_-][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?"
)
"""A pod's UID; pods from files on the node have a hash without dashes instead."""
_MACHINE = compiled(r"machine-(.+)\.scope")
_NSPAWN = compiled(r"systemd-nspawn@(.+)\.service")
_LXC = compiled(r"lxc\.payload\.(.+)")
_USER_MANAGER = compiled(r"user@[0-9]+\.service")
_HEX_ESCAPE = compiled(r"\\x[0-9a-f]{2}")

_Container = tuple[str, str | None]


def membership(text: str) -> Membership:
    """What the text of /proc/PID/cgroup says. Anything unreadable in it is passed over."""
    best = Membership()
    best_depth = -1
    for path in _paths(text[:LONGEST]):
        found, depth = _of_path(path)
        if depth > best_depth:
            best, best_depth = found, depth
    return best


def _paths(text: str) -> list[str]:
    """Distinct paths, the ones that systemd manages first: they win where several say equally much."""
    managed: list[str] = []
    others: list[str] = []
    for line in text.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3 and parts[2].startswith("/"):
            path = parts[2].removesuffix(" (deleted)")
            paths = managed if parts[1] in ("", "name=systemd") else others
            if path not in paths:
                paths.append(path)
    return managed + others


def _of_path(path: str) -> tuple[Membership, int]:
    """Membership, and how much the path says: each container and pod on it, and the unit, count."""
    container: _Container = ("", None)
    pod = unit = None
    depth = 0
    of_person = False
    parent = innermost = ""
    # ECS, and containerd under cgroupfs, join slice, prefix and id by colons in one component.
    for component in (part for name in path.split("/") for part in _split(name)):
        bare = component.encode("utf-8", "surrogateescape")
        inner = _container(component, parent, bare)
        in_pod = _POD.fullmatch(bare)
        if inner is not None:
            container, unit, of_person, innermost = inner, None, False, component
            depth += 2
        elif component == "supervisor" and container[1] == "systemd-nspawn" and parent == innermost:
            container = ("", None)  # who holds it, beside its payload: a process of the node
            depth += 1
        elif in_pod is not None:
            pod = in_pod.group(1).decode().replace("_", "-")
            depth += 2
        elif _USER_MANAGER.fullmatch(bare) is not None:
            of_person = True
        elif component.endswith(".service") and not of_person:
            depth += unit is None
            unit = _unescaped(component.removesuffix(".service"))
        parent = component
    return Membership(container[0] or None, container[1], pod, unit), depth


def _split(component: str) -> list[str]:
    slice_name, colon, rest = component.partition(":")
    return [slice_name, rest] if colon else [component]


def _container(component: str, parent: str, bare: bytes) -> _Container | None:
    match = _CONTAINER.fullmatch(bare)
    if match is not None:
        prefix = match.group(1)
        if prefix is None:
            return match.group(2).decode(), _RUNTIME_OF_PARENT.get(parent)
        if prefix.endswith(b"conmon"):
            return None
        return match.group(2).decode(), _RUNTIME_OF_PREFIX.get(prefix.decode())
    if parent in ("lxc", "lxc.payload") and component:
        return component, "lxc"
    match = _LXC.fullmatch(bare)
    if match is not None:
        return match.group(1).decode("utf-8", "replace"), "lxc"
    match = _NSPAWN.fullmatch(bare) or (_MACHINE.fullmatch(bare) if parent == "machine.slice" else None)
    if match is not None:
        name = _unescaped(match.group(1).decode("utf-8", "replace"))
        return None if name.startswith("qemu-") else (name, "systemd-nspawn")  # libvirt's virtual machines
    if _ECS_TASK.fullmatch(bare) is not None:
        return component, None
    return None


def _unescaped(name: str) -> str:
    r"""systemd.unit(5): \x2d stands for a dash."""
    raw = name.encode("utf-8", "replace")
    pieces: list[bytes] = []
    end = 0
    for match in _HEX_ESCAPE.finditer(raw):
        pieces += (raw[end : match.start()], bytes((int(raw[match.start() + 2 : match.end()], 16),)))
        end = match.end()
    return b"".join((*pieces, raw[end:])).decode("utf-8", "replace")
