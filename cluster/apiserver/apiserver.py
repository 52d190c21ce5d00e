"""The API server as one value: made of a store, a catalogue and settings, called with requests.

It knows no sockets; `server` has them.  In process it hands out transports and a view on its own state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric import ec
from loguru import logger

from cluster.apiserver.admission.api import Admission
from cluster.apiserver.admission.plugins import plugins
from cluster.apiserver.admission.pod_security import PodSecurity
from cluster.apiserver.admission.resource_quota import QuotaCharges
from cluster.apiserver.admission.webhooks import Webhooks
from cluster.apiserver.aggregation import Aggregation, FrontProxy
from cluster.apiserver.allocators import ServiceAllocator, ServicePools, Together
from cluster.apiserver.audit import is_long_running
from cluster.apiserver.audit_log import AuditLog, Ended, until_ended
from cluster.apiserver.authn import CertificateAndTokenAuthenticator
from cluster.apiserver.authz import Authorizer
from cluster.apiserver.availability import Availability
from cluster.apiserver.backend import Backend
from cluster.apiserver.bootstrap import BOOTSTRAP, Address, bootstrap, publish_authentication
from cluster.apiserver.call import Call, Result
from cluster.apiserver.companions import NamespaceCompanions
from cluster.apiserver.conversion import Converter
from cluster.apiserver.converted import ConvertedTables
from cluster.apiserver.custom import CustomResources
from cluster.apiserver.dialing import ClientPool, Dialer
from cluster.apiserver.discovery import Discovery
from cluster.apiserver.dispatch import descriptor_of, handler_of
from cluster.apiserver.fairness import WITHOUT_SEAT, Fairness
from cluster.apiserver.flow_schemas import FlowSchemas
from cluster.apiserver.health import Check, Health
from cluster.apiserver.http import ApiRequest, Authenticator, Identity, Reply
from cluster.apiserver.issuer_documents import IssuerDocuments
from cluster.apiserver.local_api_services import LocalApiServices
from cluster.apiserver.node_channels import NodeChannelEndpoint
from cluster.apiserver.node_stats import NodeStatsCache
from cluster.apiserver.oidc import Oidc
from cluster.apiserver.openapi import OpenApi
from cluster.apiserver.policy_status import PolicyStatuses
from cluster.apiserver.rbac import Rbac
from cluster.apiserver.registry import Registry
from cluster.apiserver.rendering import error_reply, reply_of
from cluster.apiserver.routes import parse_route, path_not_found
from cluster.apiserver.service_resolver import ServiceResolver
from cluster.apiserver.state import DECODED_MAX, RING_EVENTS_MAX, State
from cluster.apiserver.tokens import ServiceAccountTokens
from cluster.apiserver.transport import InProcessTransport
from cluster.apiserver.view import ObjView
from cluster.apiserver.webhook_client import WebhookClient
from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.base.http_client import Limits
from cluster.base.tasks import Supervisor
from cluster.base.values import frozen
from cluster.client.cache import Cache
from cluster.client.node_channel import NodeChannels
from cluster.client.transport import Transport
from cluster.machinery.errors import ApiError, InternalError, Unauthorized
from cluster.machinery.objects import Key
from cluster.resources.catalog import Catalog
from cluster.store.api import Store

ISSUER = "https://kubernetes.default.svc.cluster.local"

PROXIED_LIMITS = Limits(connections_max=64, idle_max=2)
"""Connections to each server that requests are passed on to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServerSettings:
    """What the operator decides.  `service_account_key` signs tokens (P-256); secrets are not shown by repr.

    `pods_are_routable`: this host can dial pods; else they are reached through their nodes only.  `front_proxy`:
    how servers behind this one know it; without it they are told of no user.
    """

    service_account_key: ec.EllipticCurvePrivateKey = field(repr=False)
    static_tokens: Mapping[str, Identity] = field(default_factory=dict, repr=False)
    issuer: str = ISSUER
    audiences: Sequence[str] = (ISSUER,)
    address: Address | None = None
    pools: ServicePools = field(default_factory=ServicePools)
    port_in_use: Callable[[int], bool] = field(default=lambda port: False)
    oidc: Oidc | None = None
    root_ca_pem: str = ""
    ring_events_max: int = RING_EVENTS_MAX
    decoded_objects_max: int = DECODED_MAX
    platform: str = "linux/amd64"
    audit: AuditLog | None = None
    pod_security: PodSecurity = field(default_factory=PodSecurity)
    pods_are_routable: bool = False
    front_proxy: FrontProxy | None = None


@frozen
class Executed:
    """What a request came to, before it is written down; without `call` for paths that are no resources.

    `ended` is to be called when a stream or session is over.
    """

    call: Call | None
    result: Result
    ended: Ended | None = None


