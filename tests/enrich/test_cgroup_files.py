"""Whole /proc/PID/cgroup files as they are on nodes with cgroup v1, v2 and both (hybrid), by runtime and driver."""

from __future__ import annotations

import pytest

from apisensor.enrich.cgroup import Membership, membership

ID = "0123456789abcdef" * 4
UID = "2b7b6f3c-0f5e-4f6b-9d8e-0123456789ab"
SLICE = f"kubepods-burstable-pod{UID.replace('-', '_')}.slice"
KUBEPODS = f"/kubepods.slice/kubepods-burstable.slice/{SLICE}"

CONTROLLERS = (
    *("13:misc", "12:hugetlb", "11:freezer", "10:net_cls,net_prio", "9:rdma", "8:devices", "7:cpuset", "6:cpu,cpuacct"),
    *("5:perf_event", "4:memory", "3:pids", "2:blkio"),
)


def v1(path: str, *, unified: str | None = None, apart: dict[str, str] | None = None) -> str:
    """Version 1: the same path under each controller, but for those `apart`; hybrid where there is a unified one."""
    lines = [f"{name}:{(apart or {}).get(name.split(':')[1], path)}" for name in CONTROLLERS]
    lines.append(f"1:name=systemd:{path}")
    if unified is not None:
        lines.append(f"0::{unified}")
    return "\n".join(lines) + "\n"


def v2(path: str) -> str:
    return f"0::{path}\n"


DOCKER, CONTAINERD, CRIO = Membership(ID, "docker"), Membership(ID, "containerd", UID), Membership(ID, "cri-o", UID)
PODMAN = Membership(ID, "podman")

