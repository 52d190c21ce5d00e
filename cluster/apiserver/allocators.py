"""Cluster IPs and node ports: drawn from pools in the very transaction that writes the Service, given back likewise.

Every number in use has a key of its own outside the objects' prefix, created only if absent, so that two servers can never
hand out the same one.  What is in use is known from the Services themselves.  Upstream: registry/core/service/{ipallocator,
portallocator,storage/alloc.go}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import Any, Protocol

from cluster.apiserver.registry import Planned
from cluster.apiserver.state import Row, State, TableId, subscriptions
from cluster.base.entropy import Entropy
from cluster.machinery.errors import Cause, InternalError, invalid_object
from cluster.machinery.objects import Key, Obj, field_of, key_of, with_field
from cluster.resources.catalog import Descriptor
from cluster.store.api import Delete, Operation, Put

SERVICES = TableId("", "services")
ALLOCATIONS = "/allocations/"
CLUSTER_NETWORK = IPv4Network("10.96.0.0/16")
HEADLESS = "None"
STATIC_BAND_MAX = 256
"""How many of the lowest addresses are left to those who ask for one by number (upstream: KEP-3070)."""


@dataclass(frozen=True, slots=True)
class ServicePools:
    """`reserved` are offsets in `network` that only an explicit request gets: .1 is the API, .10 the DNS."""

    network: IPv4Network = CLUSTER_NETWORK
    reserved: frozenset[int] = frozenset((0, 1, 10))
    port_low: int = 30000
    port_high: int = 32767

    @property
    def dynamic_from(self) -> int:
        """The first offset that is handed out unasked."""
        return min(max(16, self.network.num_addresses // 16), STATIC_BAND_MAX)


class Plans(Protocol):
    """One part of `Allocations`."""

    def plan(self, descriptor: Descriptor, new: Obj | None, old: Obj | None) -> Planned | None: ...


class Together:
    """Several allocations planned one after the other, as one: see `registry.Allocations`, also for `turn`."""

    def __init__(
        self, parts: Sequence[Plans], turn: Callable[[str], AbstractAsyncContextManager[object] | None]
    ) -> None:
        self._parts = tuple(parts)
        self.turn = turn

    def plan(self, descriptor: Descriptor, new: Obj | None, old: Obj | None) -> Planned | None:
        result: Planned | None = None
        for part in self._parts:
            try:
                planned = part.plan(descriptor, result.obj if result is not None and new is not None else new, old)
            except BaseException:
                if result is not None:
                    result.release()
                raise
            if planned is not None:
                result = planned if result is None else _joined(result, planned)
        return result


def _joined(first: Planned, second: Planned) -> Planned:
    def release() -> None:
        second.release()
        first.release()

    return Planned(second.obj, (*first.operations, *second.operations), release)


class ServiceAllocator:
    """See `registry.Allocations`.  `port_in_use` tells of ports that something outside the cluster listens on."""

    def __init__(self, state: State, entropy: Entropy, pools: ServicePools, port_in_use: Callable[[int], bool]) -> None:
        self._state = state
        self._entropy = entropy
        self._pools = pools
        self._port_in_use = port_in_use
        # Number in use, as text, to the Service that has it; and numbers in transactions under way.
        self._used: dict[str, Key] = {}
        self._pending: set[str] = set()

    def follow(self) -> None:
        """Learn what is in use; call once the state is loaded."""
        table = self._state.table(SERVICES)
        table.subscribers[next(subscriptions)] = self._on_change
        for row in table.ordered():
            self._on_change(None, row)

    def plan(self, descriptor: Descriptor, new: Obj | None, old: Obj | None) -> Planned | None:
        """Raises Invalid for a number that is taken or outside its pool, InternalError for an empty pool."""
        if descriptor.storage.kind != "Service" or descriptor.storage.group:
            return None
        if new is None:
            released = sorted(numbers_of(old or {}))
            return Planned(old or {}, tuple(Delete(ALLOCATIONS + number, None) for number in released))
        draw = _Draw(key_of(new), frozenset(numbers_of(old)) if old is not None else frozenset())
        try:
            obj = self._with_ports(self._with_address(new, old, draw), old, draw)
        except BaseException:
            self._pending.difference_update(draw.taken)
            raise
        operations: list[Operation] = [
            Put(ALLOCATIONS + number, str(draw.service).encode(), 0) for number in sorted(draw.taken)
        ]
        kept = frozenset(numbers_of(obj))
        operations += [Delete(ALLOCATIONS + number, None) for number in sorted(draw.had - kept)]
        return Planned(obj, tuple(operations), lambda: self._pending.difference_update(draw.taken))

    def _with_address(self, new: Obj, old: Obj | None, draw: _Draw) -> Obj:
        spec = new.get("spec") or {}
        if spec.get("type") == "ExternalName":
            bare = {name: value for name, value in spec.items() if name not in ("clusterIP", "clusterIPs")}
            return {**new, "spec": bare}
        wanted = spec.get("clusterIP") or next(iter(spec.get("clusterIPs") or ()), "")
        if not wanted and old is not None:
            wanted = field_of(old, "spec", "clusterIP", default="")
        if wanted == HEADLESS:
            address = HEADLESS
        elif wanted:
            address = self._claimed_address(new, wanted, draw)
        else:
            address = self._free_address(draw)
        return {**new, "spec": {**spec, "clusterIP": address, "clusterIPs": [address]}}

    def _claimed_address(self, new: Obj, wanted: str, draw: _Draw) -> str:
        try:
            inside = ip_address(wanted) in self._pools.network
        except ValueError:
            inside = False
        if not inside:
            raise _refused(
                new,
                "spec.clusterIPs",
                [wanted],
                f"failed to allocate IP {wanted}: the provided IP ({wanted}) is not in the valid range. "
                f"The range of valid IPs is {self._pools.network}",
            )
        if not self._take(_ip(wanted), draw):
            why = f"failed to allocate IP {wanted}: provided IP is already allocated"
            raise _refused(new, "spec.clusterIPs", [wanted], why)
        return wanted

    def _free_address(self, draw: _Draw) -> str:
        pools = self._pools
        last = pools.network.num_addresses - 2
        for offset in self._offsets(pools.dynamic_from, last):
            address = str(IPv4Address(int(pools.network.network_address) + offset))
            if offset not in pools.reserved and self._take(_ip(address), draw):
                return address
        for offset in range(1, pools.dynamic_from):
            address = str(IPv4Address(int(pools.network.network_address) + offset))
            if offset not in pools.reserved and self._take(_ip(address), draw):
                return address
        raise InternalError("failed to allocate a serviceIP: range is full")

    def _with_ports(self, new: Obj, old: Obj | None, draw: _Draw) -> Obj:
        spec = new["spec"]
        ports: Sequence[Obj] = spec.get("ports") or ()
        if not _needs_node_ports(spec):
            had = old is not None and _needs_node_ports(old.get("spec") or {})
            if had and any("nodePort" in port for port in ports):
                bare = [{name: value for name, value in port.items() if name != "nodePort"} for port in ports]
                return with_field(new, ("spec", "ports"), bare)
            return new
        before = {(port.get("port"), port.get("protocol", "TCP")): port.get("nodePort") for port in _ports_of(old)}
        numbered: list[dict[str, Any]] = []
        for index, port in enumerate(ports):
            number = port.get("nodePort") or before.get((port.get("port"), port.get("protocol", "TCP")))
            if number:
                self._claim_port(new, index, number, draw)
            else:
                number = self._free_port(draw)
            numbered.append({**port, "nodePort": number})
        return with_field(new, ("spec", "ports"), numbered)

    def _claim_port(self, new: Obj, index: int, number: int, draw: _Draw) -> None:
        pools, path = self._pools, f"spec.ports[{index}].nodePort"
        if not pools.port_low <= number <= pools.port_high:
            why = f"provided port is not in the valid range. The range of valid ports is {pools.port_low}-{pools.port_high}"
            raise _refused(new, path, number, why)
        if not self._take(_port(number), draw):
            raise _refused(new, path, number, "provided port is already allocated")
        # Deliberately stricter than upstream: our rules would take the port away from who listens there now.
        if _port(number) not in draw.had and self._port_in_use(number):
            raise _refused(new, path, number, "another program on this host listens on the port")

    def _free_port(self, draw: _Draw) -> int:
        for number in self._offsets(self._pools.port_low, self._pools.port_high):
            if not self._port_in_use(number) and self._take(_port(number), draw):
                return number
        raise InternalError("failed to allocate a nodePort: range is full")

    def _offsets(self, low: int, high: int) -> Iterator[int]:
        """Every number once, from a random one on: a number just given back is not at once another Service's."""
        size = high - low + 1
        start = int(self._entropy.uniform(0, size)) % size
        return (low + (start + step) % size for step in range(size))

    def _take(self, number: str, draw: _Draw) -> bool:
        if number in draw.had or number in draw.taken:
            return True
        if number in self._used or number in self._pending:
            return False
        self._pending.add(number)
        draw.taken.add(number)
        return True

    def _on_change(self, old: Row | None, new: Row | None) -> None:
        for number in numbers_of(self._state.obj(old)) if old is not None else ():
            self._used.pop(number, None)
        for number in numbers_of(self._state.obj(new)) if new is not None else ():
            self._used[number] = new.key if new is not None else Key("", "")
            self._pending.discard(number)


