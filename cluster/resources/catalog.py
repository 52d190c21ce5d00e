"""What is served: every (group, version, plural) with its schema, rules, columns and selectable fields.

The built-in kinds are there from the start; CRDs add and remove descriptors while the server runs.  Discovery and OpenAPI
documents key their caches on `Catalog.generation`.  Knows nothing of storage or requests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cluster.machinery.objects import GroupKind, Obj
from cluster.machinery.resource import Resource
from cluster.machinery.schema import Node, compile_structural
from cluster.resources import (
    admission_policies,
    admission_webhooks,
    apiextensions,
    apiregistration,
    apps,
    apps_daemon_set,
    apps_stateful_set,
    autoscaling,
    autoscaling_v1,
    batch,
    batch_cron_job,
    certificates,
    coordination,
    core,
    core_templates,
    endpoints,
    events,
    flowcontrol,
    metrics,
    networking,
    networking_addresses,
    networking_policy,
    node_runtime_class,
    pod,
    policy,
    quota,
    quota_limit_range,
    rbac,
    scheduling,
    service,
    storage,
    storage_drivers,
    volumes,
    volumes_claim,
)
from cluster.resources.builtin import (
    BUILTIN,
    EVENTS,
    EVENTS_V1,
    HORIZONTAL_POD_AUTOSCALERS,
    HORIZONTAL_POD_AUTOSCALERS_V1,
)
from cluster.resources.conversion import Conversion
from cluster.resources.kind import Kind, Selectable, metadata_fields
from cluster.resources.printing import Column
from cluster.resources.schemas import OBJECT_META, definition_name_of, node_of, nodes
from cluster.resources.strategy import PlainStrategy, Strategy


def same(obj: Obj) -> Obj:
    return obj


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Descriptor:
    """One served resource in one version.

    `storage` names the resource whose rows it shares; `to_storage` and `from_storage` convert whole objects (identity for
    all but those served in several versions or groups).  `definition` is the schema's name in OpenAPI.  `custom` marks
    resources of a CRD, described by `schema` (their openAPIV3Schema): they take no strategic merge patches, and are pruned
    and defaulted by schema.  `deprecation` is what users of this version are told; empty for most.
    `conversion`: rows may be in other versions, and a webhook has to be asked before `from_storage` can read them.
    """

    resource: Resource
    node: Node
    strategy: Strategy
    columns: Sequence[Column]
    storage: Resource
    definition: str
    selectable: Selectable = field(default_factory=dict)
    to_storage: Callable[[Obj], Obj] = same
    from_storage: Callable[[Obj], Obj] = same
    custom: bool = False
    schema: Obj = field(default_factory=dict)
    deprecation: str = ""
    conversion: Conversion | None = None

    @property
    def is_stored(self) -> bool:
        """Whether its objects are served as they are stored."""
        return self.from_storage is same


class Catalog:
    """Descriptors by URL words and by kind.  `generation` grows with every change."""

    def __init__(self, descriptors: Sequence[Descriptor] = ()) -> None:
        self.generation = 0
        self._by_resource: dict[tuple[str, str, str], Descriptor] = {}
        self._by_kind: dict[GroupKind, dict[str, Descriptor]] = {}
        for descriptor in descriptors:
            self.add(descriptor)

    def __iter__(self) -> Iterator[Descriptor]:
        """In the order they were added."""
        return iter(self._by_resource.values())

    def add(self, descriptor: Descriptor) -> None:
        """Serve it; one with the same group, version and plural is replaced."""
        resource = descriptor.resource
        self._by_resource[resource.group, resource.version, resource.plural] = descriptor
        self._by_kind.setdefault(resource.group_kind, {})[resource.version] = descriptor
        self.generation += 1

    def remove(self, resource: Resource) -> None:
        """Stop serving it; unknown resources are ignored."""
        if self._by_resource.pop((resource.group, resource.version, resource.plural), None) is None:
            return
        versions = self._by_kind[resource.group_kind]
        versions.pop(resource.version, None)
        if not versions:
            del self._by_kind[resource.group_kind]
        self.generation += 1

    def get(self, group: str, version: str, plural: str) -> Descriptor | None:
        return self._by_resource.get((group, version, plural))

    def of(self, resource: Resource) -> Descriptor:
        """The descriptor of a served resource.  Raises KeyError when it is not served."""
        return self._by_resource[resource.group, resource.version, resource.plural]

    def of_kind(self, group_kind: GroupKind, version: str = "") -> Descriptor | None:
        """By kind; without a version, in the group's preferred one."""
        versions = self._by_kind.get(group_kind, {})
        return versions.get(version or min(versions, key=version_priority, default=""))

    def groups(self) -> tuple[str, ...]:
        """Served groups, the core group first, then as first added."""
        seen = dict.fromkeys(descriptor.resource.group for descriptor in self)
        return ("", *(group for group in seen if group)) if "" in seen else tuple(seen)

    def versions(self, group: str) -> tuple[str, ...]:
        """The served versions of a group, preferred first."""
        seen = dict.fromkeys(d.resource.version for d in self if d.resource.group == group)
        return tuple(sorted(seen, key=version_priority))

    def in_version(self, group: str, version: str) -> tuple[Descriptor, ...]:
        """What one group-version serves, by plural."""
        found = [d for d in self if d.resource.group == group and d.resource.version == version]
        return tuple(sorted(found, key=lambda descriptor: descriptor.resource.plural))


