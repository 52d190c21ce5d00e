"""Gets forwarded pod traffic past Docker's filter: two accepts in its chain for users, marked as ours by a comment.

Docker sets the policy of FORWARD to DROP, and a verdict of ours in another table cannot overrule that.  Where there is no
DOCKER-USER chain nothing is done.  The accepts stand after the operator's own rules, which therefore still decide.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cluster.proxy.commands import CommandFailed, Commands, is_missing, lines_of
from cluster.proxy.nft import RulesetRefused
from cluster.proxy.ruleset import NodeNetwork

CHAIN = "DOCKER-USER"
LOCK_WAIT_S = 5


class Forwarding(Protocol):
    """Both raise RulesetRefused and are idempotent."""

    async def ensure(self) -> bool:
        """Whether anything had to be changed."""
        ...

    async def remove(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Edit:
    """One iptables call's arguments after the lock option."""

    arguments: tuple[str, ...]


def accepts(network: NodeNetwork) -> Sequence[tuple[str, ...]]:
    """The two rules, as iptables prints their arguments."""
    mark = ("-m", "comment", "--comment", network.table, "-j", "ACCEPT")
    return (("-i", network.bridge, *mark), ("-o", network.bridge, *mark))


def plan_accepts(listing: Sequence[str], network: NodeNetwork) -> Sequence[Edit]:
    """What makes the chain, as `iptables -S` lists it, hold exactly our two rules, before RETURN."""
    wanted = accepts(network)
    rules = [tuple(shlex.split(line))[2:] for line in listing if line.startswith(f"-A {CHAIN} ")]
    end = rules.index(("-j", "RETURN")) if ("-j", "RETURN") in rules else len(rules)
    ours = [number for number, rule in enumerate(rules) if _is_ours(rule, network)]
    if [rules[number] for number in ours] == list(wanted) and all(number < end for number in ours):
        return ()
    edits = [Edit(("-D", CHAIN, *rules[number])) for number in ours]
    at = end - sum(number < end for number in ours) + 1
    return (*edits, *(Edit(("-I", CHAIN, str(at + number), *rule)) for number, rule in enumerate(wanted)))


def plan_removal(listing: Sequence[str], network: NodeNetwork) -> Sequence[Edit]:
    rules = [tuple(shlex.split(line))[2:] for line in listing if line.startswith(f"-A {CHAIN} ")]
    return tuple(Edit(("-D", CHAIN, *rule)) for rule in rules if _is_ours(rule, network))


class DockerForwarding:
    """Edits the real chain, by the iptables program that Docker uses too."""

    def __init__(self, network: NodeNetwork, *, commands: Commands) -> None:
        self._network = network
        self._commands = commands

    async def ensure(self) -> bool:
        listing = await self._listing()
        edits = plan_accepts(listing, self._network) if listing else ()
        await self._carry_out(edits)
        return bool(edits)

    async def remove(self) -> None:
        await self._carry_out(plan_removal(await self._listing(), self._network))

    async def _listing(self) -> Sequence[str]:
        """Empty: no such chain, no iptables, or a filter table that iptables (and so Docker) cannot use."""
        try:
            # Everything, not the chain alone: about a chain that is absent iptables-nft says that it is "incompatible".
            found = lines_of(await self._iptables("-S"))
            return found if f"-N {CHAIN}" in found else ()
        except CommandFailed as error:
            if is_missing(error) or "is incompatible" in str(error):
                return ()
            raise RulesetRefused(str(error)) from error

    async def _carry_out(self, edits: Sequence[Edit]) -> None:
        for edit in edits:
            try:
                await self._iptables(*edit.arguments)
            except CommandFailed as error:
                raise RulesetRefused(str(error)) from error

    async def _iptables(self, *arguments: str) -> bytes:
        return await self._commands.run("iptables", "-w", str(LOCK_WAIT_S), *arguments)


def _is_ours(rule: tuple[str, ...], network: NodeNetwork) -> bool:
    return any(rule[at : at + 2] == ("--comment", network.table) for at in range(len(rule)))