class ApiServer:
    """See `http.Handler`.  `start` loads the state; requests before it or after `stop` are answered with 503."""

    def __init__(
        self,
        *,
        store: Store,
        catalog: Catalog,
        clock: Clock,
        entropy: Entropy,
        node_channels: NodeChannels,
        settings: ApiServerSettings,
    ) -> None:
        self.state = State(store, ring_events_max=settings.ring_events_max, decoded_max=settings.decoded_objects_max)
        self._supervisor = Supervisor(clock)
        self._bootstrapped = False
        self._fairness = Fairness(FlowSchemas(self.state))
        self._health = Health(
            self.state,
            self._fairness.metrics,
            (
                Check("etcd", lambda: self.state.is_current),
                Check("poststarthook/bootstrap", lambda: self._bootstrapped),
            ),
        )
        self._openapi = OpenApi(catalog)
        self._rbac = rbac = Rbac(self.state)
        self._node_channels = NodeChannelEndpoint(node_channels, clock)
        self._authorizer = Authorizer(self.state, rbac)
        tokens = ServiceAccountTokens(
            key=settings.service_account_key,
            issuer=settings.issuer,
            audiences=settings.audiences,
            state=self.state,
            clock=clock,
            entropy=entropy,
        )
        self._issuer = IssuerDocuments(tokens)
        self._authenticator = CertificateAndTokenAuthenticator(tokens, settings.static_tokens, settings.oidc)
        self._settings = settings
        self._services = ServiceAllocator(self.state, entropy, settings.pools, settings.port_in_use)
        quotas = QuotaCharges(self.state)
        resolver = ServiceResolver(self.state)
        self._dialer = Dialer(node_channels, pods_are_routable=settings.pods_are_routable)
        webhook_client = WebhookClient(resolver, self._dialer)
        converter = Converter(webhook_client, entropy)
        self._webhooks = Webhooks(
            state=self.state,
            catalog=catalog,
            entropy=entropy,
            client=webhook_client,
            authorizer=self._authorizer,
            converter=converter,
        )
        registry = Registry(
            store=store,
            state=self.state,
            clock=clock,
            entropy=entropy,
            admission=Admission(
                plugins(
                    state=self.state,
                    catalog=catalog,
                    clock=clock,
                    entropy=entropy,
                    authorizer=self._authorizer,
                    rbac=rbac,
                    pod_security=settings.pod_security,
                )
            ),
            webhooks=self._webhooks,
            allocations=Together(
                (self._services, NamespaceCompanions(clock, entropy, settings.root_ca_pem), quotas), quotas.turn
            ),
            converter=converter,
        )
        self._backend = Backend(
            store=store,
            state=self.state,
            catalog=catalog,
            clock=clock,
            registry=registry,
            tokens=tokens,
            authorizer=self._authorizer,
            authenticator=self._authenticator,
            node_channels=node_channels,
            resolver=resolver,
            proxied=ClientPool(self._dialer, limits=PROXIED_LIMITS),
            webhook_client=webhook_client,
            converter=converter,
            converted=ConvertedTables(converter, catalog, self._supervisor, clock),
            node_stats=NodeStatsCache(node_channels, clock),
        )

        self._custom = CustomResources(
            state=self.state, catalog=catalog, clock=clock, transport=self.transport(BOOTSTRAP)
        )
        self._policy_statuses = PolicyStatuses(
            state=self.state, catalog=catalog, clock=clock, transport=self.transport(BOOTSTRAP)
        )
        self._aggregation = Aggregation(
            state=self.state,
            catalog=catalog,
            resolver=resolver,
            pool=self._backend.proxied,
            front_proxy=settings.front_proxy,
        )
        self._availability = Availability(
            aggregation=self._aggregation, transport=self.transport(BOOTSTRAP), clock=clock
        )
        self._discovery = Discovery(catalog, platform=settings.platform, elsewhere=self._availability)
        self._api_services = LocalApiServices(
            state=self.state, catalog=catalog, clock=clock, transport=self.transport(BOOTSTRAP)
        )

    @property
    def authenticator(self) -> Authenticator:
        return self._authenticator

    def secret_token(self, account: Key, uid: str, secret: str) -> str:
        """The token of a service account that lies in the Secret of that name, and is good while it does."""
        return self._backend.tokens.issue_for_secret(account, uid, secret)

    def note_controllers(self, unsettled_s: Callable[[], Mapping[str, float]]) -> None:
        """Who tells, for `/metrics`, how long each controller has not come to rest."""
        self._health.note_controllers(unsettled_s)

    def note_refused(self, request: ApiRequest) -> None:
        """A request whose credentials are bad was turned away: it is in the audit log."""
        audit, error = self._settings.audit, Unauthorized("Unauthorized")
        if audit is None or not audit.wants(request.method.lower(), error.code):
            return
        try:
            route = parse_route(request.method, request.path, request.query)
        except ApiError:
            return  # it named nothing
        audit.answered(
            request, route, audit.now(), acting_as=None, code=error.code, error=error, call=None, result=None
        )

    def note_certificates(self, ends: Mapping[str, datetime]) -> None:
        """When the certificates it is served with end, for `/metrics`."""
        self._health.note_certificates(ends)

    async def start(self) -> None:
        await self.state.load()
        self._supervisor.start("apiserver feed", self.state.follow)
        if self._settings.audit is not None:
            self._supervisor.start("audit log", self._settings.audit.run)
        if self._settings.oidc is not None:
            self._supervisor.start("identity provider", self._settings.oidc.run)
        self._rbac.follow()
        self._services.follow()
        self._custom.follow()
        self._api_services.follow()
        self._policy_statuses.follow()
        self._webhooks.follow()
        self._aggregation.follow(self._availability.look_again)
        self._supervisor.start("custom resource definitions", self._custom.run)
        self._supervisor.start("admission policy statuses", self._policy_statuses.run)
        settings = self._settings
        await bootstrap(self.transport(BOOTSTRAP), settings.address, settings.pools.network)
        if settings.front_proxy is not None:
            await publish_authentication(self.transport(BOOTSTRAP), settings.root_ca_pem, settings.front_proxy.ca_pem)
        await self._api_services.synchronise()
        self._supervisor.start("local api services", self._api_services.run)
        self._supervisor.start("aggregated api services", self._availability.run)
        self._bootstrapped = True

    async def stop(self) -> None:
        await self._supervisor.stop()
        await self._backend.webhook_client.close()
        await self._backend.proxied.close()
        await self._dialer.close()

    def transport(self, identity: Identity) -> Transport:
        """The API as `identity`, in this process: authorized and admitted like any other caller."""
        return InProcessTransport(self._backend, self.execute, self, identity)

    def cache(self) -> Cache:
        """A view on everything, without authorization."""
        return ObjView(self.state, self._backend.catalog)

    async def __call__(self, request: ApiRequest) -> Reply:
        leave = None
        try:
            if request.method not in WITHOUT_SEAT:
                leave = await self._fairness.seat(request)
            executed = await self.execute(request)
            if executed.call is not None:
                reply = reply_of(self._backend, executed.call, executed.result)
            else:
                reply = executed.result if isinstance(executed.result, Reply) else error_reply(path_not_found())
            if executed.ended is not None:
                reply = until_ended(reply, executed.ended)
            if reply.stream is not None and executed.call is not None:
                return replace(reply, stream=self._fairness.stream(request.user, reply.stream))
            return reply
        except ApiError as error:
            return error_reply(error)
        except Exception as error:  # noqa: BLE001 - one broken request must not end the server
            logger.opt(exception=error).error("request failed", method=request.method, path=request.path)
            return error_reply(InternalError("an internal error occurred; the server's log has it"))
        finally:
            if leave is not None:
                leave()

    async def _passed_on(self, request: ApiRequest, user: Identity) -> Reply | None:
        """The discovery document of a group-version that another server serves."""
        match request.path.strip("/").split("/"):
            case ["apis", group, version] if (elsewhere := self._aggregation.serving(group, version)) is not None:
                return await self._aggregation.pass_on(elsewhere, request, user)
            case ["openapi", "v3", "apis", group, version] if elsewhere := self._aggregation.serving(group, version):
                return await self._aggregation.pass_on(elsewhere, request, user)
            case _:
                return None

    def _non_resource(self, request: ApiRequest) -> Reply:
        for part in (self._discovery, self._openapi, self._health, self._issuer):
            if (reply := part.handle(request)) is not None:
                return reply
        raise path_not_found()

    async def execute(self, request: ApiRequest) -> Executed:
        """Route, authorize and handle, whichever way the request came.  Raises ApiError."""
        verb, code = request.method.lower(), 500
        route = user = call = failure = None
        result: Result | None = None
        audit = self._settings.audit
        received_at = None if audit is None else audit.now()
        audit_id, ended = "", None
        try:
            route = parse_route(request.method, request.path, request.query)
            verb = route.verb
            if audit is not None and is_long_running(route):
                audit_id = audit.received(request, route)
            user = self._authorizer.acting(request)
            self._authorizer.check(user, route, request)
            if route.is_resource and (elsewhere := self._aggregation.serving(route.group, route.version)):
                result = await self._aggregation.pass_on(elsewhere, request, user)
            elif route.is_resource:
                descriptor = descriptor_of(self._backend.catalog, route)
                call = Call(request, route, descriptor, user)
                if descriptor.deprecation:
                    call.warnings.append(descriptor.deprecation)
                result = await handler_of(route, descriptor)(self._backend, call)
            else:
                result = (
                    self._node_channels.handle(request, user)
                    or await self._passed_on(request, user)
                    or self._non_resource(request)
                )
            code = 200
            executed = Executed(call, result)
        except ApiError as error:
            code, failure = error.code, error
            raise
        finally:
            self._health.count(verb, code)
            if audit is not None and received_at is not None and route is not None and audit.wants(verb, code):
                ended = audit.answered(
                    request,
                    route,
                    received_at,
                    acting_as=user,
                    code=code,
                    error=failure,
                    call=call,
                    result=result,
                    id_=audit_id,
                )
        return executed if ended is None else replace(executed, ended=ended)
