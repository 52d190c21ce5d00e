"""A packet filter that interprets the proxy's rulesets: tests and simulations ask which pod a new connection reaches.

It reads the text that nft would read and knows the part of nft's language that the proxy writes; anything else raises
RulesetRefused.  It follows the first packet of a connection through the hooks of one host: priorities, address translation,
verdicts.  Shape: knftables' fake and kube-proxy's packet tracer (pkg/proxy/nftables/helpers_test.go).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network

from cluster.proxy.diff import Transaction
from cluster.proxy.nft import Installed, RulesetRefused

_HOOK = re.compile(r"type (?:nat|filter) hook (\w+) priority (-?\d+); policy accept;")
_ELEMENTS = re.compile(r"(add|delete) element ip (\S+) (\w+) \{ (.*) \}")
_FIELD = re.compile(
    r"ip saddr|ip daddr|meta l4proto|(?:th|tcp|udp) dport|iifname|oifname|fib daddr type|ct status"
    r"|ct original proto-dst|ct original ip daddr|numgen random mod (?P<spread>\d+)|jhash ip saddr mod (?P<hash>\d+) seed \d+"
)


class Fate(StrEnum):
    DELIVERED = "delivered"
    REJECTED = "rejected"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Packet:
    """The first of a connection.  `arrives_on` is an interface; empty: the host itself sends it."""

    source: str
    destination: str
    port: int
    protocol: str = "tcp"
    arrives_on: str = ""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What became of it: where it went, and whether its source is now the host's address."""

    fate: Fate
    address: str
    port: int
    masqueraded: bool = False


@dataclass(frozen=True, slots=True)
class HostView:
    """What routing knows: the host's own addresses, and the interface towards each range; the first that fits counts."""

    addresses: frozenset[str]
    routes: tuple[tuple[str, str], ...]

    def is_local(self, address: str) -> bool:
        return address in self.addresses or address.startswith("127.")

    def interface(self, address: str) -> str:
        if self.is_local(address):
            return "lo"
        return next((name for range_, name in self.routes if IPv4Address(address) in IPv4Network(range_)), "")


@dataclass(slots=True)
class _Table:
    collections: dict[str, dict[str, str]] = field(default_factory=dict)
    chains: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _State:
    """A packet on its way: what it is now, and what conntrack remembers of how it began."""

    now: Packet
    original: Packet
    is_translated: bool = False
    is_masqueraded: bool = False
    leaves_by: str = ""


