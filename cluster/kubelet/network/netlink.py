"""Links, addresses and routes of one network namespace, by netlink.  Source: rtnetlink(7), veth(4), bridge(8).

The library is imported at the first use: it costs 0.4 s of start-up that most commands do not need.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

from cluster.kubelet.runtime.namespaces import Namespace, inside

_EEXIST, _ENODEV = 17, 19
_AF_INET = socket.AF_INET
_BRIDGE_PORT_HAIRPIN = 1


class NetlinkFailed(Exception):
    """The kernel refused; `code` is the errno."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Link:
    index: int
    name: str
    kind: str  # bridge, veth, ...; empty for hardware
    master: int  # index of the bridge it is a port of; 0: none
    mtu: int


class Netlink:
    """One open netlink socket.  Made by `open_netlink`; every method raises NetlinkFailed."""

    def __init__(self, route: Any) -> None:
        self._route = route

    async def links(self) -> Sequence[Link]:
        with _failures("list links"):
            return sorted([_link_of(one) async for one in await self._route.get_links()], key=lambda link: link.index)

    async def link(self, name: str) -> Link | None:
        return next((link for link in await self.links() if link.name == name), None)

    async def add_bridge(self, name: str, *, mac: str, mtu: int) -> None:
        """A bridge with a fixed hardware address: otherwise it takes its lowest port's and changes with the pods."""
        with _failures(f"add bridge {name}"):
            await self._route.link("add", ifname=name, kind="bridge", address=mac, mtu=mtu)

    async def set_bridge_filtering(self, index: int) -> None:
        """Have the packet filter see what this bridge switches, whatever the host-wide bridge-nf setting."""
        with _failures("set nf_call_iptables"):
            await self._route.link("set", index=index, kind="bridge", br_nf_call_iptables=1)

    async def add_veth(self, name: str, *, bridge: int, mtu: int, peer: str, peer_pid: int) -> None:
        """A pair: `name` up and a port of `bridge` here, `peer` in the namespace of process `peer_pid`."""
        with _failures(f"add interface {name}"):
            await self._route.link(
                "add",
                ifname=name,
                kind="veth",
                mtu=mtu,
                master=bridge,
                state="up",
                peer={"ifname": peer, "mtu": mtu, "net_ns_pid": peer_pid},
            )

    async def set_hairpin(self, index: int) -> None:
        """Let a bridge port send back what it received: a pod that reaches itself through its Service."""
        with _failures("set hairpin"):
            await self._route.brport("set", index=index, mode=_BRIDGE_PORT_HAIRPIN)

    async def set_up(self, index: int) -> None:
        with _failures("set link up"):
            await self._route.link("set", index=index, state="up")

    async def set_mtu(self, index: int, mtu: int) -> None:
        with _failures("set mtu"):
            await self._route.link("set", index=index, mtu=mtu)

    async def delete_link(self, index: int) -> None:
        """Idempotent."""
        with _failures("delete link", ignore=_ENODEV):
            await self._route.link("del", index=index)

    async def addresses(self, index: int) -> Sequence[IPv4Interface]:
        with _failures("list addresses"):
            return sorted(
                [
                    IPv4Interface((one.get_attr("IFA_ADDRESS"), one["prefixlen"]))
                    async for one in await self._route.get_addr(family=_AF_INET, index=index)
                ]
            )

    async def add_address(self, index: int, address: IPv4Interface) -> None:
        """Idempotent."""
        with _failures(f"add address {address}", ignore=_EEXIST):
            await self._route.addr("add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen)

    async def delete_address(self, index: int, address: IPv4Interface) -> None:
        with _failures(f"delete address {address}"):
            await self._route.addr("del", index=index, address=str(address.ip), prefixlen=address.network.prefixlen)

    async def add_default_route(self, gateway_ip: str) -> None:
        """Idempotent."""
        with _failures("add default route", ignore=_EEXIST):
            await self._route.route("add", dst="0.0.0.0/0", gateway=gateway_ip)

    async def routed_ranges(self, *, except_through: int) -> Sequence[str]:
        """The destinations of all IPv4 routes but the default one and those through the link `except_through`."""
        with _failures("list routes"):
            found = {
                f"{one.get_attr('RTA_DST')}/{one['dst_len']}"
                async for one in await self._route.get_routes(family=_AF_INET)
                if one.get_attr("RTA_DST") and one.get_attr("RTA_OIF") != except_through
            }
        return sorted(found)


@asynccontextmanager
async def open_netlink(pid: int = 0) -> AsyncIterator[Netlink]:
    """The namespace this process is in, or that of process `pid`.  Raises OSError when that process is gone.

    A socket belongs for ever to the namespace it was made in, so only its making happens over there.
    """
    from pyroute2 import AsyncIPRoute

    if pid:
        if Path(f"/proc/{pid}/ns/net").samefile("/proc/thread-self/ns/net"):
            raise PermissionError(f"process {pid} is in the host's own network namespace")
        with inside(Namespace.NETWORK, pid):
            connection = _socket()
    else:
        connection = _socket()
    with connection:
        connection.setblocking(False)
        async with AsyncIPRoute(use_socket=connection) as route:
            yield Netlink(route)


def _socket() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)


def _link_of(message: Any) -> Link:
    information = message.get_attr("IFLA_LINKINFO")
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        kind=(information.get_attr("IFLA_INFO_KIND") or "") if information else "",
        master=message.get_attr("IFLA_MASTER") or 0,
        mtu=message.get_attr("IFLA_MTU") or 0,
    )


@contextmanager
def _failures(what: str, *, ignore: int = 0) -> Iterator[None]:
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        yield
    except NetlinkError as error:
        if error.code != ignore:
            raise NetlinkFailed(error.code, f"cannot {what}: {error}") from error
