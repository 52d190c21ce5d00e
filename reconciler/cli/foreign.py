"""The GitOps daemon alone, against any Kubernetes API: no cluster is built here, everything goes over HTTPS.

Of several daemons that serve one cluster one works at a time, decided by a Lease; one that loses the API for longer than
the lease lasts begins again from what the API holds.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from loguru import logger

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.base.files import write_atomically
from cluster.base.tasks import Supervisor
from cluster.client.events import EventRecorder
from cluster.client.kubeconfig import ClusterAccess
from cluster.client.lease import LeaderElector
from cluster.client.rest import HttpTransport
from cluster.client.transport import Transport
from cluster.machinery.errors import ApiError
from cluster.machinery.objects import Key
from reconciler.config import SYSTEM_NAMESPACE, Settings
from reconciler.daemon.daemon import Daemon
from reconciler.daemon.informers import Informers
from reconciler.daemon.install import ensure_namespace
from reconciler.daemon.opening import HostSources

LEASE = Key(SYSTEM_NAMESPACE, "reconciler")
RETRY_S = 2.0


class ForeignGitops:
    """`holder` names this daemon in the Lease: the same after a restart, so that it goes on at once."""

    def __init__(
        self, access: ClusterAccess, settings: Settings, *, holder: str, clock: Clock, entropy: Entropy
    ) -> None:
        """`access` is whose rights an Application of the operator has; it needs leave to impersonate service accounts."""
        self._access = access
        self._settings = settings
        self._holder = holder
        self._clock = clock
        self._entropy = entropy

    async def run(self) -> None:
        """Work until cancelled."""
        transport = HttpTransport(self._access, user_agent="reconciler-gitops")
        try:
            await self._make_namespace(transport)
            elector = LeaderElector(transport, self._clock, self._entropy, key=LEASE, holder=self._holder)
            await elector.run(lambda: self._lead(transport))
        finally:
            await transport.close()

    async def _make_namespace(self, transport: Transport) -> None:
        """The Lease needs a place before anything else is installed."""
        while True:
            try:
                await ensure_namespace(transport, SYSTEM_NAMESPACE)
                return
            except ApiError as error:
                logger.warning("gitops cannot start yet, retrying", reason=error.message, delay_s=RETRY_S)
                await self._clock.sleep(RETRY_S)

    async def _lead(self, transport: HttpTransport) -> None:
        async with Supervisor(self._clock) as supervisor:
            recorder = EventRecorder(transport, self._clock, self._entropy, component="reconciler")
            supervisor.start("events-reconciler", recorder.run)
            daemon = Daemon(
                transport=transport,
                impersonate=transport.impersonate,
                cache_of=Informers(transport, self._clock, self._entropy, supervisor),
                clock=self._clock,
                entropy=self._entropy,
                recorder=recorder,
                supervisor=supervisor,
                settings=self._settings,
                opener=HostSources(transport, self._settings),
            )
            daemon.start()
            try:
                await asyncio.Event().wait()
            finally:
                await daemon.stop()


def holder_of(state_dir: Path, entropy: Entropy) -> str:
    """This state directory's name among those that may serve one cluster; made on first use."""
    file = state_dir / "holder"
    if not file.exists():
        write_atomically(file, f"reconciler-{entropy.suffix(10)}\n".encode())
    return file.read_text().strip()
