"""Which range the pods of a node get, and which address each pod.  Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

Network = ipaddress.IPv4Network

FALLBACK_POOLS = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
"""Where another range is looked for when the wanted one is taken (RFC 1918), in this order."""


class NoFreeRange(Exception):
    """Every private range of the wanted size overlaps something the host already uses."""


class NoFreeAddress(Exception):
    """The node's pod range is used up."""


def choose_cidr(wanted: str, taken: Iterable[str]) -> str:
    """`wanted`, or the next private range of its size that overlaps none of `taken` (routes, Docker's pools).

    A default route (0.0.0.0/0) takes nothing.  Raises NoFreeRange, and ValueError for what is no IPv4 range.
    """
    network = Network(wanted)
    used = sorted({Network(one, strict=False) for one in taken} - {Network("0.0.0.0/0")})
    if not any(network.overlaps(one) for one in used):
        return str(network)
    pools = [Network(pool) for pool in FALLBACK_POOLS]
    pools.sort(key=lambda pool: not pool.supernet_of(network))  # stay near the wish; otherwise the given order
    for pool in pools:
        if network.prefixlen < pool.prefixlen:
            continue
        after_wanted = int(network.broadcast_address) + 1 if pool.supernet_of(network) else 0
        for start in (after_wanted, int(pool.network_address)):
            candidate = _first_free(max(start, int(pool.network_address)), pool, network.prefixlen, used)
            if candidate is not None:
                return str(candidate)
    raise NoFreeRange(f"no private /{network.prefixlen} is free; the host uses {', '.join(map(str, used))}")


def _first_free(start: int, pool: Network, prefixlen: int, used: Iterable[Network]) -> Network | None:
    """The lowest range from `start` on; what is in the way is jumped over, so that the cost is that of `used`."""
    while start <= int(pool.broadcast_address):
        candidate = Network((start, prefixlen))
        in_the_way = next((one for one in used if candidate.overlaps(one)), None)
        if in_the_way is None:
            return candidate
        end = max(int(in_the_way.broadcast_address), int(candidate.broadcast_address)) + 1
        start = -(-end // candidate.num_addresses) * candidate.num_addresses  # rounded up to where one may begin
    return None


class AddressPool:
    """The addresses of one range, by pod uid.  The first is the gateway's; network and broadcast are never given.

    A freed address is given again as late as possible: peers may still hold connections to the old pod.
    """

    def __init__(self, cidr: str) -> None:
        self.network = Network(cidr)
        if self.network.prefixlen > 29:
            raise ValueError(f"the pod range {cidr} is too small: at least a /29")
        self.gateway_ip = str(self.network[1])
        self._by_pod: dict[str, str] = {}
        self._used: set[int] = set()
        self._next = 2

    def of(self, pod_uid: str) -> str | None:
        return self._by_pod.get(pod_uid)

    def allocate(self, pod_uid: str) -> str:
        """The pod's address; the same when asked again.  Raises NoFreeAddress."""
        known = self._by_pod.get(pod_uid)
        if known is not None:
            return known
        last = self.network.num_addresses - 2
        for step in range(last - 1):
            offset = 2 + (self._next - 2 + step) % (last - 1)
            if offset not in self._used:
                self._next = offset + 1
                return self._take(pod_uid, offset)
        raise NoFreeAddress(f"all {last - 1} addresses of {self.network} are in use")

    def adopt(self, addresses: Mapping[str, str]) -> None:
        """Forget everything but these.  Raises ValueError for an address outside the range or held by two pods."""
        self._by_pod.clear()
        self._used.clear()
        for pod_uid, address in sorted(addresses.items()):
            offset = int(ipaddress.IPv4Address(address)) - int(self.network.network_address)
            if not 2 <= offset <= self.network.num_addresses - 2:
                raise ValueError(f"{address} of pod {pod_uid} is not in {self.network}")
            if offset in self._used:
                raise ValueError(f"{address} is held by two pods")
            self._take(pod_uid, offset)
            self._next = max(self._next, offset + 1)

    def release(self, pod_uid: str) -> None:
        """Idempotent."""
        address = self._by_pod.pop(pod_uid, None)
        if address is not None:
            self._used.discard(int(ipaddress.IPv4Address(address)) - int(self.network.network_address))

    def _take(self, pod_uid: str, offset: int) -> str:
        address = str(self.network[offset])
        self._used.add(offset)
        self._by_pod[pod_uid] = address
        return address
