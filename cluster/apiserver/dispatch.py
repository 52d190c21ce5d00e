"""From a routed, authorized request to the handler of its verb and subresource."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from cluster.apiserver.backend import Backend
from cluster.apiserver.call import Call, Result
from cluster.apiserver.component_status import get_component_status, list_component_statuses
from cluster.apiserver.handlers.create import create
from cluster.apiserver.handlers.delete import delete
from cluster.apiserver.handlers.deletecollection import delete_collection
from cluster.apiserver.handlers.get import get
from cluster.apiserver.handlers.list import list_collection
from cluster.apiserver.handlers.patch import patch, patch_object
from cluster.apiserver.handlers.update import replace, update
from cluster.apiserver.handlers.watch import watch
from cluster.apiserver.node_metrics import (
    get_node_metrics,
    get_pod_metrics,
    list_node_metrics,
    list_pod_metrics,
)
from cluster.apiserver.reviews import REVIEWS, review
from cluster.apiserver.routes import Route, path_not_found
from cluster.apiserver.subresources.binding import bind, bind_named
from cluster.apiserver.subresources.eviction import evict
from cluster.apiserver.subresources.exec import attach_to_container, exec_in_container
from cluster.apiserver.subresources.log import read_log
from cluster.apiserver.subresources.portforward import forward_ports
from cluster.apiserver.subresources.proxy import proxy
from cluster.apiserver.subresources.scale import get_scale, patch_scale, update_scale
from cluster.apiserver.subresources.status import RULES, RulesOf
from cluster.apiserver.subresources.token import request_token
from cluster.machinery.errors import MethodNotAllowed
from cluster.machinery.resource import Resource
from cluster.resources.builtin import BINDINGS, COMPONENT_STATUSES
from cluster.resources.catalog import Catalog, Descriptor
from cluster.resources.metrics import NODE_METRICS, POD_METRICS

VerbHandler: TypeAlias = Callable[[Backend, Call], Awaitable[Result]]

_VERBS: Mapping[str, VerbHandler] = {
    "get": get,
    "list": list_collection,
    "watch": watch,
    "create": create,
    "update": update,
    "patch": patch,
    "delete": delete,
    "deletecollection": delete_collection,
}


def _part(rules_of: RulesOf) -> Mapping[str, VerbHandler]:
    """The verbs of a subresource that is a part of its object."""

    async def replace_part(backend: Backend, call: Call) -> Result:
        return await replace(backend, call, rules_of(call.descriptor))

    async def patch_part(backend: Backend, call: Call) -> Result:
        return await patch_object(backend, call, rules_of(call.descriptor))

    return {"get": get, "update": replace_part, "patch": patch_part}


_SUBRESOURCES: Mapping[str, Mapping[str, VerbHandler]] = {
    **{name: _part(rules_of) for name, rules_of in RULES.items()},
    "scale": {"get": get_scale, "update": update_scale, "patch": patch_scale},
    "binding": {"create": bind},
    "eviction": {"create": evict},
    "token": {"create": request_token},
    "log": {"get": read_log},
    "exec": {"get": exec_in_container, "create": exec_in_container},
    "portforward": {"get": forward_ports, "create": forward_ports},
    "attach": {"get": attach_to_container, "create": attach_to_container},
}


_WITHOUT_ROWS: Mapping[Resource, Mapping[str, VerbHandler]] = {
    BINDINGS: {"create": bind_named},
    NODE_METRICS: {"get": get_node_metrics, "list": list_node_metrics},
    POD_METRICS: {"get": get_pod_metrics, "list": list_pod_metrics},
    COMPONENT_STATUSES: {"get": get_component_status, "list": list_component_statuses},
}
_VIRTUAL = {(resource.group, resource.plural): verbs for resource, verbs in _WITHOUT_ROWS.items()}
"""Resources without rows, besides the reviews, by what a request names: cheaper to look up than a Resource."""


def descriptor_of(catalog: Catalog, route: Route) -> Descriptor:
    """What a route names.  Raises NotFound for what is not served, or not in this scope."""
    descriptor = catalog.get(route.group, route.version, route.plural)
    if descriptor is None:
        raise path_not_found()
    resource = descriptor.resource
    is_namespace = route.plural == "namespaces" and not route.group
    if route.namespace and not resource.namespaced and not is_namespace:
        raise path_not_found()
    if resource.namespaced and not route.namespace and route.verb not in ("list", "watch", "create"):
        raise path_not_found()
    if route.subresource and route.subresource not in resource.subresources:
        raise path_not_found()
    return descriptor


def handler_of(route: Route, descriptor: Descriptor) -> VerbHandler:
    """Raises MethodNotAllowed."""
    if route.subresource:
        if route.subresource == "proxy":
            return proxy  # every method, to every path
        handler = _SUBRESOURCES.get(route.subresource, {}).get(route.verb)
        if handler is None or route.rest:
            raise not_allowed()
        return handler
    if route.verb == "create" and descriptor.resource.kind in REVIEWS and not descriptor.custom:
        return review
    handler = _VIRTUAL.get((route.group, route.plural), _VERBS).get(route.verb)
    named_wrongly = (route.verb == "create") == bool(route.name) and route.verb in ("create", "update", "patch")
    if handler is None or route.verb not in descriptor.resource.verbs or named_wrongly:
        raise not_allowed()
    return handler


def not_allowed() -> MethodNotAllowed:
    return MethodNotAllowed("the server does not allow this method on the requested resource")
