"""Hosts made of network namespaces: one node with a pod bridge, pods on it, and a machine on its LAN.

Everything is named with the prefix `px` and this process's id.  The node's own FORWARD policy is DROP with Docker's chain
for users before it, as on a host where Docker runs.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

from cluster.proxy.commands import Commands

BRIDGE = "rb-px"
NODE_IP, CLIENT_IP = "192.0.2.1", "192.0.2.9"
GATEWAY = "10.244.0.1"

_numbers = itertools.count()

_SERVER = """
import socket, sys, threading
name, port = sys.argv[1], int(sys.argv[2])
def udp():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", port))
    while True:
        _, peer = s.recvfrom(100); s.sendto(f"{name} {peer[0]}".encode(), peer)
t = socket.socket(); t.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); t.bind(("0.0.0.0", port)); t.listen(100)
threading.Thread(target=udp, daemon=True).start()
print("ready", flush=True)
while True:
    c, peer = t.accept(); c.sendall(f"{name} {peer[0]}".encode()); c.close()
"""
_CLIENT = """
import socket, sys
kind, address, port, count, source = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
for _ in range(count):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    s.settimeout(3)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if source: s.bind((source.partition(":")[0], int(source.partition(":")[2] or 0)))
    try:
        s.connect((address, port))
        if kind == "udp": s.send(b"?")
        print(s.recv(100).decode())
    except ConnectionRefusedError: print("refused")
    except TimeoutError: print("timeout")
    except OSError as error: print(error)
"""


class Host:
    """One network namespace; `close` ends what runs in it and deletes it."""

    def __init__(self, name: str) -> None:
        self.name = f"px{os.getpid()}-{next(_numbers)}{name}"
        run("ip", "netns", "add", self.name)
        self._children: list[subprocess.Popen[str]] = []
        self.run("ip", "link", "set", "lo", "up")

    @property
    def prefix(self) -> tuple[str, ...]:
        return ("nsenter", f"--net=/run/netns/{self.name}")

    @property
    def commands(self) -> Commands:
        return Commands(self.prefix)

    def run(self, *command: str) -> str:
        return run(*self.prefix, *command)

    def set_sysctl(self, name: str, value: str) -> None:
        self.run("sh", "-c", f"echo {value} > /proc/sys/net/{name}")

    def serve(self, name: str, port: int) -> None:
        """Answer each TCP connection and UDP packet with `NAME PEER-ADDRESS`."""
        child = subprocess.Popen(
            [*self.prefix, sys.executable, "-c", _SERVER, name, str(port)], stdout=subprocess.PIPE, text=True
        )
        self._children.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"

    def ask(self, address: str, port: int, *, kind: str = "tcp", count: int = 1, source: str = "") -> list[str]:
        """What each of `count` new connections was answered."""
        return self.run(sys.executable, "-c", _CLIENT, kind, address, str(port), str(count), source).splitlines()

    def close(self) -> None:
        for child in self._children:
            child.kill()
            child.wait()
            assert child.stdout is not None
            child.stdout.close()
        run("ip", "netns", "del", self.name)


class Site:
    """A node, its pods `a` (10.244.0.2) and `b` (10.244.0.3) serving on 8080, and a client machine."""

    def __init__(self) -> None:
        self._hosts: list[Host] = []
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def _build(self) -> None:
        self.node, self.client = self._host("n"), self._host("c")
        node = self.node
        node.run("ip", "link", "add", BRIDGE, "type", "bridge", "nf_call_iptables", "1")
        node.run("ip", "addr", "add", f"{GATEWAY}/24", "dev", BRIDGE)
        node.run("ip", "link", "set", BRIDGE, "up")
        self._wire(node, "lan", self.client, "eth0")
        node.run("ip", "addr", "add", f"{NODE_IP}/24", "dev", "lan")
        self.client.run("ip", "addr", "add", f"{CLIENT_IP}/24", "dev", "eth0")
        node.run("ip", "route", "add", "default", "via", CLIENT_IP)
        node.set_sysctl("ipv4/ip_forward", "1")
        node.set_sysctl(f"ipv4/conf/{BRIDGE}/route_localnet", "1")
        node.run("iptables", "-P", "FORWARD", "DROP")
        node.run("iptables", "-N", "DOCKER-USER")
        node.run("iptables", "-A", "DOCKER-USER", "-j", "RETURN")
        node.run("iptables", "-I", "FORWARD", "-j", "DOCKER-USER")
        self.a, self.b = self._pod("a", "10.244.0.2"), self._pod("b", "10.244.0.3")

    def _pod(self, name: str, address: str) -> Host:
        pod = self._host(name)
        self._wire(self.node, f"v{name}", pod, "eth0")
        self.node.run("ip", "link", "set", f"v{name}", "master", BRIDGE)
        self.node.run("ip", "link", "set", f"v{name}", "type", "bridge_slave", "hairpin", "on")
        pod.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
        pod.run("ip", "route", "add", "default", "via", GATEWAY)
        pod.serve(name, 8080)
        return pod

    def _host(self, name: str) -> Host:
        host = Host(name)
        self._hosts.append(host)
        return host

    def _wire(self, one: Host, one_end: str, other: Host, other_end: str) -> None:
        one.run("ip", "link", "add", one_end, "type", "veth", "peer", "name", other_end, "netns", other.name)
        one.run("ip", "link", "set", one_end, "up")
        other.run("ip", "link", "set", other_end, "up")

    def close(self) -> None:
        for host in reversed(self._hosts):
            host.close()


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:6])}: {done.stderr}")
    return done.stdout
