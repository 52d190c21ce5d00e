"""PodNetwork on a Linux bridge.  What it makes carries names of this cluster, so that two installations never meet."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path

from cluster.kubelet.network.addresses import AddressPool, NoFreeAddress
from cluster.kubelet.network.netlink import Link, Netlink, NetlinkFailed, open_netlink
from cluster.kubelet.runtime.api import EngineError, PodAddress
from cluster.kubelet.runtime.namespaces import Namespace, inside

POD_INTERFACE = "eth0"
_SYSCTL = Path("/proc/sys/net/ipv4")


@dataclass(frozen=True, slots=True)
class BridgeSettings:
    """`cidr` is this node's pod range.  Names are at most 15 bytes (IFNAMSIZ) and derive from the cluster id.

    `addresses` are further ones the node answers on for its pods: cluster DNS has its there.
    """

    cluster_id: str
    cidr: str
    mtu: int = 1500
    addresses: tuple[str, ...] = ()

    @property
    def bridge(self) -> str:
        return f"rb-{_digest(self.cluster_id)[:8]}"

    @property
    def port_prefix(self) -> str:
        return f"rv{_digest(self.cluster_id)[:4]}"

    @property
    def mac(self) -> str:
        """Locally administered, unicast."""
        digest = _digest(f"mac {self.cluster_id} {self.cidr}")
        return ":".join(["02", *(digest[at : at + 2] for at in range(0, 10, 2))])

    def port(self, pod_uid: str) -> str:
        """The host's end of the pod's veth pair."""
        return f"{self.port_prefix}{_digest(pod_uid)[:9]}"


class BridgeNetwork:
    """Raises EngineError `NetworkNotReady` where the kernel refuses.  Calls are serialised: they share links and addresses."""

    def __init__(self, settings: BridgeSettings) -> None:
        self._settings = settings
        self._pool = AddressPool(settings.cidr)
        self._lock = asyncio.Lock()

    @property
    def gateway_ip(self) -> str:
        return self._pool.gateway_ip

    @property
    def bridge(self) -> str:
        return self._settings.bridge

    async def setup(self) -> None:
        """Forwarding is switched on for the host and left on by `purge`: others may rely on it by then."""
        async with self._lock:
            try:
                async with open_netlink() as netlink:
                    await self._ensure_bridge(netlink)
                _write_sysctl("ip_forward", "1")
                # on the bridge only: NodePorts answer on 127.0.0.1 by being sent to a pod
                _write_sysctl(f"conf/{self._settings.bridge}/route_localnet", "1")
            except (NetlinkFailed, OSError) as error:
                raise _not_ready(error) from error

    async def attach(self, pod_uid: str, *, pid: int) -> PodAddress:
        async with self._lock:
            was_known = self._pool.of(pod_uid) is not None
            try:
                address = self._pool.allocate(pod_uid)
                await self._connect(pod_uid, pid, address)
            except NoFreeAddress as error:
                raise EngineError("CreatePodSandboxError", str(error)) from error
            except (NetlinkFailed, OSError) as error:
                if not was_known:
                    self._pool.release(pod_uid)
                raise _not_ready(error) from error
            return PodAddress(address)

    async def adopt(self, addresses: Mapping[str, str]) -> None:
        """Also removes the ports of pods that are not among `addresses`.  An address outside our range raises EngineError."""
        async with self._lock:
            try:
                self._pool.adopt(addresses)
                wanted = {self._settings.port(pod_uid) for pod_uid in addresses}
                async with open_netlink() as netlink:
                    for link in await netlink.links():
                        if self._is_port(link) and link.name not in wanted:
                            await netlink.delete_link(link.index)
            except (NetlinkFailed, OSError, ValueError) as error:
                raise _not_ready(error) from error

    async def connect(self, port: int, *, pid: int, address: str) -> socket.socket:
        try:
            return await _connected("127.0.0.1", port, pid)
        except ConnectionRefusedError:
            return await _connected(address, port, pid)

    async def detach(self, pod_uid: str) -> None:
        async with self._lock:
            try:
                async with open_netlink() as netlink:
                    link = await netlink.link(self._settings.port(pod_uid))
                    if link is not None:
                        await netlink.delete_link(link.index)
            except (NetlinkFailed, OSError) as error:
                raise _not_ready(error) from error
            self._pool.release(pod_uid)

    async def purge(self) -> None:
        async with self._lock:
            try:
                async with open_netlink() as netlink:
                    for link in await netlink.links():
                        is_bridge = link.name == self._settings.bridge and link.kind == "bridge"
                        if is_bridge or self._is_port(link):
                            await netlink.delete_link(link.index)
            except (NetlinkFailed, OSError) as error:
                raise _not_ready(error) from error
            self._pool.adopt({})

    async def _ensure_bridge(self, netlink: Netlink) -> Link:
        name = self._settings.bridge
        link = await netlink.link(name)
        if link is None:
            await netlink.add_bridge(name, mac=self._settings.mac, mtu=self._settings.mtu)
            link = await netlink.link(name)
        if link is None or link.kind != "bridge":
            raise OSError(f"{name} exists and is not a bridge")
        if link.mtu != self._settings.mtu:
            await netlink.set_mtu(link.index, self._settings.mtu)
        await netlink.set_bridge_filtering(link.index)
        wanted = [self._interface(self._pool.gateway_ip), *map(IPv4Interface, self._settings.addresses)]
        for address in await netlink.addresses(link.index):
            if address not in wanted:
                await netlink.delete_address(link.index, address)
        for address in wanted:
            await netlink.add_address(link.index, address)
        await netlink.set_up(link.index)
        return link

    async def _connect(self, pod_uid: str, pid: int, address: str) -> None:
        name = self._settings.port(pod_uid)
        wanted = self._interface(address)
        async with open_netlink() as host, open_netlink(pid) as pod:
            bridge = await host.link(self._settings.bridge) or await self._ensure_bridge(host)
            port = await host.link(name)
            inner = await pod.link(POD_INTERFACE)
            if port is None or inner is None:
                for netlink, link in ((host, port), (pod, inner)):
                    if link is not None:  # half a pair: what is left of an older sandbox, or of an attempt that failed
                        await netlink.delete_link(link.index)
                await host.add_veth(name, bridge=bridge.index, mtu=self._settings.mtu, peer=POD_INTERFACE, peer_pid=pid)
                port, inner = await host.link(name), await pod.link(POD_INTERFACE)
                if port is None or inner is None:
                    raise OSError(f"the interface of pod {pod_uid} vanished")
                await host.set_hairpin(port.index)
            loopback = await pod.link("lo")
            if loopback is not None:
                await pod.set_up(loopback.index)
            await pod.add_address(inner.index, wanted)
            await pod.set_up(inner.index)
            await pod.add_default_route(self._pool.gateway_ip)

    def _interface(self, address: str) -> IPv4Interface:
        return IPv4Interface((address, self._pool.network.prefixlen))

    def _is_port(self, link: Link) -> bool:
        return link.kind == "veth" and link.name.startswith(self._settings.port_prefix)


async def ranges_in_use(settings: BridgeSettings) -> Sequence[str]:
    """What this host routes already, our own bridge's range aside: the `taken` of `addresses.choose_cidr`.

    Raises EngineError.
    """
    try:
        async with open_netlink() as netlink:
            bridge = await netlink.link(settings.bridge)
            return await netlink.routed_ranges(except_through=bridge.index if bridge else 0)
    except (NetlinkFailed, OSError) as error:
        raise _not_ready(error) from error


async def _connected(address: str, port: int, pid: int) -> socket.socket:
    """A socket belongs for good to the namespace it was made in, so only its making happens there.  Raises OSError."""
    with inside(Namespace.NETWORK, pid):
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, (address, port))
    except BaseException:
        made.close()
        raise
    return made


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write_sysctl(name: str, value: str) -> None:
    """Only when it differs, so that a host whose /proc/sys is read-only but set up right works."""
    path = _SYSCTL / name
    if path.read_text().strip() != value:
        path.write_text(value)


def _not_ready(error: Exception) -> EngineError:
    return EngineError("NetworkNotReady", f"pod network: {error}")
