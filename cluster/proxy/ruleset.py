"""A `ServiceMap` as nftables: one table, a fixed set of chains, everything variable in map and set elements.

Pure.  A new connection to a frontend is looked up in `frontends` (address, protocol, port) or, when its address is one of
the node's, in `ports`; the verdict is a chain that picks a slot and sends the connection to that slot's endpoint in
`endpoints` or `port_endpoints`.  There is one chain for each number of slots, so no chain or rule belongs to a Service and
a change at 5,000 Services is a few elements.

- `spread_N` picks among N endpoints at random; `hash_N` picks one of N slots by the client's address: session affinity
  without state.  Slots are given to endpoints by rendezvous hashing, so a change of endpoints moves only the clients that
  must move, and every node picks alike.  Difference from upstream: affinity does not expire, `timeoutSeconds` is a least.
- The chains run after Docker's (priority -90 against -100): a port that a container published stays that container's.
- A pod that reaches itself through its Service is masqueraded, else it would answer itself directly.
- Frontends without endpoints, and other ports of cluster addresses, are rejected after the look-up has found nothing.
- 127.0.0.0/8 on the pod bridge is dropped: `route_localnet` is on there, so that node ports answer on 127.0.0.1.

Sources: nft(8); the order of hooks in nf_nat(4); upstream pkg/proxy/nftables/README.md.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network
from typing import TypeAlias

from cluster.proxy.services import Endpoint, Frontend, ServiceMap, is_ipv4

Elements: TypeAlias = Mapping[str, str]
"""Element to its value, both in nft's words; the value of a set's element is empty."""

SPREAD_MIN = 16
"""Chains exist for at least so many endpoints, then for the next power of two: scaling seldom changes the structure."""
HASH_SLOTS = (64, 512, 4096)
"""Slots of an affinity chain: the least that gives eight to each endpoint, so that shares are nearly equal."""

MAP_TYPES: Mapping[str, str] = {
    "frontends": "type ipv4_addr . inet_proto . inet_service : verdict",
    "ports": "type inet_proto . inet_service : verdict",
    # Slots have the type of a random number; a map typed by jhash makes nft 1.0.6 crash when it is listed.
    "endpoints": "typeof ip daddr . meta l4proto . th dport . numgen random mod 2 : ip daddr . tcp dport",
    "port_endpoints": "typeof meta l4proto . th dport . numgen random mod 2 : ip daddr . tcp dport",
}
SET_TYPES: Mapping[str, str] = {
    "cluster_ips": "type ipv4_addr",
    "hairpin": "type ipv4_addr . ipv4_addr",
    "masquerade_tcp": "type inet_service",
    "masquerade_udp": "type inet_service",
    "rejected": "type ipv4_addr . inet_proto . inet_service",
    "rejected_ports": "type inet_proto . inet_service",
}
COLLECTIONS = (*MAP_TYPES, *SET_TYPES)


@dataclass(frozen=True, slots=True)
class NodeNetwork:
    """What the rules need of the node.  `pods` is the cluster's whole pod range, `node_pods` this node's part.

    Raises ValueError for what must not stand in a rule.
    """

    cluster_id: str
    bridge: str
    pods: str
    node_pods: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", self.cluster_id):
            raise ValueError(f"cluster id {self.cluster_id!r} cannot name a table")
        if not re.fullmatch(r"[a-zA-Z0-9_.-]{1,15}", self.bridge):
            raise ValueError(f"{self.bridge!r} is no interface name")
        IPv4Network(self.pods)
        IPv4Network(self.node_pods)

    @property
    def table(self) -> str:
        return f"reconciler-{self.cluster_id}"


@dataclass(frozen=True, slots=True)
class Ruleset:
    """A complete table.  Two with equal `network` and `spread_max` differ in elements only."""

    network: NodeNetwork
    spread_max: int
    elements: Mapping[str, Elements]

    @property
    def count(self) -> int:
        return sum(len(one) for one in self.elements.values())

    def text(self) -> str:
        """The table as `nft -f` reads it, sorted: equal rulesets print equally."""
        lines = [f"table ip {self.network.table} {{"]
        for kind, types in (("map", MAP_TYPES), ("set", SET_TYPES)):
            for name, type_ in types.items():
                lines += [f"\t{kind} {name} {{", f"\t\t{type_}", *_listed(self.elements[name]), "\t}"]
        for name, rules in chains(self.network, self.spread_max).items():
            lines += [f"\tchain {name} {{", *(f"\t\t{rule}" for rule in rules), "\t}"]
        return "\n".join((*lines, "}", ""))


def ruleset(services: ServiceMap, network: NodeNetwork) -> Ruleset:
    """The table that serves `services` on this node."""
    elements: dict[str, dict[str, str]] = {name: {} for name in COLLECTIONS}
    most = SPREAD_MIN
    pods = IPv4Network(network.node_pods)
    low, high = int(pods.network_address), int(pods.broadcast_address)
    for address in services.cluster_ips:
        elements["cluster_ips"][address] = ""
    for frontend in services.frontends:
        most = max(most, 0 if frontend.affinity else len(frontend.endpoints))
        _add(elements, frontend)
        for endpoint in frontend.endpoints:
            if low <= _number(endpoint.address) <= high:
                elements["hairpin"][f"{endpoint.address} . {endpoint.address}"] = ""
    return Ruleset(network, 1 << (most - 1).bit_length(), elements)


def chains(network: NodeNetwork, spread_max: int) -> Mapping[str, Sequence[str]]:
    """The rules of every chain; a base chain's first line is its hook."""
    bridge, loopback = f'"{network.bridge}"', "127.0.0.0/8"
    dispatch = (
        "ip daddr . meta l4proto . th dport vmap @frontends",
        "fib daddr type local meta l4proto . th dport vmap @ports",
    )
    found: dict[str, Sequence[str]] = {}
    for slots, kind in [
        *((count, "spread") for count in range(1, spread_max + 1)),
        *((count, "hash") for count in HASH_SLOTS),
    ]:
        # The seed is fixed: affinity survives a reload, and all nodes agree.
        slot = f"numgen random mod {slots}" if kind == "spread" else f"jhash ip saddr mod {slots} seed 1"
        # One rule for each protocol: where none is named before `dnat` with a port, nft reads `th` as tcp.
        found[f"{kind}_{slots}"] = tuple(
            f"meta l4proto {protocol} dnat ip to ip daddr . meta l4proto . {protocol} dport . {slot} map @endpoints"
            for protocol in ("tcp", "udp")
        )
        found[f"port_{kind}_{slots}"] = tuple(
            f"meta l4proto {protocol} dnat ip to meta l4proto . {protocol} dport . {slot} map @port_endpoints"
            for protocol in ("tcp", "udp")
        )
    found["prerouting"] = ("type nat hook prerouting priority -90; policy accept;", *dispatch)
    found["output"] = ("type nat hook output priority -90; policy accept;", *dispatch)
    of_ours = "ct original ip daddr != @cluster_ips masquerade"
    found["postrouting"] = (
        "type nat hook postrouting priority 100; policy accept;",
        "ct status dnat ip saddr . ip daddr @hairpin masquerade",
        f"ct status dnat meta l4proto tcp ct original proto-dst @masquerade_tcp {of_ours}",
        f"ct status dnat meta l4proto udp ct original proto-dst @masquerade_udp {of_ours}",
        f"ct status dnat oifname {bridge} ip saddr {loopback} masquerade",
        f"ip saddr {network.node_pods} ip daddr != {network.pods} oifname != {bridge} masquerade",
    )
    found["martians"] = (
        "type filter hook prerouting priority -300; policy accept;",
        f"iifname {bridge} ip saddr {loopback} drop",
        f"iifname {bridge} ip daddr {loopback} drop",
    )
    rejects = ("ip daddr . meta l4proto . th dport @rejected reject",)
    found["input"] = (
        "type filter hook input priority 0; policy accept;",
        *rejects,
        "ct status & dnat == 0 fib daddr type local meta l4proto . th dport @rejected_ports reject",
    )
    found["forward"] = ("type filter hook forward priority 0; policy accept;", "ip daddr @cluster_ips reject")
    found["filter_output"] = (
        "type filter hook output priority 0; policy accept;",
        'oifname != "lo" ip daddr @cluster_ips reject',
    )
    return found