class SimulatedPackets:
    """Implements `RulesetApplier`.  `pick` chooses one of N endpoints where the kernel would choose by chance."""

    def __init__(self, table: str, host: HostView, *, pick: Callable[[int], int]) -> None:
        self._name = table
        self._host = host
        self._pick = pick
        self._table: _Table | None = None

    async def apply(self, transaction: Transaction) -> None:
        if transaction.is_empty:
            return
        if transaction.is_full:
            self._table = _parse_table(transaction.text, self._name)
            return
        if self._table is None:
            raise RulesetRefused(f"no table {self._name}")
        changed = {name: dict(elements) for name, elements in self._table.collections.items()}
        for line in transaction.text.splitlines():
            _change(changed, line, self._name)
        self._table.collections = changed

    async def read(self) -> Installed | None:
        if self._table is None:
            return None
        return Installed(dict(self._table.collections), repr(sorted(self._table.chains.items())).encode())

    async def remove(self) -> None:
        self._table = None

    def trace(self, packet: Packet) -> Arrival:
        """Where a new connection ends up on this host, or beyond it."""
        state = _State(packet, packet)
        state, fate = self._hook("prerouting" if packet.arrives_on else "output", state)
        if fate is None and packet.arrives_on:
            place = "input" if self._host.is_local(state.now.destination) else "forward"
            state, fate = self._hook(place, state)
        elif fate is None and self._host.is_local(state.now.destination):
            state, fate = self._hook("input", state)
        if fate is None and not self._host.is_local(state.now.destination):
            state, fate = self._hook("postrouting", state)
        return Arrival(fate or Fate.DELIVERED, state.now.destination, state.now.port, state.is_masqueraded)

    def _hook(self, hook: str, state: _State) -> tuple[_State, Fate | None]:
        chains = self._table.chains if self._table is not None else {}
        hooked: list[tuple[int, str]] = []
        for name, rules in chains.items():
            match = _HOOK.fullmatch(rules[0]) if rules else None
            if match is not None and match[1] == hook:
                hooked.append((int(match[2]), name))
        for _, name in sorted(hooked):
            # Each chain sees what the ones before made of the packet, and the route that follows from it.
            leaves_by = self._host.interface(state.now.destination) if hook != "prerouting" else ""
            state, fate, _ = self._chain(chains[name][1:], replace(state, leaves_by=leaves_by))
            if fate is not None:
                return state, fate
        return state, None

    def _chain(self, rules: Sequence[str], state: _State) -> tuple[_State, Fate | None, bool]:
        for rule in rules:
            state, fate, is_done = self._rule(rule, state)
            if is_done:
                return state, fate, True
        return state, None, False

    def _rule(self, rule: str, state: _State) -> tuple[_State, Fate | None, bool]:
        """The state after it, the fate if that is final, and whether the chain ends here."""
        table = self._table
        if table is None:
            raise RulesetRefused("no table")
        rest = rule
        while True:
            match rest:
                case "masquerade":
                    return replace(state, is_masqueraded=True), None, True
                case "drop":
                    return state, Fate.DROPPED, True
                case "reject":
                    return state, Fate.REJECTED, True
            if rest.startswith("dnat ip to "):
                key, rest = self._key(rest.removeprefix("dnat ip to "), state)
                target = table.collections[rest.removeprefix("map @")].get(key)
                if target is None:
                    return state, None, False
                address, _, port = target.partition(" . ")
                moved = replace(state.now, destination=address, port=int(port))
                return replace(state, now=moved, is_translated=True), None, True
            key, rest = self._key(rest, state)
            if rest.startswith("vmap @"):
                verdict = table.collections[rest.removeprefix("vmap @")].get(key)
                if verdict is None:
                    return state, None, False
                return self._chain(table.chains[verdict.removeprefix("goto ")], state)
            does_match, rest = _compare(key, rest, table.collections)
            if not does_match:
                return state, None, False

    def _key(self, text: str, state: _State) -> tuple[str, str]:
        """The value of the fields at the start of `text`, joined as elements are, and what follows them."""
        values: list[str] = []
        while True:
            found = _FIELD.match(text)
            if found is None:
                raise RulesetRefused(f"not understood: {text}")
            values.append(self._value(found, state))
            text = text[found.end() :].lstrip()
            if not text.startswith(". "):
                return " . ".join(values), text
            text = text[2:]

    def _value(self, found: re.Match[str], state: _State) -> str:
        if found["spread"]:
            return str(self._pick(int(found["spread"])))
        if found["hash"]:
            return str(zlib.crc32(state.now.source.encode()) % int(found["hash"]))
        values = {
            "ip saddr": state.now.source,
            "ip daddr": state.now.destination,
            "meta l4proto": state.now.protocol,
            "iifname": f'"{state.now.arrives_on}"',
            "oifname": f'"{state.leaves_by}"',
            "fib daddr type": "local" if self._host.is_local(state.now.destination) else "unicast",
            "ct status": "dnat" if state.is_translated else "",
            "ct original proto-dst": str(state.original.port),
            "ct original ip daddr": state.original.destination,
        }
        return values.get(found[0], str(state.now.port))


def _compare(value: str, rest: str, collections: Mapping[str, Mapping[str, str]]) -> tuple[bool, str]:
    """Whether `value` stands in the relation that `rest` begins with, and what follows."""
    if rest.startswith("& dnat == 0 "):
        return value != "dnat", rest.removeprefix("& dnat == 0 ")
    is_negated = rest.startswith("!= ")
    right, _, rest = rest.removeprefix("!= ").partition(" ")
    if right.startswith("@"):
        is_equal = value in collections[right[1:]]
    elif "/" in right:
        is_equal = IPv4Address(value) in IPv4Network(right)
    else:
        is_equal = value == right
    return is_equal != is_negated, rest


def _parse_table(text: str, name: str) -> _Table:
    table, current = _Table(), ""
    for line in text.splitlines():
        words = line.split()
        match words:
            case [] | ["}"] | ["elements", "=", "{"] | ["add" | "delete", "table", "ip", _]:
                continue
            case ["table", "ip", found, "{"] if found == name:
                continue
            case ["map" | "set", current, "{"]:
                table.collections[current] = {}
            case ["chain", current, "{"]:
                table.chains[current] = []
            case _ if current in table.chains:
                table.chains[current].append(line.strip())
            case _ if line.startswith("\t\t\t"):
                key, _, value = line.strip().rstrip(",").partition(" : ")
                table.collections[current][key] = value
            case ["type" | "typeof", *_]:
                continue
            case _:
                raise RulesetRefused(f"not understood: {line.strip()}")
    return table


def _change(collections: dict[str, dict[str, str]], line: str, table: str) -> None:
    found = _ELEMENTS.fullmatch(line)
    if found is None or found[2] != table or found[3] not in collections:
        raise RulesetRefused(f"not understood: {line[:80]}")
    elements = collections[found[3]]
    for text in found[4].split(", "):
        key, _, value = text.partition(" : ")
        if found[1] == "add":
            elements[key] = value
        elif elements.pop(key, None) != value:
            raise RulesetRefused(f"{found[3]} has no element {text}")
