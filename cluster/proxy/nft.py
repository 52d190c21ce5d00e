"""The applier: carries transactions to the kernel's nftables and reads back what is there.

`RulesetApplier` has a second implementation that interprets rulesets (`cluster.simulation.packets`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from cluster.proxy.commands import CommandFailed, Commands, is_missing
from cluster.proxy.diff import Transaction
from cluster.proxy.ruleset import COLLECTIONS, Elements


class RulesetRefused(Exception):
    """The rules could not be applied or read; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Installed:
    """A table as it is.  `structure` is opaque: equal while nobody has touched chains or rules since."""

    elements: dict[str, Elements]
    structure: bytes


class RulesetApplier(Protocol):
    """One table.  Every method raises RulesetRefused."""

    async def apply(self, transaction: Transaction) -> None:
        """All of it or nothing."""
        ...

    async def read(self) -> Installed | None:
        """None: there is no such table."""
        ...

    async def remove(self) -> None:
        """Idempotent."""
        ...


class NftApplier:
    """The kernel, through the `nft` program: one run, one netlink transaction."""

    def __init__(self, table: str, *, commands: Commands) -> None:
        self._table = table
        self._commands = commands

    async def apply(self, transaction: Transaction) -> None:
        if not transaction.is_empty:
            await self._nft(transaction.text)

    async def read(self) -> Installed | None:
        try:
            output = await self._commands.run("nft", "-j", "list", "table", "ip", self._table)
        except CommandFailed as error:
            if error.code != 127 and is_missing(error):
                return None
            raise RulesetRefused(str(error)) from error
        return parse_listing(output)

    async def remove(self) -> None:
        if not self._commands.has("nft"):
            return  # Then nothing of ours can be there.
        await self._nft(f"add table ip {self._table}\ndelete table ip {self._table}\n")

    async def _nft(self, text: str) -> None:
        try:
            await self._commands.run("nft", "-f", "-", stdin=text.encode())
        except CommandFailed as error:
            raise RulesetRefused(str(error)) from error


def parse_listing(output: bytes) -> Installed:
    """What `nft -j list table` says.  Raises RulesetRefused for anything it cannot say."""
    elements: dict[str, Elements] = {name: {} for name in COLLECTIONS}
    structure: list[Any] = []
    try:
        for entry in orjson.loads(output)["nftables"]:
            for kind, body in entry.items():
                if kind in ("map", "set"):
                    elements[body["name"]] = _elements(body.get("elem") or [], is_map=kind == "map")
                    body = {key: value for key, value in body.items() if key != "elem"}
                if kind != "metainfo":
                    structure.append([kind, body])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RulesetRefused(f"nft: unexpected listing: {error!r}") from error
    return Installed(elements, orjson.dumps(structure, option=orjson.OPT_SORT_KEYS))


def _elements(listed: list[Any], *, is_map: bool) -> Elements:
    if is_map:
        return {_text(key): _text(value) for key, value in listed}
    return {_text(key): "" for key in listed}


def _text(value: Any) -> str:
    if isinstance(value, dict):
        if "concat" in value:
            return " . ".join(_text(part) for part in value["concat"])
        return f"goto {value['goto']['target']}"
    return str(value)
