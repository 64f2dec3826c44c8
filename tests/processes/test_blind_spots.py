"""TLS that cannot be seen is named in the status: real programs, a server that never answers their hello."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from apisensor.capture.blind import UNKNOWN
from tests.peers.certificates import Certificate
from tests.peers.nginx import Nginx
from tests.peers.process import Peer, program, wait_until
from tests.peers.scenarios import BY_NAME
from tests.sensor import Sensor

pytestmark = pytest.mark.kernel

WAIT_S = 60.0
"""For a large program to start and send, and for the finder to read it, on a busy machine."""

_JAVA = """
import java.io.*;
import java.net.*;
import java.nio.file.*;
import java.security.*;
import java.security.cert.*;
import javax.net.ssl.*;

class Calls {
    public static void main(String[] arguments) throws Exception {
        KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null, null);
        try (InputStream file = Files.newInputStream(Path.of(arguments[1]))) {
            trusted.setCertificateEntry("x", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        TrustManagerFactory managers = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        managers.init(trusted);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, managers.getTrustManagers(), null);
        HttpsURLConnection.setDefaultSSLSocketFactory(context.getSocketFactory());
        for (int n = 0; n < 50; n++) {
            URL url = new URL(arguments[0] + "/java/" + n + "?status=200&size=4096");
            try (InputStream answer = url.openConnection().getInputStream()) {
                answer.readAllBytes();
            }
        }
        System.out.println("ready");
        System.in.read();
    }
}
"""


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that accepts, and reads for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            kept = []
            while True:
                try:
                    kept.append(listener.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]


def row(sensor: Sensor, pid: int) -> dict[str, Any]:
    """What is said of a process that has sent TLS records, once its files have been looked at: the records may be
    counted a report earlier, and until then nothing is known of its TLS."""
    found: list[dict[str, Any]] = []

    def there() -> bool:
        found[:] = [one for one in sensor.status()["processes"] if one["pid"] == pid and one["encrypted_bytes"]]
        return bool(found) and UNKNOWN not in (found[0]["note"] or "")

    wait_until(there, WAIT_S, f"process {pid} to have sent TLS records")
    return found[0]


def test_java(sensor: Sensor, silent: int) -> None:
    command = [program("keytool"), "-printcert", "-sslserver", f"127.0.0.1:{silent}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as java:
        try:
            seen = row(sensor, java.pid)
        finally:
            java.kill()
    assert seen["note"].startswith("blind spot: Java (JSSE): ")
    assert not seen["attached"]


_GRPCIO = """
import grpc, sys
channel = grpc.secure_channel(f"127.0.0.1:{sys.argv[1]}", grpc.ssl_channel_credentials())
grpc.channel_ready_future(channel).result(60)
"""


def test_grpcio(sensor: Sensor, silent: int, tmp_path: Path) -> None:
    """Its BoringSSL is linked in, and its symbols are gone."""
    peer = Peer([sys.executable, "-c", _GRPCIO, str(silent)], tmp_path / "stderr")
    try:
        seen = row(sensor, peer.pid)
    finally:
        peer.stop()
    assert seen["note"].startswith("blind spot: boringssl in ")
    assert "/cygrpc." in seen["note"]
    assert "without symbols" in seen["note"]
    assert "python3-grpcio" in seen["note"]  # as test_truth.py shows


def test_rustls(sensor: Sensor, silent: int, tmp_path: Path) -> None:
    """uv, which asks a package index."""
    index = f"https://127.0.0.1:{silent}/simple"
    place = ("--python", sys.executable, "--target", str(tmp_path / "target"))
    uv = str(Path(sys.executable).with_name("uv"))
    command = [uv, "pip", "install", "--no-cache", *place, "--index-url", index, "nothing"]
    peer = Peer(command, tmp_path / "stderr")
    try:
        seen = row(sensor, peer.pid)
    finally:
        peer.stop()
    assert seen["note"].startswith("blind spot: rustls in ")
    assert not seen["attached"]
    sensor.wait_for_report()
    assert row(sensor, peer.pid)["note"] == seen["note"], "it has ended"


def test_handshakes_are_seen_too(sensor: Sensor, tmp_path: Path) -> None:
    """A server with memory BIOs has received the client's first record before anything tells whose it is."""
    for name in ("aiohttp-new-50", "node-new-50"):
        with replace(BY_NAME[name], count=100).start(tmp_path / name) as run:
            sensor.attached(run.pids)
            pids = {call.pid for call in run.drive().calls}
            sensor.wait_for_report()
            found = [one for one in sensor.status()["processes"] if one["pid"] in pids]
        assert len(found) == 2
        for one in found:
            assert (one["unseen_bytes"], one["blind"], one["note"]) == (0, False, None), one
            assert one["encrypted_bytes"] > one["decrypted_bytes"] > 100_000


