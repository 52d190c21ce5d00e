"""The loop: when Services, their endpoints or this node's pods change, the rules follow; what others changed is repaired.

Bursts are coalesced: the first change is carried out at once, those that follow within `MIN_INTERVAL_S` together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from loguru import logger

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.base.tasks import Supervisor
from cluster.client.cache import Cache, Change
from cluster.machinery.objects import Key, Obj, field_of, key_of
from cluster.proxy.conntrack import Flows, stale_flows
from cluster.proxy.diff import transaction
from cluster.proxy.docker_user import Forwarding
from cluster.proxy.nft import Installed, RulesetApplier, RulesetRefused
from cluster.proxy.ruleset import NodeNetwork, Ruleset, ruleset
from cluster.proxy.services import (
    NO_RULES,
    NodeFacts,
    Refused,
    ServiceMap,
    ServiceRules,
    host_port_rules,
    merged,
    service_key_of,
    service_rules,
)
from cluster.resources.builtin import ENDPOINT_SLICES, NODES, PODS, SERVICES

MIN_INTERVAL_S = 0.1
"""Between two changes of the rules; four times the last one's duration where that is longer."""
REPAIR_INTERVAL_S = 10.0
"""Between two looks at what others may have changed."""
RESYNC_INTERVAL_S = 60.0
"""At the longest; a table so large that reading it back takes long is read less often, `RESYNC_SHARE` times that time."""
RESYNC_SHARE = 500
RETRY_MAX_S = 30.0


class Proxy:
    """Serves every Service and host port on this node.  Stopping leaves the rules; `purge` removes them.

    `resynced` counts the times that the rules on the host were found changed by others and repaired.
    """

    def __init__(
        self,
        *,
        network: NodeNetwork,
        node_name: str,
        cache: Cache,
        applier: RulesetApplier,
        forwarding: Forwarding,
        flows: Flows,
        clock: Clock,
        entropy: Entropy,
        supervisor: Supervisor,
    ) -> None:
        self._network = network
        self._node_name = node_name
        self._cache = cache
        self._applier = applier
        self._forwarding = forwarding
        self._flows = flows
        self._clock = clock
        self._entropy = entropy
        self._supervisor = supervisor
        self._rules = _Rules(node_name)
        self._changed = asyncio.Event()
        self._lock = asyncio.Lock()
        self._applied: Ruleset | None = None
        self._served: ServiceMap | None = None
        self._structure = b""
        self._refused: tuple[Refused, ...] = ()
        self._subscriptions: list[Callable[[], None]] = []
        self.resynced = 0

    async def start(self) -> None:
        """Return once the rules stand, or the host has refused them: that is logged, and tried again until it works."""
        await self._cache.sync((SERVICES, ENDPOINT_SLICES, PODS, NODES))
        for resource, handler in (
            (NODES, self._on_node),
            (SERVICES, self._on_service),
            (ENDPOINT_SLICES, self._on_slice),
            (PODS, self._on_pod),
        ):
            self._subscriptions.append(self._cache.subscribe(resource, handler))
        try:
            await self.sync()
            await self._forwarding.ensure()
        except RulesetRefused as error:
            logger.error("service rules refused", node=self._node_name, reason=str(error))
            self._changed.set()
        self._supervisor.start("proxy", self._run)
        self._supervisor.start("proxy-repair", self._repair)

    async def stop(self) -> None:
        """The rules stay."""
        while self._subscriptions:
            self._subscriptions.pop()()
        await self._supervisor.cancel("proxy-repair")
        await self._supervisor.cancel("proxy")

    async def purge(self) -> None:
        """Stop, and remove everything the proxy made on the host.  Raises RulesetRefused."""
        await self.stop()
        await purge(self._applier, self._forwarding)
        self._applied = None

    async def sync(self) -> None:
        """Make the rules what the cache says now.  Raises RulesetRefused; then nothing has changed."""
        async with self._lock:
            self._changed.clear()
            started = self._clock.monotonic()
            services = self._rules.services(self._cache)
            wanted = ruleset(services, self._network)
            change = transaction(self._applied, wanted)
            if change.is_empty:
                return
            try:
                await self._applier.apply(change)
            except BaseException:
                self._applied = None  # Unknown, whatever came of it: the next one replaces the table.
                raise
            if change.is_full:
                installed = await self._applier.read()
                self._structure = installed.structure if installed is not None else b""
            self._applied = wanted
            logger.info(
                "service rules changed",
                node=self._node_name,
                added=change.added,
                deleted=change.deleted,
                full=change.is_full,
                frontends=len(services.frontends),
                duration_ms=round((self._clock.monotonic() - started) * 1000, 1),
            )
            self._report(services)
            if self._served is not None:
                # After the rules: a flow forgotten before would be sent the old way again.
                await self._flows.forget(stale_flows(self._served, services))
            self._served = services

    async def repair(self) -> bool:
        """Compare the rules on the host with what was applied and put them right; whether that was needed."""
        async with self._lock:
            if self._applied is None:
                return False
            installed = await self._applier.read()
            if _matches(installed, self._applied, self._structure):
                return False
            self._applied = None
            self.resynced += 1
        logger.warning("service rules were changed by others, repairing", node=self._node_name)
        await self.sync()
        return True

    async def _run(self) -> None:
        retry_s = MIN_INTERVAL_S
        while True:
            await self._changed.wait()
            started = self._clock.monotonic()
            try:
                await self.sync()
            except RulesetRefused as error:
                logger.warning(
                    "service rules refused, retrying",
                    node=self._node_name,
                    reason=str(error),
                    delay_s=round(retry_s, 3),
                )
                self._changed.set()
                await self._clock.sleep(self._entropy.uniform(retry_s, retry_s * 2))
                retry_s = min(retry_s * 2, RETRY_MAX_S)
                continue
            retry_s = MIN_INTERVAL_S
            await self._clock.sleep(max(MIN_INTERVAL_S, 4 * (self._clock.monotonic() - started)))

    async def _repair(self) -> None:
        next_resync = 0.0
        while True:
            await self._clock.sleep(REPAIR_INTERVAL_S)
            try:
                if await self._forwarding.ensure():
                    logger.info("forwarding of pod traffic allowed again", node=self._node_name)
                if (started := self._clock.monotonic()) >= next_resync:
                    await self.repair()
                    ended = self._clock.monotonic()
                    # Half an interval less, so that the look that is due is not put off to the one after.
                    pause_s = min(RESYNC_SHARE * (ended - started), RESYNC_INTERVAL_S) - REPAIR_INTERVAL_S / 2
                    next_resync = ended + pause_s
            except RulesetRefused as error:
                logger.warning("service rules cannot be checked", node=self._node_name, reason=str(error))
                self._changed.set()

    def _report(self, services: ServiceMap) -> None:
        """Each refusal once, when it is new."""
        for refused in services.refused:
            if refused not in self._refused:
                logger.warning("not served", key=str(refused.key), reason=refused.reason)
        self._refused = services.refused

    def _on_node(self, change: Change) -> None:
        if change.key.name == self._node_name and self._rules.see_node(change.new):
            self._changed.set()

    def _on_service(self, change: Change) -> None:
        if change.old is None or change.new is None or _served(change.old) != _served(change.new):
            self._rules.forget_service(change.key)
            self._changed.set()

    def _on_slice(self, change: Change) -> None:
        for slice_ in (change.old, change.new):
            if slice_ is not None and (key := service_key_of(slice_)) is not None:
                self._rules.forget_service(key)
        self._rules.see_slice(change.key, change.new)
        self._changed.set()

    def _on_pod(self, change: Change) -> None:
        pod = change.new if change.new is not None and _is_on(change.new, self._node_name) else None
        if self._rules.see_pod(change.key, pod):
            self._changed.set()


