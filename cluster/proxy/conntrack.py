"""Forgets UDP flows that lead to endpoints which no longer serve: the kernel keeps sending a flow where it went first.

TCP needs none of this: a dead peer ends the connection.  Upstream: pkg/proxy/conntrack/cleanup.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from loguru import logger

from cluster.proxy.commands import CommandFailed, Commands
from cluster.proxy.services import Frontend, ServiceMap

FLOWS_MAX = 64
"""Look-ups in one change; flows beyond it end by themselves, after at most two minutes without a packet."""


@dataclass(frozen=True, slots=True, order=True)
class StaleFlow:
    """UDP flows to a frontend, of clients that were sent to `endpoint`; empty: that were sent to no endpoint."""

    address: str
    port: int
    endpoint: str


class Flows(Protocol):
    async def forget(self, stale: Sequence[StaleFlow]) -> None:
        """Best effort: what fails is logged."""
        ...


def stale_flows(old: ServiceMap, new: ServiceMap) -> Sequence[StaleFlow]:
    """Flows to endpoints that a frontend lost, and those that began before it had any."""
    before, after = _udp(old), _udp(new)
    found: set[StaleFlow] = set()
    for (address, port), frontend in before.items():
        now = after.get((address, port))
        kept = {one.address for one in now.endpoints} if now is not None else set()
        gone = {one.address for one in frontend.endpoints} - kept
        found |= {StaleFlow(address, port, endpoint) for endpoint in gone}
    for (address, port), frontend in after.items():
        known = before.get((address, port))
        if frontend.endpoints and (known is None or not known.endpoints):
            found.add(StaleFlow(address, port, ""))
    return sorted(found)


def arguments_of(flow: StaleFlow) -> Sequence[str]:
    """For `conntrack -D`."""
    place = ("--orig-dst", flow.address) if flow.address else ()
    endpoint = ("--dst-nat", flow.endpoint) if flow.endpoint else ()
    return ("-p", "udp", *place, "--orig-port-dst", str(flow.port), *endpoint)


class ConntrackFlows:
    """The kernel's table, through the `conntrack` program; a host without it keeps flows until they time out."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def forget(self, stale: Sequence[StaleFlow]) -> None:
        if not stale or not self._commands.has("conntrack"):
            return
        if len(stale) > FLOWS_MAX:
            logger.warning("too many stale flows, the rest time out", count=len(stale), served=FLOWS_MAX)
        for flow in stale[:FLOWS_MAX]:
            try:
                await self._commands.run("conntrack", "-D", *arguments_of(flow))
            except CommandFailed as error:
                if "0 flow entries" not in str(error):
                    logger.warning("stale flows kept", address=flow.address, port=flow.port, reason=str(error))


def _udp(services: ServiceMap) -> dict[tuple[str, int], Frontend]:
    return {(one.address, one.port): one for one in services.frontends if one.protocol == "UDP"}
