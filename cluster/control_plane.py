"""The server role: API, store, everything that decides.  No root, no container engine, no packet rule.

Knows no host beyond what `ports` names, and no kubelet.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path

from loguru import logger

from cluster.apiserver.admission.pod_security import PodSecurity
from cluster.apiserver.allocators import ServicePools
from cluster.apiserver.apiserver import ApiServer, ApiServerSettings
from cluster.apiserver.bootstrap import BOOTSTRAP, Address
from cluster.apiserver.http import Identity
from cluster.apiserver.node_channels import ConnectedNodes
from cluster.apiserver.oidc import Oidc, OidcSettings
from cluster.apiserver.oidc_fetch import https_fetch
from cluster.apiserver.renewal import Renewal
from cluster.base.clock import Clock
from cluster.base.tasks import Supervisor
from cluster.client.cache import Cache
from cluster.client.events import EventRecorder
from cluster.client.node_settings import publish_node_settings
from cluster.client.transport import Transport
from cluster.config import Settings
from cluster.controllers.run import Controllers
from cluster.machinery.resource import Resource
from cluster.ports import Listener, Ports, Trust
from cluster.proxy.host_ports import listening_ports
from cluster.proxy.load_balancer import LoadBalancerController
from cluster.resources.catalog import Catalog, builtin_catalog
from cluster.scheduler.plugins.volume_binding import VolumeBinding
from cluster.scheduler.scheduler import Scheduler
from cluster.store.api import Store
from cluster.store.compactor import Compactor


def identity_of(user: str) -> Identity:
    """Who a component is, with the groups its kind of name brings.  Upstream: serviceaccount.UserInfo, NodeUserInfo."""
    groups = ["system:authenticated"]
    if user.startswith("system:serviceaccount:"):
        namespace = user.split(":")[2]
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", *groups]
    elif user.startswith("system:node:"):
        groups = ["system:nodes", *groups]
    return Identity(user, tuple(groups))


def served_resources(catalog: Catalog) -> Sequence[Resource]:
    """Each stored resource once, in the version it is stored in."""
    return [
        descriptor.resource
        for descriptor in catalog
        if "list" in descriptor.resource.verbs and descriptor.storage == descriptor.resource
    ]


def oidc_of(settings: Settings, clock: Clock) -> Oidc | None:
    """Who verifies the tokens of the identity provider that the settings name.  Raises OSError for an unreadable CA file."""
    if not settings.oidc_issuer:
        return None
    return Oidc(
        OidcSettings(
            issuer=settings.oidc_issuer,
            client_id=settings.oidc_client_id,
            username_claim=settings.oidc_username_claim,
            username_prefix=settings.oidc_username_prefix,
            groups_claim=settings.oidc_groups_claim,
            groups_prefix=settings.oidc_groups_prefix,
        ),
        fetch=https_fetch(Path(settings.oidc_ca_file) if settings.oidc_ca_file else None),
        clock=clock,
    )


class ControlPlane:
    """API server and everything that decides.  `stop` works in any state."""

    def __init__(self, settings: Settings, ports: Ports) -> None:
        self.settings = settings
        self.channels = ConnectedNodes()
        self._ports = ports
        self._supervisor = Supervisor(ports.clock)
        self._store: Store | None = None
        self._listener: Listener | None = None
        self._api: ApiServer | None = None

    @property
    def api(self) -> ApiServer:
        if self._api is None:
            raise RuntimeError("the control plane has not started")
        return self._api

    async def start(self) -> None:
        """Open the store, serve on loopback and towards the pods, run the controllers.  Raises OSError, StoreError."""
        settings, ports = self.settings, self._ports
        trust = ports.trust()
        self._store = await ports.open_store()
        catalog = builtin_catalog()
        self._api = ApiServer(
            store=self._store,
            catalog=catalog,
            clock=ports.clock,
            entropy=ports.entropy,
            node_channels=self.channels,
            settings=ApiServerSettings(
                service_account_key=trust.token_key,
                issuer=f"https://kubernetes.default.svc.{settings.cluster_domain}",
                audiences=(f"https://kubernetes.default.svc.{settings.cluster_domain}",),
                address=Address(address=settings.gateway_ip, port=settings.api_port, service_ip=settings.kubernetes_ip),
                pools=ServicePools(network=IPv4Network(settings.service_cidr)),
                port_in_use=ports.port_in_use,
                audit=ports.audit(),
                oidc=oidc_of(settings, ports.clock),
                root_ca_pem=trust.ca_pem,
                pod_security=PodSecurity(
                    allow_privileged=settings.allow_privileged,
                    allow_host_network=settings.allow_host_network,
                    allowed_host_paths=settings.allowed_host_paths,
                ),
                pods_are_routable=settings.runtime != "simulated",
                front_proxy=trust.front_proxy,
            ),
        )
        await self._api.start()
        await publish_node_settings(self._api.transport(BOOTSTRAP), settings.shared)
        self._listener = ports.listener(self._api)
        self._listen(self._listener)
        renewal = Renewal(self._listener.renew, note=self._api.note_certificates, clock=ports.clock)
        self._supervisor.start("certificates", renewal.run)
        self._supervisor.start("compactor", Compactor(self._store, ports.clock).run)
        self._start_deciding(self._api, catalog, trust)

    def _listen(self, listener: Listener) -> None:
        settings = self.settings
        listener.listen(settings.api_host)
        logger.info("api serves", address=f"{settings.api_host}:{settings.api_port}")
        if settings.runtime != "simulated":
            # Pods reach the API at the node's address on their bridge, which the agent makes: before us, after us, again.
            listener.listen(settings.gateway_ip, may_come_later=True)
            logger.info("api serves", address=f"{settings.gateway_ip}:{settings.api_port}")

    def _start_deciding(self, api: ApiServer, catalog: Catalog, trust: Trust) -> None:
        clock, entropy, cache = self._ports.clock, self._ports.entropy, api.cache()
        controllers = Controllers(
            transport_of=lambda user: api.transport(identity_of(user)),
            cache=cache,
            clock=clock,
            entropy=entropy,
            served=lambda: served_resources(catalog),
            ca_pem=trust.ca_pem,
            sign=trust.sign,
            token=api.secret_token,
        )
        api.note_controllers(controllers.unsettled_s)
        self._supervisor.start("controllers", controllers.run)
        self._start_load_balancer(api)
        transport = api.transport(identity_of(Scheduler.identity))
        recorder = EventRecorder(transport, clock, entropy, component="default-scheduler")
        self._supervisor.start("events-scheduler", recorder.run)
        scheduler = Scheduler(
            transport=transport,
            cache=cache,
            clock=clock,
            entropy=entropy,
            recorder=recorder,
            volumes=VolumeBinding(cache),
        )
        self._supervisor.start("scheduler", scheduler.run)

    def transport(self, user: str, groups: Sequence[str] = ()) -> Transport:
        """The API as somebody: the groups are those the name brings, and these."""
        identity = identity_of(user)
        return self.api.transport(Identity(user, (*identity.groups, *groups)))

    @property
    def cache(self) -> Cache:
        """A view on everything, without authorization."""
        return self.api.cache()

    def _start_load_balancer(self, api: ApiServer) -> None:
        clock, entropy = self._ports.clock, self._ports.entropy
        transport = api.transport(identity_of(LoadBalancerController.identity()))
        recorder = EventRecorder(transport, clock, entropy, component=LoadBalancerController.account)
        self._supervisor.start("events-load-balancer", recorder.run)
        controller = LoadBalancerController(
            transport=transport,
            cache=api.cache(),
            clock=clock,
            entropy=entropy,
            recorder=recorder,
            # Simulated nodes have no programs of their own.
            listening=listening_ports if self.settings.runtime != "simulated" else frozenset,
        )
        self._supervisor.start("load-balancer", controller.run)

    async def stop(self) -> None:
        await self._supervisor.stop()
        if self._listener is not None:
            await self._listener.stop()
        if self._api is not None:
            await self._api.stop()
        if self._store is not None:
            await self._store.close()
