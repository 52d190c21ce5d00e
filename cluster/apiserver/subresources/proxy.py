"""`pods|services|nodes/NAME/proxy/PATH`: any HTTP request, passed on to a pod, a Service's endpoint or a node's port.

NAME is `[SCHEME:]NAME[:PORT]`.  Upstream: registry/core/{pod,service,node}/rest/subresources.go, .../strategy ResourceLocation.
Deliberate differences: nodes are proxied by an explicit port only, since kubelets listen on none here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from cluster.apiserver.backend import Backend
from cluster.apiserver.call import Call, Result
from cluster.apiserver.dialing import Security
from cluster.apiserver.http import Reply
from cluster.apiserver.proxying import Destination, forward, target_of
from cluster.apiserver.service_resolver import Endpoint, ServiceUnresolved
from cluster.client.node_channel import ContainerRef
from cluster.machinery.errors import BadRequest, ServiceUnavailable
from cluster.machinery.numbers import whole_number
from cluster.machinery.objects import Key, Obj, field_of, uid_of

SCHEMES = ("", "http", "https")


@dataclass(frozen=True, slots=True)
class Named:
    """`[SCHEME:]NAME[:PORT]` taken apart; what is not said is empty."""

    scheme: str
    name: str
    port: str


def named_of(text: str) -> Named:
    """Raises BadRequest."""
    parts = text.split(":")
    named = Named(*parts) if len(parts) == 3 else Named("", parts[0], parts[1] if len(parts) == 2 else "")
    if len(parts) > 3 or named.scheme not in SCHEMES or not named.name:
        raise BadRequest(f'invalid proxy request "{text}": want NAME, NAME:PORT or SCHEME:NAME:PORT')
    return named


async def proxy(backend: Backend, call: Call) -> Result:
    """Raises NotFound, BadRequest, and ServiceUnavailable when nobody answers there."""
    request, route = call.request, call.route
    named = named_of(route.name)
    key = Key(call.key.namespace, named.name)
    obj = backend.registry.obj(call.descriptor, backend.registry.row(call.descriptor, key))
    prefix, path = _split(request.path)
    options = {"apiVersion": "v1", "kind": f"{call.descriptor.resource.kind}ProxyOptions", "path": path or "/"}
    await backend.registry.admit_connection(call, obj, options)
    if not path and request.method in ("GET", "HEAD") and "upgrade" not in request.headers:
        # Relative links of what is there need the slash.
        return Reply(301, body=b"", headers={"Location": target_of(f"{prefix}/", request)})
    endpoints = tuple(_proxyable(_endpoints_of(backend, call, key, named, obj)))
    security = Security(named.name, verify=False) if named.scheme == "https" else None
    target = target_of(path or "/", request)
    for endpoint in endpoints[:-1]:
        try:
            return await forward(backend.proxied, request, Destination(endpoint, security, target, prefix))
        except ServiceUnavailable:
            if request.method not in ("GET", "HEAD"):
                raise  # it may have been carried out
    return await forward(backend.proxied, request, Destination(endpoints[-1], security, target, prefix))


def _split(path: str) -> tuple[str, str]:
    """The request's path up to `/proxy`, and the rest as it was sent."""
    prefix, _, rest = path.partition("/proxy")
    return f"{prefix}/proxy", rest


def _endpoints_of(backend: Backend, call: Call, key: Key, named: Named, obj: Obj) -> Iterable[Endpoint]:
    match call.descriptor.resource.plural:
        case "pods":
            return (_pod_endpoint(key, named, obj),)
        case "services":
            if field_of(obj, "spec", "type") == "ExternalName":
                raise ServiceUnavailable(f'no endpoints available for service "{named.name}"')
            try:
                return backend.resolver.endpoints(key.namespace, named.name, named.port)
            except ServiceUnresolved as error:
                raise ServiceUnavailable(str(error)) from None
        case _:
            return (_node_endpoint(named, obj),)


def _pod_endpoint(key: Key, named: Named, pod: Obj) -> Endpoint:
    address = str(field_of(pod, "status", "podIP", default=""))
    if not address:
        raise BadRequest("address not allowed")
    containers = field_of(pod, "spec", "containers", default=())
    port = _port(named.port, "pod")
    if not named.port:
        ports = [one["containerPort"] for container in containers for one in container.get("ports") or ()]
        port = int(ports[0]) if ports else 443 if named.scheme == "https" else 80
    node = str(field_of(pod, "spec", "nodeName", default=""))
    return Endpoint(address, port, ContainerRef(key.namespace, key.name, uid_of(pod), ""), node)


def _node_endpoint(named: Named, node: Obj) -> Endpoint:
    if not named.port:
        raise ServiceUnavailable("kubelets of this cluster serve no HTTP: name a port of the node")
    addresses = field_of(node, "status", "addresses", default=())
    internal = [str(one["address"]) for one in addresses if one.get("type") == "InternalIP"]
    if not internal:
        raise ServiceUnavailable(f'node "{named.name}" has no address')
    return Endpoint(internal[0], _port(named.port, "node"))


def _port(text: str, of: str) -> int:
    number = whole_number(text) if text else 0
    if number is None or number > 65535 or (text and not number):
        raise BadRequest(f'invalid port "{text}": ports of a {of} are named by number')
    return number


def _proxyable(endpoints: Iterable[Endpoint]) -> Iterable[Endpoint]:
    """Raises BadRequest for addresses that mean this host or its surroundings to whoever dials them."""
    for endpoint in endpoints:
        try:
            address = ip_address(endpoint.address)
        except ValueError:
            raise BadRequest("address not allowed") from None
        if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
            raise BadRequest("address not allowed")
        yield endpoint
