"""Nothing is created in a namespace that does not exist or is going away; the system's own namespaces stay.

Upstream: apiserver/pkg/admission/plugin/namespace/lifecycle.
"""

from __future__ import annotations

from cluster.apiserver.admission.api import Attributes
from cluster.apiserver.state import State, TableId
from cluster.machinery.errors import Cause, Forbidden, not_found, qualified
from cluster.machinery.objects import Key, Obj, is_deleting

NAMESPACES = TableId("", "namespaces")
IMMORTAL = frozenset(("default", "kube-system", "kube-public"))


class NamespaceLifecycle:
    def __init__(self, state: State) -> None:
        self._state = state

    def validate(self, attributes: Attributes) -> None:
        """Raises Forbidden for the deletion of a namespace that must stay."""
        resource = attributes.descriptor.resource
        if attributes.operation == "DELETE" and resource.kind == "Namespace" and attributes.key.name in IMMORTAL:
            name = attributes.key.name
            raise Forbidden(
                f'namespaces "{name}" is forbidden: this namespace may not be deleted', kind="namespaces", name=name
            )

    def mutate(self, attributes: Attributes) -> Obj:
        """Checks before anything else is decided.  Raises NotFound and Forbidden."""
        resource = attributes.descriptor.resource
        if attributes.operation != "CREATE" or not resource.namespaced:
            return attributes.obj
        namespace = attributes.key.namespace
        row = self._state.table(NAMESPACES).get(Key("", namespace))
        if row is None:
            raise not_found("", "namespaces", namespace)
        if row.phase == "Terminating" or is_deleting(self._state.obj(row)):
            name = attributes.key.name
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise Forbidden(
                f'{qualified(resource.group, resource.plural)} "{name}" is forbidden: {why}',
                group=resource.group,
                kind=resource.plural,
                name=name,
                causes=[
                    Cause("NamespaceTerminating", f"namespace {namespace} is being terminated", "metadata.namespace")
                ],
            )
        return attributes.obj
