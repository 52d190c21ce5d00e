"""From a routed, authorized request to the handler of its verb and subresource."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from cluster.apiserver.backend import Backend
from cluster.apiserver.call import Call, Result
from cluster.apiserver.handlers.create import create
from cluster.apiserver.handlers.delete import delete
from cluster.apiserver.handlers.deletecollection import delete_collection
from cluster.apiserver.handlers.get import get
from cluster.apiserver.handlers.list import list_collection
from cluster.apiserver.handlers.update import update
from cluster.apiserver.handlers.watch import watch
from cluster.apiserver.routes import Route, path_not_found
from cluster.machinery.errors import MethodNotAllowed
from cluster.resources.catalog import Catalog, Descriptor

VerbHandler: TypeAlias = Callable[[Backend, Call], Awaitable[Result]]

_VERBS: Mapping[str, VerbHandler] = {
    "get": get,
    "list": list_collection,
    "watch": watch,
    "create": create,
    "update": update,
    "delete": delete,
    "deletecollection": delete_collection,
}


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
    handler = _VERBS.get(route.verb) if not route.subresource else None
    named_wrongly = (route.verb == "create") == bool(route.name) and route.verb in ("create", "update", "patch")
    if handler is None or route.verb not in descriptor.resource.verbs or named_wrongly:
        raise MethodNotAllowed("the server does not allow this method on the requested resource")
    return handler
