"""Every controller, built with its own identity and run under one supervisor."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.base.tasks import Supervisor
from cluster.base.workqueue import WorkQueue
from cluster.client.cache import Cache
from cluster.client.controller import Controller
from cluster.client.events import EventRecorder
from cluster.client.transport import Transport
from cluster.controllers.certificates_approving import CertificateApprovingController
from cluster.controllers.certificates_cleaner import CertificateCleaner
from cluster.controllers.certificates_signing import CertificateSigningController, Sign
from cluster.controllers.clusterrole_aggregation import ClusterRoleAggregationController
from cluster.controllers.cronjob import CronJobController
from cluster.controllers.daemonset import DaemonSetController
from cluster.controllers.deployment import DeploymentController
from cluster.controllers.disruption import DisruptionController
from cluster.controllers.endpoints import EndpointsController
from cluster.controllers.endpoints_mirroring import EndpointsMirroringController
from cluster.controllers.endpointslice import EndpointSliceController
from cluster.controllers.garbage_collector import GarbageCollector
from cluster.controllers.horizontal import HorizontalController
from cluster.controllers.job import JobController
from cluster.controllers.namespace import NamespaceController
from cluster.controllers.node_lifecycle import NodeLifecycleController
from cluster.controllers.persistent_volume import ClaimBinder, VolumeBinder
from cluster.controllers.pod_gc import PodGcController
from cluster.controllers.replicaset import ReplicaSetController
from cluster.controllers.replication import ReplicationController
from cluster.controllers.resource_quota import ResourceQuotaController
from cluster.controllers.root_ca import RootCaController
from cluster.controllers.service_account import ServiceAccountController
from cluster.controllers.service_account_tokens import LegacyToken, ServiceAccountTokenController
from cluster.controllers.statefulset import StatefulSetController
from cluster.controllers.ttl_after_finished import TtlAfterFinishedController
from cluster.controllers.volume_protection import ClaimProtectionController, VolumeProtectionController
from cluster.machinery.resource import Resource

PLAIN: Sequence[type[Controller]] = (
    ReplicationController,
    StatefulSetController,
    DaemonSetController,
    DeploymentController,
    ReplicaSetController,
    JobController,
    CronJobController,
    TtlAfterFinishedController,
    EndpointSliceController,
    EndpointsController,
    EndpointsMirroringController,
    ServiceAccountController,
    NodeLifecycleController,
    PodGcController,
    CertificateApprovingController,
    CertificateCleaner,
    ClusterRoleAggregationController,
    ClaimBinder,
    VolumeBinder,
    ClaimProtectionController,
    VolumeProtectionController,
)
"""Controllers that need nothing beyond what every controller gets."""


class Loop(Protocol):
    """What running needs of a controller."""

    @property
    def name(self) -> str: ...

    @property
    def queue(self) -> WorkQueue[Any]: ...

    def run(self) -> Awaitable[None]: ...


class Controllers:
    """All controllers over one cache.

    `transport_of` gives the transport that acts as a user name; `served` every resource there is now, custom ones
    included; `ca_pem` is the authority by which pods know the API server;
    `sign` makes certificates of approved requests, `token` those of service accounts that lie in Secrets.
    """

    def __init__(
        self,
        *,
        transport_of: Callable[[str], Transport],
        cache: Cache,
        clock: Clock,
        entropy: Entropy,
        served: Callable[[], Sequence[Resource]],
        ca_pem: str,
        sign: Sign,
        token: LegacyToken,
    ) -> None:
        self._clock = clock
        self._recorders: list[EventRecorder] = []
        loops: list[Loop] = []

        def parts(kind: type[Controller] | type[GarbageCollector]) -> dict[str, Any]:
            transport = transport_of(kind.identity())
            recorder = EventRecorder(transport, clock, entropy, component=kind.account)
            self._recorders.append(recorder)
            return {
                "transport": transport,
                "cache": cache,
                "clock": clock,
                "entropy": entropy,
                "recorder": recorder,
            }

        loops += [kind(**parts(kind)) for kind in PLAIN]
        loops.append(RootCaController(**parts(RootCaController), ca_pem=ca_pem))
        loops.append(CertificateSigningController(**parts(CertificateSigningController), sign=sign))
        loops.append(ServiceAccountTokenController(**parts(ServiceAccountTokenController), ca_pem=ca_pem, token=token))
        loops.append(NamespaceController(**parts(NamespaceController), served=served))
        loops.append(HorizontalController(**parts(HorizontalController), served=served))
        loops.append(DisruptionController(**parts(DisruptionController), served=served))
        loops.append(ResourceQuotaController(**parts(ResourceQuotaController), served=served))
        loops.append(GarbageCollector(**parts(GarbageCollector), served=served))
        self.loops: tuple[Loop, ...] = tuple(loops)

    @property
    def is_idle(self) -> bool:
        """No controller has a key to look at now."""
        return all(loop.queue.is_idle for loop in self.loops)

    def unsettled_s(self) -> Mapping[str, float]:
        """How long the most restless key of each controller has not come to rest, by the controller's name."""
        return {loop.name: loop.unrest.longest_s() for loop in self.loops if isinstance(loop, Controller)}

    async def run(self) -> None:
        """Run every controller until cancelled; each restarts alone if it fails."""
        async with Supervisor(self._clock) as supervisor:
            for number, recorder in enumerate(self._recorders):
                supervisor.start(f"events-{number}", recorder.run)
            for loop in self.loops:
                supervisor.start(f"controller-{loop.name}", loop.run)
            await asyncio.Event().wait()
