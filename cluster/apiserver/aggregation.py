"""API aggregation: group-versions that other servers serve, behind this one.  Which they are, and how requests go there.

The other server is told who asks by headers that it believes because of our client certificate (the front proxy's).
Upstream: kube-aggregator/pkg/apiserver/handler_proxy.go.  Deliberate difference: what this server serves itself is never
passed on, whatever an APIService says.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import quote

import orjson

from cluster.apiserver.dialing import ClientPool, Security
from cluster.apiserver.http import ApiRequest, Identity, Reply
from cluster.apiserver.proxying import Destination, forward, target_of
from cluster.apiserver.service_resolver import Endpoint, ServiceResolver, ServiceUnresolved
from cluster.apiserver.state import Row, State, TableId, subscriptions
from cluster.machinery.conditions import is_condition_true
from cluster.machinery.errors import ServiceUnavailable
from cluster.machinery.objects import Obj, name_of
from cluster.resources.apiregistration import GROUP, is_local
from cluster.resources.catalog import Catalog

API_SERVICES = TableId(GROUP, "apiservices")
FRONT_PROXY_NAME = "front-proxy-client"
USER, GROUPS, EXTRA = "X-Remote-User", "X-Remote-Group", "X-Remote-Extra-"

GroupVersion: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class FrontProxy:
    """How other servers know that a request comes from this one: the authority of our certificate, and its files."""

    ca_pem: str
    certificate_file: str
    key_file: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RemoteVersion:
    """A group-version that another server serves, as its APIService has it."""

    name: str
    group: str
    version: str
    namespace: str
    service: str
    port: int
    ca_pem: str
    verify: bool
    group_priority: int
    version_priority: int
    is_available: bool


class Aggregation:
    """Follows the APIServices in the server's own state."""

    def __init__(
        self,
        *,
        state: State,
        catalog: Catalog,
        resolver: ServiceResolver,
        pool: ClientPool,
        front_proxy: FrontProxy | None,
    ) -> None:
        self._state = state
        self._catalog = catalog
        self._resolver = resolver
        self._pool = pool
        self._front_proxy = front_proxy
        self._remote: dict[GroupVersion, RemoteVersion] = {}
        self._listeners: list[Callable[[], None]] = []

    def follow(self, *listeners: Callable[[], None]) -> None:
        """Know those present and to come, and tell `listeners` of changes; call once the state is loaded."""
        self._listeners.extend(listeners)
        self._state.table(API_SERVICES).subscribers[next(subscriptions)] = self._on_change
        self._on_change(None, None)

    @property
    def remote(self) -> Sequence[RemoteVersion]:
        """By name, without those that this server has begun to serve itself."""
        return [one for key, one in sorted(self._remote.items()) if not self._catalog.in_version(*key)]

    def serving(self, group: str, version: str) -> RemoteVersion | None:
        """Who serves a group-version, when it is not this server."""
        if not self._remote or self._catalog.in_version(group, version):
            return None
        return self._remote.get((group, version))

    def unresolved(self, remote: RemoteVersion) -> ServiceUnresolved | None:
        """Why there is nobody to ask; None when there is."""
        try:
            self._resolver.endpoints(remote.namespace, remote.service, remote.port)
        except ServiceUnresolved as error:
            return error
        return None

    async def pass_on(self, remote: RemoteVersion, request: ApiRequest, user: Identity) -> Reply:
        """The other server's answer to `user`.  Raises ServiceUnavailable."""
        if not remote.is_available:
            raise ServiceUnavailable("service unavailable")
        return await self.send(remote, request, user)

    async def send(self, remote: RemoteVersion, request: ApiRequest, user: Identity) -> Reply:
        """As `pass_on`, whether it is known to be available or not."""
        body = orjson.dumps(request.obj) if request.obj is not None else request.body
        sent = ApiRequest(
            request.method, request.path, user, request.query, request.headers, body, source=request.source
        )
        try:
            *first, last = self._resolver.endpoints(remote.namespace, remote.service, remote.port)
        except ServiceUnresolved as error:
            raise ServiceUnavailable(str(error)) from None
        for endpoint in first:
            try:
                return await forward(self._pool, sent, self._destination(remote, endpoint, sent, user))
            except ServiceUnavailable:
                if request.method not in ("GET", "HEAD"):
                    raise  # it may have been carried out
        return await forward(self._pool, sent, self._destination(remote, last, sent, user))

    def _destination(
        self, remote: RemoteVersion, endpoint: Endpoint, request: ApiRequest, user: Identity
    ) -> Destination:
        name, proxy = f"{remote.service}.{remote.namespace}.svc", self._front_proxy
        files = (proxy.certificate_file, proxy.key_file) if proxy is not None else None
        return Destination(
            endpoint,
            Security(name, remote.ca_pem, remote.verify, files),
            target_of(request.path, request),
            host=f"{name}:{remote.port}",
            # Without a certificate nobody may believe them; the other server then has to ask for credentials of its own.
            headers=identity_headers(user) if proxy is not None else {},
        )

    def _on_change(self, old: Row | None, new: Row | None) -> None:
        rows = self._state.table(API_SERVICES).ordered()
        known = (_remote_version(self._state.obj(row)) for row in rows)
        self._remote = {(one.group, one.version): one for one in known if one is not None}
        for listener in self._listeners:
            listener()


def identity_headers(user: Identity) -> Mapping[str, str | Sequence[str]]:
    """Who asks, as request headers (upstream: transport.SetAuthProxyHeaders)."""
    headers: dict[str, str | Sequence[str]] = {USER: _plain(user.name), GROUPS: [_plain(one) for one in user.groups]}
    if user.uid:
        headers["X-Remote-Uid"] = _plain(user.uid)
    for key, values in sorted(user.extra.items()):
        headers[EXTRA + quote(key.lower(), safe="-._~")] = [_plain(value) for value in values]
    return headers


def _plain(text: str) -> str:
    """A header's value: names are not limited to what headers can carry."""
    return text if text.isascii() and text.isprintable() else quote(text)


def _remote_version(api_service: Obj) -> RemoteVersion | None:
    if is_local(api_service):
        return None
    spec = api_service["spec"]
    service = spec["service"]
    try:
        ca_pem = base64.b64decode(spec.get("caBundle") or "", validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        ca_pem = ""  # then this host's authorities decide
    return RemoteVersion(
        name=name_of(api_service),
        group=spec.get("group") or "",
        version=spec["version"],
        namespace=service["namespace"],
        service=service["name"],
        port=int(service.get("port") or 443),
        ca_pem=ca_pem,
        verify=not spec.get("insecureSkipTLSVerify"),
        group_priority=int(spec.get("groupPriorityMinimum") or 0),
        version_priority=int(spec.get("versionPriority") or 0),
        is_available=is_condition_true(api_service, "Available"),
    )
