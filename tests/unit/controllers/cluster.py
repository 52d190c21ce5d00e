"""A cluster without nodes' agents: the real API server in process, the real controllers and scheduler on a stepped clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from cluster.apiserver.apiserver import ApiServer
from cluster.apiserver.http import Identity
from cluster.base.certificate_requests import sign_request
from cluster.base.entropy import SeededEntropy
from cluster.base.pki import create_ca
from cluster.client.cache import Cache
from cluster.client.informer import Informer
from cluster.client.node_channel import NodeChannels
from cluster.client.transport import Patch, PatchType, Transport
from cluster.control_plane import served_resources
from cluster.controllers.run import Controllers
from cluster.machinery.objects import Key, Obj, name_of
from cluster.machinery.resource import Resource
from cluster.resources.builtin import NODES, PODS
from cluster.resources.catalog import builtin_catalog
from cluster.scheduler.plugins.volume_binding import VolumeBinding
from cluster.scheduler.scheduler import Scheduler
from tests.apiservers import ADMIN, running
from tests.clocks import SteppedClock

TURNS_MAX = 3000
STORED = served_resources(builtin_catalog())
"""Each kind in the version it is stored in, as the control plane gives them to its loops."""
AUTHORITY = create_ca("ca", now=datetime(2026, 1, 1, tzinfo=UTC))


class SilentRecorder:
    def event(self, obj: Obj, type_: str, reason: str, message: str) -> None:
        return


class Cluster:
    def __init__(self, server: ApiServer, clock: SteppedClock) -> None:
        self.server = server
        self.clock = clock
        self.api: Transport = server.transport(ADMIN)

    async def until(self, condition: Callable[[], Any], *, step_s: float = 0.05) -> Any:
        """Let the loops run, time passing by `step_s` now and then, until `condition` gives something."""
        cache_turns = 0
        while not (found := condition()):
            cache_turns += 1
            assert cache_turns < TURNS_MAX, "the condition is never met"
            await asyncio.sleep(0)
            if cache_turns % 10 == 0:
                await self.clock.step(step_s)
        return found

    async def settle(self, seconds: float = 5) -> None:
        for _ in range(int(seconds / 0.25)):
            await self.clock.step(0.25)
            for _ in range(30):
                await asyncio.sleep(0)

    def list(self, resource: Resource, namespace: str = "default") -> list[Obj]:
        return list(self.server.cache().list(resource, namespace=namespace))

    def get(self, resource: Resource, name: str, namespace: str = "default") -> Obj | None:
        return self.server.cache().get(resource, Key(namespace, name))

    async def add_node(self, name: str, cpu: str = "4") -> None:
        allocatable = {"cpu": cpu, "memory": "8Gi", "pods": "110"}
        await self.api.create(
            NODES,
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            },
        )
        node = dict(await self.api.get(NODES, Key("", name)))
        node["status"] = {
            "allocatable": allocatable,
            "capacity": allocatable,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        }
        await self.api.update(NODES, node, subresource="status")

    async def start_pod(self, pod: Obj, ip: str = "10.244.0.9") -> None:
        """What a kubelet would report of a pod whose containers run."""
        body = {
            "status": {
                "phase": "Running",
                "podIP": ip,
                "podIPs": [{"ip": ip}],
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            }
        }
        key = Key(pod["metadata"]["namespace"], name_of(pod))
        await self.api.patch(PODS, key, Patch(PatchType.STRATEGIC, body), subresource="status")


@asynccontextmanager
async def cluster(*, informer: bool = False, channels: NodeChannels | None = None) -> AsyncIterator[Cluster]:
    """`channels` are the ways to nodes; none when left out.

    With `informer` the loops read a cache of their own, fed by watches, which lags behind what they write.
    """
    clock = SteppedClock()
    clock.time = 1_767_323_045.0
    async with running(clock=clock, node_channels=channels) as server:

        def transport_of(user: str) -> Transport:
            groups = ["system:authenticated"]
            if user.startswith("system:serviceaccount:"):
                groups += ["system:serviceaccounts", "system:serviceaccounts:kube-system"]
            return server.transport(Identity(user, groups))

        entropy = SeededEntropy(7)
        tasks = []
        cache: Cache = server.cache()
        if informer:
            watched = [resource for resource in STORED if "watch" in resource.verbs]
            cache = Informer(server.transport(ADMIN), watched, clock, entropy)
            tasks.append(asyncio.create_task(cache.run()))
        controllers = Controllers(
            transport_of=transport_of,
            cache=cache,
            clock=clock,
            entropy=entropy,
            served=lambda: STORED,
            ca_pem="PEM",
            token=server.secret_token,
            sign=lambda request, usages, lifetime: sign_request(
                AUTHORITY, request, usages=usages, lifetime=lifetime, now=clock.now()
            ),
        )
        binder = Scheduler(
            transport=transport_of(Scheduler.identity),
            cache=cache,
            clock=clock,
            entropy=entropy,
            recorder=SilentRecorder(),
            volumes=VolumeBinding(cache),
        )
        tasks += [asyncio.create_task(controllers.run()), asyncio.create_task(binder.run())]
        try:
            yield Cluster(server, clock)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
