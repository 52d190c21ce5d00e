"""Host ports of pods, held while their pods run: none is taken from a program of this host, and none can take it meanwhile.

The packets themselves are the proxy's, which sends them on before any socket sees them.
Upstream: pkg/kubelet/dockershim/network/hostport (removed with it), which held sockets too.
"""

from __future__ import annotations

from cluster.kubelet.host import HeldPort, Host
from cluster.kubelet.podspec import ContainerKind, containers_of_kind, is_host_network
from cluster.machinery.objects import Obj, uid_of

PROTOCOLS = ("TCP", "UDP")


class HostPortTaken(Exception):
    """A program of this host, or another pod, has the port."""


def host_ports_of(pod: Obj) -> tuple[tuple[str, str, int], ...]:
    """Address (0.0.0.0: all), protocol and number of each; none for a pod that is in the host's network itself."""
    if is_host_network(pod):
        return ()
    found: dict[tuple[str, str, int], None] = {}
    for container in containers_of_kind(pod, ContainerKind.SIDECAR, ContainerKind.APP):
        for port in container.spec.get("ports") or ():
            protocol = str(port.get("protocol") or "TCP")
            if port.get("hostPort") and protocol in PROTOCOLS:
                found[str(port.get("hostIP") or "0.0.0.0"), protocol, int(port["hostPort"])] = None
    return tuple(found)


class HostPorts:
    """Which pod holds which ports of `host`; one per node."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._held: dict[str, tuple[HeldPort, ...]] = {}

    def claim(self, pod: Obj) -> None:
        """Hold all ports of the pod; repeating does nothing.  Raises HostPortTaken, and then it holds none."""
        if uid_of(pod) in self._held:
            return
        held: list[HeldPort] = []
        for address, protocol, number in host_ports_of(pod):
            try:
                held.append(self._host.hold_port(address, protocol, number))
            except OSError as error:
                for port in held:
                    port.close()
                where = "" if address == "0.0.0.0" else f" of {address}"
                raise HostPortTaken(f"cannot take host port {number}/{protocol}{where}: {error.strerror}") from error
        if held:
            self._held[uid_of(pod)] = tuple(held)

    def release(self, uid: str) -> None:
        """Let go of the pod's ports, if it has any."""
        for port in self._held.pop(uid, ()):
            port.close()

    def release_all(self) -> None:
        for uid in sorted(self._held):
            self.release(uid)
