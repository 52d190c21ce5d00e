"""Builds the roles from settings: the only module that sees everything.

`ControlPlane` is the server role (API, store, controllers, scheduler): no root, no Docker.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from loguru import logger

from cluster.apiserver.apiserver import ApiServer, ApiServerSettings
from cluster.apiserver.credentials import Credentials, ensure_credentials, write_admin_kubeconfig
from cluster.apiserver.http import Identity
from cluster.apiserver.server import HttpsServer, serving_context
from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.base.tasks import Supervisor
from cluster.client.node_channel import NodeChannel
from cluster.client.transport import Transport
from cluster.config import Settings
from cluster.machinery.errors import ServiceUnavailable
from cluster.resources.catalog import builtin_catalog
from cluster.store.sqlite import SqliteStore

MASTERS = ("system:masters", "system:authenticated")


class Channels:
    """The streams to each node whose agent is connected."""

    def __init__(self) -> None:
        self._channels: dict[str, NodeChannel] = {}

    def connect(self, node: str, channel: NodeChannel) -> None:
        self._channels[node] = channel

    def channel(self, node: str) -> NodeChannel:
        if (found := self._channels.get(node)) is None:
            raise ServiceUnavailable(f'no agent of node "{node}" is connected')
        return found


class ControlPlane:
    """API server and everything that decides.  `start`, then `listen` once addresses are known; `stop` in any state."""

    def __init__(self, settings: Settings, *, clock: Clock, entropy: Entropy) -> None:
        self.settings = settings
        self.channels = Channels()
        self._clock = clock
        self._entropy = entropy
        self._supervisor = Supervisor(clock)
        self._store: SqliteStore | None = None
        self._server: HttpsServer | None = None
        self._api: ApiServer | None = None

    @property
    def api(self) -> ApiServer:
        if self._api is None:
            raise RuntimeError("the control plane has not started")
        return self._api

    def transport(self, user: str, groups: Sequence[str] = MASTERS) -> Transport:
        return self.api.transport(Identity(user, groups))

    async def start(self) -> None:
        """Open the store and serve on loopback.  Raises OSError, StoreError, SettingsError."""
        settings = self.settings
        credentials = self._credentials()
        self._store = await SqliteStore.open(settings.store_file, clock=self._clock)
        key = serialization.load_pem_private_key(credentials.token_key, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("the service account key is not an elliptic curve key")
        self._api = ApiServer(
            store=self._store,
            catalog=builtin_catalog(),
            clock=self._clock,
            entropy=self._entropy,
            node_channels=self.channels,
            settings=ApiServerSettings(service_account_key=key),
        )
        await self._api.start()
        self._server = HttpsServer(
            handler=self._api,
            authenticator=self._api.authenticator,
            tls=serving_context(
                str(credentials.serving_certificate_file), str(credentials.serving_key_file), str(credentials.ca_file)
            ),
            clock=self._clock,
        )
        self.listen(settings.api_host)
        write_admin_kubeconfig(
            settings.kubeconfig,
            credentials,
            directory=settings.pki_dir,
            host=settings.api_host,
            port=settings.api_port,
            name="reconciler",
            now=self._clock.now(),
        )

    def listen(self, host: str) -> None:
        """Serve the API on one more address of this host."""
        if self._server is None:
            raise RuntimeError("the control plane has not started")
        self._server.listen(host, self.settings.api_port)
        logger.info("api serves", address=f"{host}:{self.settings.api_port}")

    async def stop(self) -> None:
        await self._supervisor.stop()
        if self._server is not None:
            await self._server.stop()
        if self._api is not None:
            await self._api.stop()
        if self._store is not None:
            await self._store.close()

    def _credentials(self) -> Credentials:
        settings = self.settings
        gateway = str(IPv4Network(settings.pod_cidr)[1])
        names = [
            settings.api_host,
            "localhost",
            "127.0.0.1",
            gateway,
            settings.kubernetes_ip,
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            f"kubernetes.default.svc.{settings.cluster_domain}",
            settings.node_name,
        ]
        return ensure_credentials(settings.pki_dir, list(dict.fromkeys(names)), now=self._clock.now())
