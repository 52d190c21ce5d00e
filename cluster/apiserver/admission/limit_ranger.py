"""LimitRanges: amounts for pods that state none, bounds for pods and claims.  Upstream: plugin/pkg/admission/limitranger."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.apiserver.admission.api import Attributes, forbidden, is_new_pod
from cluster.apiserver.state import State, TableId
from cluster.machinery.objects import Obj
from cluster.resources.limit_ranges import limit_violations, with_default_amounts

_RANGES = TableId("", "limitranges")


class LimitRanger:
    def __init__(self, state: State) -> None:
        self._state = state
        self._by_namespace = state.table(_RANGES).by_namespace

    def mutate(self, attributes: Attributes) -> Obj:
        if attributes.key.namespace not in self._by_namespace or not is_new_pod(attributes):
            return attributes.obj
        pod = attributes.obj
        for limit_range in self._ranges(attributes.key.namespace):
            pod = with_default_amounts(pod, limit_range)
        return pod

    def validate(self, attributes: Attributes) -> None:
        """Raises Forbidden with everything outside the bounds of one LimitRange."""
        if attributes.key.namespace not in self._by_namespace or not _is_limited(attributes):
            return
        kind = attributes.descriptor.resource.kind
        for limit_range in self._ranges(attributes.key.namespace):
            if found := tuple(limit_violations(kind, attributes.obj, limit_range)):
                raise forbidden(attributes, found[0] if len(found) == 1 else f"[{', '.join(found)}]")

    def _ranges(self, namespace: str) -> Iterator[Obj]:
        rows = self._by_namespace[namespace]
        return (self._state.obj(rows[key]) for key in sorted(rows))


def _is_limited(attributes: Attributes) -> bool:
    """New pods; new claims and those that change."""
    if attributes.group_resource == ("", "persistentvolumeclaims"):
        return attributes.operation in ("CREATE", "UPDATE") and not attributes.subresource
    return is_new_pod(attributes)