def test_chromium(sensor: Sensor, silent: int, tmp_path: Path) -> None:
    """It has NSS mapped for its certificates and GnuTLS for its printers, and speaks TLS by a BoringSSL of its own."""
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-proxy-server")
    command = [program("chromium"), *options, f"--user-data-dir={tmp_path}/user"]
    peer = Peer([*command, f"https://127.0.0.1:{silent}/"], tmp_path / "stderr")
    notes: list[str] = []

    def named() -> bool:
        rows = sensor.status()["processes"]
        ours = [one for one in rows if "chromium" in (one["executable"] or "") and one["encrypted_bytes"]]
        notes[:] = [one["note"] or "" for one in ours]
        return any(one["blind"] for one in ours) and not any(UNKNOWN in note for note in notes)

    try:
        wait_until(named, WAIT_S, "chromium to have sent TLS records")
    finally:
        peer.stop()
    assert all(note.startswith("blind spot: boringssl in ") for note in notes), notes


def test_a_library_that_is_attached_is_none(sensor: Sensor, silent: int, tmp_path: Path) -> None:
    peer = Peer(["curl", "-sk", f"https://127.0.0.1:{silent}/"], tmp_path / "stderr")
    try:
        seen = row(sensor, peer.pid)
    finally:
        peer.stop()
    assert seen["attached"]
    assert "blind spot" not in (seen["note"] or "")


_TWO_KINDS = """
import os, socket, ssl, sys
http, silent, certificate = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
context = ssl.create_default_context(cafile=certificate)
with context.wrap_socket(socket.create_connection(("127.0.0.1", http)), server_hostname="127.0.0.1") as seen:
    seen.sendall(b"GET /two-kinds?status=200&size=0 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    seen.recv(1000)
with socket.create_connection(("127.0.0.1", silent)) as unseen:
    for _ in range(100):
        unseen.sendall(b"\\x17\\x03\\x03\\x20\\x00" + os.urandom(8192))
    print("ready", flush=True)
    sys.stdin.read()
"""
"""One call through OpenSSL, and 800 KB as a TLS of the program's own would send them."""


def test_a_second_tls_in_a_process_that_is_seen(
    sensor: Sensor, silent: int, certificate: Certificate, tmp_path: Path
) -> None:
    nginx = Nginx(tmp_path / "nginx", certificate)
    arguments = [str(nginx.ports.tls), str(silent), str(certificate.certificate)]
    peer = Peer([sys.executable, "-c", _TWO_KINDS, *arguments], tmp_path / "stderr")
    try:
        peer.wait_ready()
        wait_until(lambda: row(sensor, peer.pid)["unseen_bytes"] >= 100 * 8192, WAIT_S, "all its bytes to be counted")
        seen = row(sensor, peer.pid)
        page = sensor.command("status")
    finally:
        peer.stop()
        nginx.stop()
    assert seen["attached"]
    assert not seen["blind"]
    assert 0 < seen["decrypted_bytes"] < 1000
    assert seen["unseen_bytes"] == 100 * (5 + 8192)
    assert "of its TLS passed outside of" in seen["note"]
    assert "not seen" in page


def test_java_that_makes_calls(sensor: Sensor, certificate: Certificate, tmp_path: Path) -> None:
    """What a user is shown: which process, how much of it, why, and what would help."""
    nginx = Nginx(tmp_path / "nginx", certificate)
    program_text = tmp_path / "Calls.java"
    program_text.write_text(_JAVA)
    base = nginx.base("127.0.0.1", "http/1.1", tls=True)
    peer = Peer([program("java"), str(program_text), base, str(certificate.certificate)], tmp_path / "stderr")
    try:
        peer.wait_ready()
        wait_until(lambda: row(sensor, peer.pid)["encrypted_bytes"] > 50 * 4096, WAIT_S, "its bytes to be counted")
        seen = row(sensor, peer.pid)
        listed = sensor.command("status").split("\nProcesses\n")[1].splitlines()
    finally:
        peer.stop()
        nginx.stop()
    assert len(nginx.calls()) == 50
    assert (seen["blind"], seen["attached"], seen["decrypted_bytes"]) == (True, False, 0)
    assert seen["unseen_bytes"] == seen["encrypted_bytes"]
    for words in ("blind spot: Java (JSSE): ", "its code is made while it runs", "nginx, HAProxy"):
        assert words in seen["note"]
    assert os.path.basename(seen["executable"]) == "java"
    # The page for a person lists blind processes first; a note takes several lines.
    assert " blind " in listed[1], listed[:6]
    line, note = [line for line in listed if line.split()[:1] == [str(seen["pid"])]]
    assert " blind " in line
    assert "blind spot: Java (JSSE)" in note
