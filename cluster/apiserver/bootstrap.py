"""What every cluster has before its first request: namespaces, default roles and policies, the `kubernetes` Service.

Written through the ordinary handlers as a superuser, so that defaults, names and indexes are those of any other object.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

import orjson

from cluster.apiserver.aggregation import EXTRA, FRONT_PROXY_NAME, GROUPS, USER
from cluster.apiserver.authz import MASTERS
from cluster.apiserver.builtin_objects import builtin_objects, is_outdated
from cluster.apiserver.default_roles import default_cluster_role_bindings, default_cluster_roles
from cluster.apiserver.http import Identity
from cluster.client.transport import Transport
from cluster.machinery.errors import AlreadyExists, NotFound
from cluster.machinery.objects import Obj, annotations_of, key_of
from cluster.machinery.resource import Resource
from cluster.resources.builtin import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    ENDPOINT_SLICES,
    NAMESPACES,
    ROLES,
    SERVICE_CIDRS,
    SERVICES,
)

BOOTSTRAP = Identity("system:apiserver", (MASTERS,))
SYSTEM_NAMESPACES: Sequence[str] = ("default", "kube-node-lease", "kube-public", "kube-system")
AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"


@dataclass(frozen=True, slots=True)
class Address:
    """Where the API answers, as pods reach it: `service_ip` is the `kubernetes` Service's, the rest what is behind it."""

    service_ip: str
    address: str
    port: int


async def bootstrap(transport: Transport, address: Address | None, network: IPv4Network) -> None:
    """Idempotent; `network` is the range of Service addresses.  Raises ApiError when the store refuses."""
    await asyncio.gather(*(_created(transport, NAMESPACES, _namespace(name)) for name in SYSTEM_NAMESPACES))
    # At once, so that the store makes them durable together.
    await asyncio.gather(
        *(_reconciled(transport, CLUSTER_ROLES, role, "rules") for role in default_cluster_roles()),
        *(
            _reconciled(transport, CLUSTER_ROLE_BINDINGS, binding, "subjects")
            for binding in default_cluster_role_bindings()
        ),
        *(_kept(transport, resource, obj) for resource, obj in builtin_objects(network)),
    )
    if address is not None:
        await _created(transport, SERVICES, _service(address))
        await _replaced(transport, ENDPOINT_SLICES, _endpoints(address))


async def publish_authentication(transport: Transport, client_ca_pem: str, front_proxy_ca_pem: str) -> None:
    """How servers behind this one verify who asks: `kube-system/extension-apiserver-authentication` and who may read it.

    Idempotent.  Raises ApiError.  Upstream: pkg/controlplane/controller/clusterauthenticationtrust.
    """
    name, reader = "extension-apiserver-authentication", "extension-apiserver-authentication-reader"
    meta = {"name": name, "namespace": "kube-system"}
    data = {
        "client-ca-file": client_ca_pem,
        "requestheader-allowed-names": orjson.dumps([FRONT_PROXY_NAME]).decode(),
        "requestheader-client-ca-file": front_proxy_ca_pem,
        "requestheader-extra-headers-prefix": orjson.dumps([EXTRA]).decode(),
        "requestheader-group-headers": orjson.dumps([GROUPS]).decode(),
        "requestheader-username-headers": orjson.dumps([USER]).decode(),
    }
    await _replaced(transport, CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data})
    rule = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [name], "verbs": ["get", "list", "watch"]}
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": reader, "namespace": "kube-system"},
        "rules": [rule],
    }
    await _reconciled(transport, ROLES, role, "rules")


async def _created(transport: Transport, resource: Resource, obj: Obj) -> None:
    try:
        await transport.create(resource, obj)
    except AlreadyExists:
        return


async def _kept(transport: Transport, resource: Resource, wanted: Obj) -> None:
    try:
        live = await transport.get(resource, key_of(wanted))
    except NotFound:
        await _created(transport, resource, wanted)
        return
    if not is_outdated(live, wanted):
        return
    if resource is SERVICE_CIDRS:
        # The host's network changed since the last start; a range itself cannot be changed.
        await transport.delete(resource, key_of(wanted))
        await _created(transport, resource, wanted)
    else:
        await transport.update(resource, {**live, "spec": wanted["spec"]})


async def _reconciled(transport: Transport, resource: Resource, wanted: Obj, field: str) -> None:
    """Add what is missing of `field`; what was added by hand stays, and everything does where autoupdate is off."""
    try:
        live = await transport.get(resource, key_of(wanted))
    except NotFound:
        await _created(transport, resource, wanted)
        return
    if annotations_of(live).get(AUTOUPDATE) == "false":
        return
    present = list(live.get(field) or ())
    missing = [item for item in wanted[field] if item not in present]
    if missing:
        await transport.update(resource, {**live, field: present + missing})


async def _replaced(transport: Transport, resource: Resource, wanted: Obj) -> None:
    try:
        live = await transport.get(resource, key_of(wanted))
    except NotFound:
        await _created(transport, resource, wanted)
        return
    await transport.update(resource, {**live, **wanted, "metadata": live["metadata"]})


def _namespace(name: str) -> Obj:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _service(address: Address) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address.service_ip,
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": address.port}],
        },
    }


def _endpoints(address: Address) -> Obj:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address.address], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "protocol": "TCP", "port": address.port}],
    }