async def purge(applier: RulesetApplier, forwarding: Forwarding) -> None:
    """Remove what a proxy left on this host, running or not.  Raises RulesetRefused."""
    await forwarding.remove()
    await applier.remove()


class _Rules:
    """What each Service and pod asks for, computed again only when it changed."""

    def __init__(self, node_name: str) -> None:
        self._node = NodeFacts(node_name)
        self._services: dict[Key, ServiceRules] = {}
        self._slices: dict[Key, dict[Key, Obj]] = {}
        self._owner: dict[Key, Key] = {}
        self._pods: dict[Key, ServiceRules] = {}

    def forget_service(self, key: Key) -> None:
        self._services.pop(key, None)

    def see_slice(self, key: Key, slice_: Obj | None) -> None:
        """Slices are kept by their Service: looking them up by label would read them all."""
        if (before := self._owner.pop(key, None)) is not None:
            kept = self._slices[before]
            del kept[key]
            if not kept:
                del self._slices[before]
        if slice_ is not None and (service := service_key_of(slice_)) is not None:
            self._owner[key] = service
            self._slices.setdefault(service, {})[key] = slice_

    def see_node(self, node: Obj | None) -> bool:
        facts = NodeFacts(self._node.name, node_addresses(node) if node is not None else ())
        if facts == self._node:
            return False
        self._node = facts
        self._services.clear()
        return True

    def see_pod(self, key: Key, pod: Obj | None) -> bool:
        rules = host_port_rules(pod) if pod is not None else NO_RULES
        if rules == self._pods.get(key, NO_RULES):
            return False
        if rules == NO_RULES:
            del self._pods[key]
        else:
            self._pods[key] = rules
        return True

    def services(self, cache: Cache) -> ServiceMap:
        present: dict[Key, ServiceRules] = {}
        for service in cache.list(SERVICES):
            key = key_of(service)
            found = self._services.get(key)
            if found is None:
                found = service_rules(service, self._slices.get(key, {}).values(), self._node)
            present[key] = found
        self._services = present
        return merged([*present.values(), *(self._pods[key] for key in sorted(self._pods))])


def node_addresses(node: Obj) -> tuple[str, ...]:
    """The addresses under which others reach the node."""
    listed = field_of(node, "status", "addresses", default=())
    return tuple(sorted({one["address"] for one in listed if one.get("type") in ("InternalIP", "ExternalIP")}))


def _served(service: Obj) -> Mapping[str, object]:
    """What of a Service the rules depend on."""
    return {"spec": service.get("spec"), "ingress": field_of(service, "status", "loadBalancer", "ingress")}


def _is_on(pod: Obj, node_name: str) -> bool:
    return bool(field_of(pod, "spec", "nodeName") == node_name)


def _matches(installed: Installed | None, applied: Ruleset, structure: bytes) -> bool:
    return installed is not None and installed.structure == structure and installed.elements == applied.elements