class _Draw:
    """The numbers one Service had and takes."""

    __slots__ = ("had", "service", "taken")

    def __init__(self, service: Key, had: frozenset[str]) -> None:
        self.service = service
        self.had = had
        self.taken: set[str] = set()


def numbers_of(service: Obj) -> Iterator[str]:
    """The pool keys of every number a Service has."""
    address = field_of(service, "spec", "clusterIP", default="")
    if address and address != HEADLESS:
        yield _ip(address)
    for port in _ports_of(service):
        if number := port.get("nodePort"):
            yield _port(number)


def _ports_of(service: Obj | None) -> Iterable[Obj]:
    ports: Iterable[Obj] = field_of(service or {}, "spec", "ports", default=())
    return ports


def _needs_node_ports(spec: Obj) -> bool:
    if spec.get("type") == "LoadBalancer":
        return spec.get("allocateLoadBalancerNodePorts") is not False
    return spec.get("type") == "NodePort"


def _ip(address: str) -> str:
    return f"clusterips/{address}"


def _port(number: int) -> str:
    return f"nodeports/{number}"


def _refused(service: Obj, path: str, value: Any, why: str) -> Exception:
    name = key_of(service).name
    return invalid_object("", "Service", name, [Cause("FieldValueInvalid", f"Invalid value: {value}: {why}", path)])
