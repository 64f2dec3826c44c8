from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.enrich.cgroup import Membership, membership

A = "a" * 64
B = "0123456789abcdef" * 4
UID = "2b7b6f3c-0f5e-4f6b-9d8e-0123456789ab"
UNDERSCORES = UID.replace("-", "_")
STATIC = "5a37e2bd1d6b0a4f3c8e9d7b6a5f4e3d"

V1 = (
    "12:pids:{0}\n11:memory:{0}\n4:cpu,cpuacct:{0}\n1:name=systemd:{0}\n0::/system.slice/containerd.service\n"  # hybrid
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", Membership()),
        ("/init.scope", Membership()),
        (f"/docker/{A}", Membership(A, "docker")),
        (f"/system.slice/docker-{A}.scope", Membership(A, "docker")),
        (
            f"/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{A}.scope",
            Membership(A, "docker"),
        ),
        (f"/kubepods/burstable/pod{UID}/{A}", Membership(A, None, UID)),
        (f"/kubepods/pod{UID}/{A}", Membership(A, None, UID)),
        (f"/kubepods/besteffort/pod{UID}/crio-{A}", Membership(A, "cri-o", UID)),
        (f"/kubepods/burstable/pod{STATIC}/{A}", Membership(A, None, STATIC)),
        (
            f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UNDERSCORES}.slice/"
            f"cri-containerd-{A}.scope",
            Membership(A, "containerd", UID),
        ),
        (
            f"/kubepods.slice/kubepods-pod{UNDERSCORES}.slice/crio-{A}.scope",
            Membership(A, "cri-o", UID),
        ),
        (f"/kubepods.slice/kubepods-pod{UNDERSCORES}.slice/crio-{A}.scope/container", Membership(A, "cri-o", UID)),
        (
            f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UNDERSCORES}.slice/docker-{A}.scope",
            Membership(A, "docker", UID),
        ),
        (f"/kubepods.slice/kubepods-pod{UNDERSCORES}.slice/crio-conmon-{A}.scope", Membership(pod=UID)),
        (
            f"/system.slice/containerd.service/kubepods-burstable-pod{UNDERSCORES}.slice:cri-containerd:{A}",
            Membership(A, "containerd", UID),
        ),
        (f"/k8s.io/{A}", Membership(A, "containerd")),
        (f"/system.slice/nerdctl-{A}.scope", Membership(A, "containerd")),
        (f"/machine.slice/libpod-{A}.scope", Membership(A, "podman")),
        (f"/machine.slice/libpod-{A}.scope/container", Membership(A, "podman")),
        (f"/libpod_parent/libpod-{A}", Membership(A, "podman")),
        (f"/machine.slice/machine-libpod_pod_{B}.slice/libpod-{A}.scope", Membership(A, "podman")),
        (f"/machine.slice/libpod-conmon-{A}.scope", Membership()),
        (
            f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope/container",
            Membership(A, "podman"),
        ),
        ("/lxc/web1", Membership("web1", "lxc")),
        ("/lxc/web1/system.slice/nginx.service", Membership("web1", "lxc", None, "nginx")),
        ("/lxc.payload.web1/init.scope", Membership("web1", "lxc")),
        ("/lxc.payload/web1", Membership("web1", "lxc")),
        ("/lxc.monitor.web1", Membership()),
        ("/machine.slice/machine-web\\x2d1.scope/payload", Membership("web-1", "systemd-nspawn")),
        ("/machine.slice/machine-web1.scope/supervisor", Membership()),
        ("/machine.slice/systemd-nspawn@web1.service/supervisor", Membership()),
        ("/machine.slice/machine-web1.scope/payload/supervisor", Membership("web1", "systemd-nspawn")),
        (
            "/machine.slice/systemd-nspawn@web1.service/payload/system.slice/x.service",
            Membership("web1", "systemd-nspawn", None, "x"),
        ),
        ("/machine.slice/machine-qemu\\x2d1\\x2dvm.scope", Membership()),
        (f"/ecs/0123/{A}", Membership(A)),
        (f"/ecs/{STATIC}/{STATIC}-1234567890", Membership(f"{STATIC}-1234567890")),
        (f"/docker/{A}/docker/{B}", Membership(B, "docker")),
        (
            f"/docker/{A}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UNDERSCORES}.slice/"
            f"cri-containerd-{B}.scope",
            Membership(B, "containerd", UID),
        ),
        (f"/docker/{A}/system.slice/containerd.service", Membership(A, "docker", None, "containerd")),
        ("/system.slice/nginx.service", Membership(unit="nginx")),
        ("/system.slice/system-postgresql.slice/postgresql@15-main.service", Membership(unit="postgresql@15-main")),
        ("/system.slice/my\\x2dapp.service", Membership(unit="my-app")),
        ("/system.slice/app.service/workers", Membership(unit="app")),
        ("/system.slice/ssh.service", Membership(unit="ssh")),
        ("/user.slice/user-1000.slice/session-3.scope", Membership()),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/foo.service", Membership()),
        (f"/system.slice/docker-{A}.scope (deleted)", Membership(A, "docker")),
        (f"/../../docker/{A}", Membership(A, "docker")),
        (f"/docker/{A[:-1]}", Membership()),
        (f"/docker/{A[:-1]}G", Membership()),
    ],
)
def test_paths(path: str, expected: Membership) -> None:
    assert membership(f"0::{path}\n") == expected
    assert membership(f"1:name=systemd:{path}\n4:cpu,cpuacct:/\n0::/\n") == expected


def test_hybrid_layout_takes_the_path_that_says_most() -> None:
    assert membership(V1.format(f"/docker/{A}")) == Membership(A, "docker")
    assert membership(f"3:cpuset:/\n2:memory:/docker/{A}\n1:name=systemd:/\n0::/init.scope\n") == Membership(
        A, "docker"
    )


@pytest.mark.parametrize("text", ["", "\n", "x", "0::", "0:", "::", "0::relative", "\0", "0::/\udcff/x.service\n"])
def test_unreadable(text: str) -> None:
    membership(text)


@settings(deadline=None)  # the machine may be busy
@given(st.text(alphabet="0:/\n.-_abcpod\\x2dservicelxc", max_size=200))
def test_anything(text: str) -> None:
    membership(text)


@pytest.mark.kernel
def test_a_real_podman_container(tmp_path: Path) -> None:
    """A container of podman with runc, without image: its own cgroup file names it as podman does."""
    if shutil.which("podman") is None:
        pytest.fail("podman is not installed (tests/packages.txt)")
    root, cid_file = tmp_path / "root", tmp_path / "cid"
    for folder in ("proc", "sys", "dev", "tmp", "etc", "run"):
        (root / folder).mkdir(parents=True)
    for file in ("/bin/cat", "/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"):
        copy = root / file.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    options = ["--cidfile", str(cid_file), "--rm", "--network=host", "--ulimit", "nofile=1024:1024"]
    ran = subprocess.run(
        ["podman", "--runtime", "runc", "--cgroup-manager=cgroupfs", "run", *options, "--ulimit", "nproc=4096:4096",
         "--rootfs", str(root), "/bin/cat", "/proc/self/cgroup"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    found = membership(ran.stdout)
    assert found.runtime == "podman"
    assert found.container == cid_file.read_text().strip()
