"""API servers for tests: over a memory store, with a stepped clock and repeatable chance."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from cluster.apiserver.admission.pod_security import PodSecurity
from cluster.apiserver.aggregation import FrontProxy
from cluster.apiserver.apiserver import ApiServer, ApiServerSettings
from cluster.apiserver.audit_log import AuditLog
from cluster.apiserver.credentials import ensure_credentials, write_admin_kubeconfig
from cluster.apiserver.http import Identity
from cluster.apiserver.server import HttpsServer, serving_context
from cluster.apiserver.state import RING_EVENTS_MAX
from cluster.base.clock import Clock
from cluster.base.entropy import SeededEntropy
from cluster.client.node_channel import NodeChannel, NodeChannels
from cluster.machinery.errors import ServiceUnavailable
from cluster.resources.catalog import builtin_catalog
from cluster.store.api import Store
from cluster.store.memory import MemoryStore
from tests.clocks import SteppedClock

ADMIN = Identity("kubernetes-admin", ("system:masters", "system:authenticated"))
SERVICE_ACCOUNT_KEY = ec.generate_private_key(ec.SECP256R1())


class NoNodes:
    """No agent is connected."""

    def channel(self, node: str) -> NodeChannel:
        raise ServiceUnavailable(f"no agent of node {node} is connected")


@asynccontextmanager
async def running(
    store: Store | None = None,
    clock: Clock | None = None,
    node_channels: NodeChannels | None = None,
    ring_events_max: int = RING_EVENTS_MAX,
    port_in_use: Callable[[int], bool] = lambda port: False,
    pod_security: PodSecurity | None = None,
    front_proxy: FrontProxy | None = None,
    audit: AuditLog | None = None,
) -> AsyncIterator[ApiServer]:
    clock = clock or SteppedClock()
    server = ApiServer(
        store=store or MemoryStore(clock),
        catalog=builtin_catalog(),
        clock=clock,
        entropy=SeededEntropy(1),
        node_channels=node_channels or NoNodes(),
        settings=ApiServerSettings(
            service_account_key=SERVICE_ACCOUNT_KEY,
            ring_events_max=ring_events_max,
            port_in_use=port_in_use,
            pod_security=pod_security or PodSecurity(),
            front_proxy=front_proxy,
            audit=audit,
        ),
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def serving_https(server: ApiServer, directory: Path, *, clock: Clock, port: int = 0) -> AsyncIterator[Path]:
    """`server` on a loopback port over TLS; gives the admin's kubeconfig.  `directory` keeps the certificates."""
    credentials = ensure_credentials(directory / "pki", ["127.0.0.1"], now=clock.now())
    tls = serving_context(
        str(credentials.serving_certificate_file), str(credentials.serving_key_file), str(credentials.ca_file)
    )
    https = HttpsServer(
        handler=server, authenticator=server.authenticator, tls=tls, clock=clock, refused=server.note_refused
    )
    kubeconfig = directory / "kubeconfig"
    write_admin_kubeconfig(
        kubeconfig,
        credentials,
        directory=directory / "pki",
        host="127.0.0.1",
        port=https.listen("127.0.0.1", port),
        name="served",
        now=clock.now(),
    )
    try:
        yield kubeconfig
    finally:
        await https.stop()
