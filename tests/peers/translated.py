"""Client and server in network namespaces of their own, with a node between them that translates addresses both ways,
as a Kubernetes service and a published port of a container do: neither end sees an address of the other."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack

from tests.peers.process import program

CLIENT, SERVER = "10.77.1.2", "10.77.2.2"
SERVICE, SERVICE_PORT = "10.96.0.1", 80
"""What the client connects to."""
NODE = "10.77.2.1"
"""Whom the server sees."""


class Translated:
    """The three namespaces; a context manager that removes them."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._names = {part: f"apisensor-{part}-{os.getpid()}" for part in ("client", "node", "server")}
        try:
            for name in self._names.values():
                _ip("netns", "add", name)
                self._stack.callback(_ip, "netns", "del", name)
                _ip("-n", name, "link", "set", "lo", "up")
            self._connect("client", CLIENT, "10.77.1.1")
            self._connect("server", SERVER, NODE)
            self._in_node("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Translated:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _connect(self, part: str, address: str, router: str) -> None:
        name, node = self._names[part], self._names["node"]
        _ip("-n", node, "link", "add", part, "type", "veth", "peer", "name", "eth0", "netns", name)
        for where, link, own in ((node, part, router), (name, "eth0", address)):
            _ip("-n", where, "address", "add", f"{own}/24", "dev", link)
            _ip("-n", where, "link", "set", link, "up")
        _ip("-n", name, "route", "add", "default", "via", router)

    def _in_node(self, *command: str) -> None:
        subprocess.run([*self.command("node"), *command], check=True, capture_output=True, timeout=20)

    def command(self, part: str) -> list[str]:
        """The beginning of a command that runs in a namespace; the process keeps its id."""
        return [program("ip"), "netns", "exec", self._names[part]]

    def publish(self, port: int) -> None:
        """The service is the server's port from now on."""
        nat = [program("iptables"), "-w", "-t", "nat"]
        to = f"{SERVER}:{port}"
        match = ("-p", "tcp", "-d", SERVICE, "--dport", str(SERVICE_PORT))
        self._in_node(*nat, "-A", "PREROUTING", *match, "-j", "DNAT", "--to-destination", to)
        self._in_node(*nat, "-A", "POSTROUTING", "-d", SERVER, "-j", "MASQUERADE")


def _ip(*arguments: str) -> None:
    subprocess.run([program("ip"), *arguments], check=True, capture_output=True, timeout=20)
