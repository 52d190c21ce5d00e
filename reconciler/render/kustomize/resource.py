"""An object while it is built: what it is called now, and what it was called before.  Knows no files.

Upstream: kustomize api/resource and kyaml/resid.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from reconciler.model import Origin

_CLUSTER_SCOPED = """
    APIService CSIDriver CSINode CertificateSigningRequest ClusterRole ClusterRoleBinding ClusterTrustBundle
    ComponentStatus CustomResourceDefinition DeviceClass FlowSchema IPAddress IngressClass MutatingWebhookConfiguration
    Namespace Node PersistentVolume PodSecurityPolicy PriorityClass PriorityLevelConfiguration RuntimeClass
    SelfSubjectAccessReview SelfSubjectReview SelfSubjectRulesReview ServiceCIDR StorageClass StorageVersion
    SubjectAccessReview TokenReview ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding
    ValidatingWebhookConfiguration VolumeAttachment
"""
CLUSTER_SCOPED = frozenset(_CLUSTER_SCOPED.split())
"""Built-in kinds outside of namespaces; any other kind is taken to live in one, as upstream does."""


class BuildError(Exception):
    """The tree cannot be built: `message` for people, `origin` where."""

    def __init__(self, message: str, origin: Origin) -> None:
        super().__init__(f"{origin}: {message}")
        self.message = message
        self.origin = origin


class Gvk(NamedTuple):
    group: str
    version: str
    kind: str


class Id(NamedTuple):
    """One of the names an object has had; `namespace` as it was written, empty for none."""

    gvk: Gvk
    namespace: str
    name: str

    @property
    def effective(self) -> Id:
        """With the namespace that decides about equality, and without the version."""
        scope = "_cluster" if self.gvk.kind in CLUSTER_SCOPED else self.namespace or "default"
        return Id(self.gvk, scope, self.name)


def copy_of(value: Any) -> Any:
    """A copy that shares nothing, not even what YAML aliases share."""
    return orjson.loads(orjson.dumps(value))


def gvk_of(obj: Mapping[str, Any]) -> Gvk:
    group, _, version = str(obj.get("apiVersion", "")).rpartition("/")
    return Gvk(group, version, str(obj.get("kind", "")))


@dataclass(slots=True, eq=False)
class Built:
    """`obj` is this build's own copy and is changed in place; `before` are its former ids, the oldest first.

    `needs_hash`: its name gets a suffix that changes with the content.
    """

    obj: dict[str, Any]
    origin: Origin
    before: list[Id] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    suffixes: list[str] = field(default_factory=list)
    needs_hash: bool = False

    @property
    def id(self) -> Id:
        meta = self.meta
        return Id(gvk_of(self.obj), str(meta.get("namespace") or ""), str(meta.get("name") or ""))

    @property
    def ids(self) -> Sequence[Id]:
        return (*self.before, self.id)

    @property
    def meta(self) -> dict[str, Any]:
        meta = self.obj.get("metadata")
        if not isinstance(meta, dict):
            meta = self.obj["metadata"] = {}
        return meta

    def renamed(self, *, name: str | None = None, namespace: str | None = None) -> None:
        now = self.id
        if (name is not None and name != now.name) or (namespace is not None and namespace != now.namespace):
            self.before.append(now)
        if name is not None:
            self.meta["name"] = name
        if namespace is not None:
            self.meta["namespace"] = namespace


def with_id(built: Iterable[Built], wanted: Id) -> Sequence[Built]:
    """Those that are, or once were, called `wanted`."""
    target = wanted.effective
    return [each for each in built if any(one.effective == target for one in each.ids)]


def places(value: Any, path: Sequence[str], *, create: bool = False) -> Iterator[tuple[dict[str, Any], str]]:
    """Every (mapping, key) that `path` names below `value`; lists on the way stand for all their items.

    With `create`, mappings that are missing on the way are made, and the last key need not be there.
    """
    if isinstance(value, list):
        for item in value:
            yield from places(item, path, create=create)
        return
    if not isinstance(value, dict):
        return
    head, rest = path[0], path[1:]
    if not rest:
        if head in value or create:
            yield value, head
        return
    if create and value.get(head) is None and not head.endswith("[]"):
        value[head] = {}
    yield from places(value.get(head.removesuffix("[]")), rest, create=create)