def version_priority(version: str) -> tuple[int, int, int, str]:
    """A sort key: GA before beta before alpha, higher numbers first, anything else last by name.

    Upstream: apimachinery/pkg/version CompareKubeAwareVersionStrings.
    """
    match = _VERSION.fullmatch(version)
    if match is None:
        return (len(_STAGES), 0, 0, version)
    return (_STAGES.index(match[2] or ""), -int(match[1]), -int(match[3] or 0), "")


_VERSION = re.compile(r"v([0-9]+)(?:(alpha|beta)([0-9]+))?")
_STAGES = ("", "beta", "alpha")


def builtin_catalog() -> Catalog:
    """A new catalog of everything served from the start."""
    return Catalog([*(_builtin(resource) for resource in BUILTIN), *map(_metrics, metrics.SCHEMAS)])


def _metrics(resource: Resource) -> Descriptor:
    """Not among upstream's own kinds: its schema is ours, as a custom resource's is its author's."""
    schema = metrics.SCHEMAS[resource]
    return Descriptor(
        resource=resource,
        node=compile_structural(schema, object_meta=nodes()[OBJECT_META]),
        strategy=_generic(resource),
        columns=metrics.COLUMNS,
        storage=resource,
        definition=f"{metrics.DEFINITIONS}.{resource.kind}",
        selectable=metadata_fields(resource),
        custom=True,
        schema=schema,
    )


def _builtin(resource: Resource) -> Descriptor:
    other = _OTHER_FORMS.get(resource)
    kind = (other and other.kind) or _KINDS.get(resource.group_kind) or Kind(_generic(resource))
    return Descriptor(
        resource=resource,
        node=node_of(resource.gvk),
        strategy=kind.strategy,
        columns=kind.columns,
        storage=other.storage if other else resource,
        definition=definition_name_of(resource.gvk),
        selectable={**metadata_fields(resource), **kind.selectable},
        to_storage=other.to_storage if other else same,
        from_storage=other.from_storage if other else same,
    )


@dataclass(frozen=True, slots=True)
class _OtherForm:
    """A resource whose rows are those of another one; `kind` where the kind's own rules are told in other fields."""

    storage: Resource
    to_storage: Callable[[Obj], Obj]
    from_storage: Callable[[Obj], Obj]
    kind: Kind | None = None


_OTHER_FORMS: Mapping[Resource, _OtherForm] = {
    EVENTS_V1: _OtherForm(EVENTS, events.event_to_storage, events.event_from_storage),
    HORIZONTAL_POD_AUTOSCALERS_V1: _OtherForm(
        HORIZONTAL_POD_AUTOSCALERS, autoscaling_v1.to_storage, autoscaling_v1.to_v1, autoscaling_v1.KIND
    ),
}


def _generic(resource: Resource) -> Strategy:
    return PlainStrategy(
        namespaced=resource.namespaced,
        has_status="status" in resource.subresources,
        has_generation="status" in resource.subresources,
    )


_KINDS: Mapping[GroupKind, Kind] = {
    group_kind: kind
    for module in (
        admission_policies,
        admission_webhooks,
        apiextensions,
        apiregistration,
        apps,
        apps_daemon_set,
        apps_stateful_set,
        autoscaling,
        batch,
        batch_cron_job,
        certificates,
        coordination,
        core,
        core_templates,
        endpoints,
        events,
        flowcontrol,
        networking,
        networking_addresses,
        networking_policy,
        node_runtime_class,
        pod,
        policy,
        quota,
        quota_limit_range,
        rbac,
        scheduling,
        service,
        storage,
        storage_drivers,
        volumes,
        volumes_claim,
    )
    for group_kind, kind in module.KINDS.items()
}