FILES = {
    # Docker
    "docker, v1, cgroupfs": (v1(f"/docker/{ID}"), DOCKER),
    "docker, v1, systemd": (v1(f"/system.slice/docker-{ID}.scope"), DOCKER),
    "docker, hybrid, cgroupfs": (v1(f"/docker/{ID}", unified="/system.slice/containerd.service"), DOCKER),
    "docker, hybrid, systemd": (v1(f"/system.slice/docker-{ID}.scope", unified="/"), DOCKER),
    "docker, v2, cgroupfs": (v2(f"/docker/{ID}"), DOCKER),
    "docker, v2, systemd": (v2(f"/system.slice/docker-{ID}.scope"), DOCKER),
    "docker, v2, rootless": (
        v2(f"/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope"),
        DOCKER,
    ),
    "docker with systemd in the container, v2": (
        v2(f"/system.slice/docker-{ID}.scope/system.slice/nginx.service"),
        Membership(ID, "docker", None, "nginx"),
    ),
    # containerd, by the kubelet
    "containerd, v1, cgroupfs": (v1(f"/kubepods/burstable/pod{UID}/{ID}"), Membership(ID, None, UID)),
    "containerd, v1, cgroupfs, guaranteed": (v1(f"/kubepods/pod{UID}/{ID}"), Membership(ID, None, UID)),
    "containerd, v1, systemd": (v1(f"{KUBEPODS}/cri-containerd-{ID}.scope"), CONTAINERD),
    "containerd, v1, kubelet systemd, containerd cgroupfs": (
        v1(f"/system.slice/containerd.service/{SLICE}:cri-containerd:{ID}"),
        CONTAINERD,
    ),
    "containerd, hybrid, systemd": (v1(f"{KUBEPODS}/cri-containerd-{ID}.scope", unified="/init.scope"), CONTAINERD),
    "containerd, v2, systemd": (v2(f"{KUBEPODS}/cri-containerd-{ID}.scope"), CONTAINERD),
    "containerd, v2, cgroupfs": (v2(f"/kubepods/besteffort/pod{UID}/{ID}"), Membership(ID, None, UID)),
    "containerd, v2, inside kind": (
        v2(
            f"/system.slice/docker-{'f' * 64}.scope/kubelet.slice/kubelet-kubepods.slice/"
            f"kubelet-kubepods-burstable.slice/kubelet-{SLICE}/cri-containerd-{ID}.scope"
        ),
        CONTAINERD,
    ),
    "nerdctl, v2": (v2(f"/system.slice/nerdctl-{ID}.scope"), Membership(ID, "containerd")),
    "nerdctl, v1": (v1(f"/default/{ID}", apart={"misc": "/"}), Membership(ID)),
    # CRI-O
    "cri-o, v1, cgroupfs": (v1(f"/kubepods/burstable/pod{UID}/crio-{ID}"), CRIO),
    "cri-o, v1, systemd": (v1(f"{KUBEPODS}/crio-{ID}.scope"), CRIO),
    "cri-o, hybrid, systemd": (v1(f"{KUBEPODS}/crio-{ID}.scope", unified=f"{KUBEPODS}/crio-{ID}.scope"), CRIO),
    "cri-o, v2, systemd": (v2(f"{KUBEPODS}/crio-{ID}.scope"), CRIO),
    "cri-o, v2, a cgroup of its own in the container": (v2(f"{KUBEPODS}/crio-{ID}.scope/container"), CRIO),
    "cri-o, v2, its monitor": (v2(f"{KUBEPODS}/crio-conmon-{ID}.scope"), Membership(pod=UID)),
    # Podman
    "podman, v1, cgroupfs": (v1(f"/libpod_parent/libpod-{ID}"), PODMAN),
    "podman, v1, systemd": (v1(f"/machine.slice/libpod-{ID}.scope"), PODMAN),
    "podman, hybrid, only some controllers": (
        v1("/", unified="/", apart=dict.fromkeys(("memory", "pids", "devices"), f"/libpod_parent/libpod-{ID}")),
        PODMAN,
    ),
    "podman, v2": (v2(f"/machine.slice/libpod-{ID}.scope/container"), PODMAN),
    "podman, v2, in a pod": (v2(f"/machine.slice/machine-libpod_pod_{'e' * 64}.slice/libpod-{ID}.scope"), PODMAN),
    "podman, v2, rootless": (
        v2(f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container"),
        PODMAN,
    ),
    "podman, v2, of a systemd unit (--cgroups=split)": (v2(f"/system.slice/web.service/libpod-payload-{ID}"), PODMAN),
    "podman, v2, its monitor in that unit": (v2("/system.slice/web.service/runtime"), Membership(unit="web")),
    # systemd-nspawn, LXC
    "nspawn, v1": (v1("/machine.slice/machine-web.scope"), Membership("web", "systemd-nspawn")),
    "nspawn, v2, of a unit": (
        v2("/machine.slice/systemd-nspawn@web.service/payload/system.slice/nginx.service"),
        Membership("web", "systemd-nspawn", None, "nginx"),
    ),
    "nspawn, hybrid": (
        v1("/machine.slice/machine-web.scope/payload", unified="/machine.slice/machine-web.scope/payload"),
        Membership("web", "systemd-nspawn"),
    ),
    "lxc, v1": (v1("/lxc/web"), Membership("web", "lxc")),
    "lxc, hybrid": (v1("/lxc.payload/web", unified="/lxc.payload/web/init.scope"), Membership("web", "lxc")),
    "lxc, v2, with systemd": (
        v2("/lxc.payload.web/system.slice/nginx.service"),
        Membership("web", "lxc", None, "nginx"),
    ),
    "lxc, v2, its monitor": (v2("/lxc.monitor.web"), Membership()),
    # none
    "the node's own service, v1": (
        v1("/system.slice/ssh.service", apart={"cpuset": "/", "freezer": "/"}),
        Membership(unit="ssh"),
    ),
    "the node's own service, hybrid": (
        v1("/system.slice/ssh.service", unified="/system.slice/ssh.service"),
        Membership(unit="ssh"),
    ),
    "a session, v2": (v2("/user.slice/user-0.slice/session-3.scope"), Membership()),
    "no systemd, v1": (v1("/"), Membership()),
    "a container that sees itself only, v2": (v2("/"), Membership()),
}


@pytest.mark.parametrize("name", FILES)
def test_files(name: str) -> None:
    text, expected = FILES[name]
    assert membership(text) == expected
    assert membership("".join(reversed(text.splitlines(keepends=True)))) == expected
