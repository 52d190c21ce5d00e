"""What each subresource of a served resource speaks: its kind and verbs, as discovery and OpenAPI tell clients.

Upstream: api/discovery/aggregated_v2.json.  Knows nothing of how they are carried out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cluster.machinery.objects import GroupVersionKind
from cluster.machinery.resource import Resource


@dataclass(frozen=True, slots=True)
class Subresource:
    name: str
    kind: GroupVersionKind
    verbs: tuple[str, ...]

    @property
    def is_connection(self) -> bool:
        """It carries a stream, not an object."""
        return self.kind.kind.endswith("Options")


_CHANGE = ("get", "patch", "update")
_CONNECT = ("create", "get")
_PROXY = ("create", "delete", "get", "patch", "update")

_OTHER_KINDS: Mapping[str, tuple[GroupVersionKind, tuple[str, ...]]] = {
    "scale": (GroupVersionKind("autoscaling", "v1", "Scale"), _CHANGE),
    "eviction": (GroupVersionKind("policy", "v1", "Eviction"), ("create",)),
    "token": (GroupVersionKind("authentication.k8s.io", "v1", "TokenRequest"), ("create",)),
    "binding": (GroupVersionKind("", "v1", "Binding"), ("create",)),
    "exec": (GroupVersionKind("", "v1", "PodExecOptions"), _CONNECT),
    "attach": (GroupVersionKind("", "v1", "PodAttachOptions"), _CONNECT),
    "portforward": (GroupVersionKind("", "v1", "PodPortForwardOptions"), _CONNECT),
}
_SAME_KIND: Mapping[str, tuple[str, ...]] = {"log": ("get",), "finalize": ("update",)}


def subresource_of(resource: Resource, name: str) -> Subresource:
    """The subresource `name`; those without an entry of their own are read and changed as the resource's kind."""
    if name == "proxy":
        return Subresource(name, GroupVersionKind("", "v1", f"{resource.kind}ProxyOptions"), _PROXY)
    if name in _OTHER_KINDS:
        kind, verbs = _OTHER_KINDS[name]
        return Subresource(name, kind, verbs)
    return Subresource(name, resource.gvk, _SAME_KIND.get(name, _CHANGE))


def subresources_of(resource: Resource) -> tuple[Subresource, ...]:
    """All of a resource's, by name."""
    return tuple(subresource_of(resource, name) for name in sorted(resource.subresources))
