"""What doctor finds on this very node, compared with what the node says by other means."""

from __future__ import annotations

import os
import platform
import pwd
import socket
import subprocess
from pathlib import Path

import msgspec
import pytest

from apisensor.cli.doctor import probes
from apisensor.cli.doctor.facts import Account, Facts
from apisensor.processes.capabilities import NUMBERS
from apisensor.settings import load_settings
from tests.cli.invoke import apisensor
from tests.live.sensor import Sensor


@pytest.fixture(scope="module")
def facts() -> Facts:
    settings = load_settings("/dev/null", {}, ["general.user=no-such-user", "general.state_directory=/usr"])
    return probes.probe(settings, {})


def test_facts_of_this_node(facts: Facts) -> None:
    assert facts.kernel == platform.release()
    assert facts.euid == os.geteuid()
    assert facts.accounts == [Account("no-such-user", None), Account("nobody", pwd.getpwnam("nobody").pw_uid)]
    assert facts.directories[0].exists
    assert facts.directories[0].owner == "root"
    assert facts.directories[0].mode & 0o755 == 0o755
    assert facts.otlp_endpoint is None
    assert facts.memory_available is not None
    assert 0 < facts.memory_available <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert facts.uapi_headers == Path("/usr/include/linux/bpf.h").exists()
    assert facts.cgroups in ("v1", "v2", "hybrid")
    assert "allow" in facts.seccomp_actions


def test_capabilities_are_the_kernels(facts: Facts) -> None:
    text = subprocess.run(
        ["sh", "-c", "grep CapEff /proc/self/status"], capture_output=True, text=True, check=True
    ).stdout
    mask = int(text.split()[1], 16)
    assert facts.capabilities == frozenset(name for name, bit in NUMBERS.items() if mask & (1 << bit))
    header = Path("/usr/include/linux/capability.h")
    if header.exists():
        defined = {
            line.split()[1]: line.split()[2] for line in header.read_text().splitlines() if "#define CAP_" in line
        }
        assert {name: str(bit) for name, bit in NUMBERS.items()}.items() <= defined.items()


def test_bcc_is_asked_of_the_distributions_python(facts: Facts) -> None:
    program = "import bcc; print(bcc.__version__)"
    done = subprocess.run(["/usr/bin/python3", "-I", "-c", program], capture_output=True, text=True, check=False)
    assert facts.bcc.version == (done.stdout.strip() if done.returncode == 0 else None)


@pytest.mark.kernel
def test_features_that_only_trying_tells(facts: Facts) -> None:
    assert facts.ring_buffer is True
    version = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])
    assert facts.uprobe_multi is (version >= (6, 6))


def test_an_impostor_is_told_from_bcc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\nprintf '1.0\\nFalse\\n/usr/local/lib/bcc.py\\n'\n")
    python.chmod(0o755)
    monkeypatch.setattr(probes, "DISTRIBUTION_PYTHON", str(python))
    found = probes._bcc()
    assert (found.version, found.is_bpf, found.path) == ("1.0", False, "/usr/local/lib/bcc.py")
    monkeypatch.setattr(probes, "DISTRIBUTION_PYTHON", str(tmp_path / "none"))
    assert probes._bcc().version is None


@pytest.mark.parametrize(
    ("environ", "endpoint"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, "collector:4318"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector/otlp"}, "collector:443"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}, "collector:4317"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://[::1]:4317"}, "::1:4317"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b:2"}, "b:2"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1", "OTEL_SDK_DISABLED": "true"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:99999"}, "a:80"),
    ],
)
def test_endpoints(environ: dict[str, str], endpoint: str | None) -> None:
    assert probes._otlp_endpoint(environ) == endpoint


def test_whether_a_collector_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert probes._unreachable(f"127.0.0.1:{port}") is None
    assert probes._unreachable(f"127.0.0.1:{port}") == "Connection refused"


def test_as_json_with_its_exit_status(tmp_path: Path) -> None:
    done = apisensor("doctor", "--format", "json", "--set", f"general.runtime_directory={tmp_path}")
    document = msgspec.json.decode(done.stdout)
    failed = [check["name"] for check in document["checks"] if check["state"] == "fail"]
    assert done.returncode == (1 if failed else 0)
    assert document["ok"] is (not failed)
    assert done.stderr == ""
    shown = {check["name"]: check["state"] for check in document["checks"]}
    assert shown["settings"] == shown["sensor"] == "ok"


def test_as_a_table_with_a_running_sensor_and_a_wrong_setting(tmp_path: Path) -> None:
    with Sensor(str(tmp_path / "live.sock")):
        done = apisensor("doctor", "--set", f"general.runtime_directory={tmp_path}")
    assert "version 1.2.3 is running" in done.stdout
    assert "kernel.lost.ring_full 17" in done.stdout
    assert "\x1b" not in done.stdout
    wrong = apisensor("doctor", "--set", "worker.count=0")
    assert wrong.returncode == 1
    states = [
        line.split()[0] for line in wrong.stdout.splitlines() if line.startswith(("ok ", "unknown ", "warn ", "fail "))
    ]
    assert states == sorted(states, key=["ok", "unknown", "warn", "fail"].index), "what matters is at the end"
    assert states[-1] == "fail"
    assert "command line: worker.count = '0'" in wrong.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_without_rights_it_says_what_it_could_not_see() -> None:
    """In a child that has become nobody: the same probes, no privilege, no exception."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            facts = probes.probe(load_settings("/dev/null", {}), {})
            os.write(write, msgspec.json.encode({"unknown": facts.unknown, "held": sorted(facts.capabilities or ())}))
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        said = msgspec.json.decode(answer.read())
    os.waitpid(pid, 0)
    assert said["held"] == []
    assert said["unknown"]["ring_buffer"] == "not permitted to this user"
    assert said["unknown"]["uprobe_multi"] == "not permitted to this user"