def _add(elements: dict[str, dict[str, str]], frontend: Frontend) -> None:
    port = f"{frontend.protocol.lower()} . {frontend.port}"
    by_port = not frontend.address
    front = port if by_port else f"{frontend.address} . {port}"
    if not frontend.endpoints:
        elements["rejected_ports" if by_port else "rejected"][front] = ""
        return
    slots = _slots(frontend)
    kind = "hash" if frontend.affinity else "spread"
    elements["ports" if by_port else "frontends"][front] = f"goto {'port_' if by_port else ''}{kind}_{len(slots)}"
    into = elements["port_endpoints" if by_port else "endpoints"]
    for slot, endpoint in enumerate(slots):
        into[f"{front} . {slot}"] = f"{endpoint.address} . {endpoint.port}"
    if frontend.masquerade:
        elements[f"masquerade_{frontend.protocol.lower()}"][str(frontend.port)] = ""


def _slots(frontend: Frontend) -> Sequence[Endpoint]:
    if not frontend.affinity:
        return frontend.endpoints
    wanted = 8 * len(frontend.endpoints)
    count = next((one for one in HASH_SLOTS if one >= wanted), HASH_SLOTS[-1])
    if len(frontend.endpoints) == 1:
        return frontend.endpoints * count
    return [_heaviest(frontend.endpoints, slot) for slot in range(count)]


def _heaviest(endpoints: Sequence[Endpoint], slot: int) -> Endpoint:
    """The address alone decides, so that a client finds all ports of a Service in one pod."""
    return max(endpoints, key=lambda one: (_weight(one.address, slot), one))


def _weight(address: str, slot: int) -> bytes:
    return hashlib.blake2b(f"{address}/{slot}".encode(), digest_size=8).digest()


@lru_cache(maxsize=32_768)
def _number(address: str) -> int:
    """Remembered: every change looks at every endpoint again."""
    if not is_ipv4(address):
        raise ValueError(f"{address!r} is no IPv4 address")
    first, second, third, fourth = address.split(".")
    return int(first) << 24 | int(second) << 16 | int(third) << 8 | int(fourth)


def _listed(elements: Elements) -> Sequence[str]:
    if not elements:
        return ()
    return ("\t\telements = {", *(f"\t\t\t{element_text(key, elements[key])}," for key in sorted(elements)), "\t\t}")


def element_text(key: str, value: str) -> str:
    return f"{key} : {value}" if value else key
