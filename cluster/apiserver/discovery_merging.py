"""Discovery documents of this server and those it aggregates, joined: by priority, Stale where a server does not answer.

Pure: what other servers said goes in, and is trusted in nothing but its words.  Upstream:
kube-aggregator/pkg/apiserver/handler_discovery.go, handler_apis.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster.machinery.objects import Obj
from cluster.resources.apiregistration import CUSTOM_GROUP_PRIORITY, group_priority_of


@dataclass(frozen=True, slots=True)
class RemoteGroupVersion:
    """A group-version served elsewhere; `resources` is its APIResourceList as last heard (empty: never)."""

    group: str
    version: str
    group_priority: int
    version_priority: int
    is_current: bool
    resources: Obj = field(default_factory=dict)


def with_legacy(document: Obj, remote: Sequence[RemoteGroupVersion]) -> Obj:
    """An APIGroupList with the other servers' groups."""
    if not remote:
        return document
    groups = {group["name"]: dict(group) for group in document["groups"]}
    for group, versions in _by_group(remote).items():
        mine = groups.get(group)
        listed = [*(mine["versions"] if mine else ()), *(_legacy_version(one) for one in versions)]
        preferred = mine["preferredVersion"] if mine else listed[0]
        groups[group] = {"name": group, "versions": listed, "preferredVersion": preferred}
    return {**document, "groups": _ordered(groups, remote)}


def legacy_group(document: Obj, remote: Sequence[RemoteGroupVersion], group: str) -> Obj:
    """`/apis/GROUP` out of the list of all groups."""
    found = next(one for one in with_legacy(document, remote)["groups"] if one["name"] == group)
    return {"kind": "APIGroup", "apiVersion": "v1", **found}


def with_aggregated(document: Obj, remote: Sequence[RemoteGroupVersion]) -> Obj:
    """An APIGroupDiscoveryList with the other servers' groups."""
    if not remote:
        return document
    groups = {group["metadata"]["name"]: dict(group) for group in document["items"]}
    for group, versions in _by_group(remote).items():
        mine = groups.get(group, {"metadata": {"name": group}, "versions": []})
        groups[group] = {**mine, "versions": [*mine["versions"], *(_aggregated_version(one) for one in versions)]}
    return {**document, "items": _ordered(groups, remote)}


def _by_group(remote: Iterable[RemoteGroupVersion]) -> Mapping[str, Sequence[RemoteGroupVersion]]:
    groups: dict[str, list[RemoteGroupVersion]] = {}
    for one in sorted(remote, key=lambda each: (-each.version_priority, each.version)):
        groups.setdefault(one.group, []).append(one)
    return groups


def _ordered(groups: Mapping[str, Obj], remote: Sequence[RemoteGroupVersion]) -> list[Obj]:
    """This server's groups as they were, each of the others after the last that has at least its priority."""
    priorities: dict[str, int] = {}
    for one in remote:
        priorities[one.group] = max(priorities.get(one.group, 0), one.group_priority)
    own = [name for name in groups if name not in priorities]
    for name in sorted(priorities, key=lambda each: (-priorities[each], each)):
        higher = [i for i, other in enumerate(own) if _priority(other, priorities) >= priorities[name]]
        own.insert(higher[-1] + 1 if higher else 0, name)
    return [groups[name] for name in own]


def _priority(group: str, remote: Mapping[str, int]) -> int:
    return remote[group] if group in remote else group_priority_of(group, default=CUSTOM_GROUP_PRIORITY)


def _legacy_version(one: RemoteGroupVersion) -> Obj:
    return {"groupVersion": f"{one.group}/{one.version}", "version": one.version}


def _aggregated_version(one: RemoteGroupVersion) -> Obj:
    return {
        "version": one.version,
        "resources": list(_aggregated_resources(one)),
        "freshness": "Current" if one.is_current else "Stale",
    }


def _aggregated_resources(one: RemoteGroupVersion) -> Iterator[Obj]:
    entries = [entry for entry in _list_at(one.resources, "resources") if isinstance(entry, Mapping)]
    parts: dict[str, list[Obj]] = {}
    for entry in entries:
        plural, slash, name = str(entry.get("name", "")).partition("/")
        if slash:
            part = {"subresource": name, "responseKind": _kind(entry, one), "verbs": _texts(entry, "verbs")}
            parts.setdefault(plural, []).append(part)
    for entry in entries:
        plural = str(entry.get("name", ""))
        if not plural or "/" in plural:
            continue
        made: dict[str, Any] = {
            "resource": plural,
            "responseKind": _kind(entry, one),
            "scope": "Namespaced" if entry.get("namespaced") else "Cluster",
            "singularResource": str(entry.get("singularName") or ""),
            "verbs": _texts(entry, "verbs"),
        }
        for field_name in ("shortNames", "categories"):
            if texts := _texts(entry, field_name):
                made[field_name] = texts
        if plural in parts:
            made["subresources"] = parts[plural]
        yield made


def _kind(entry: Mapping[str, Any], one: RemoteGroupVersion) -> Obj:
    return {
        "group": str(entry.get("group") or one.group),
        "version": str(entry.get("version") or one.version),
        "kind": str(entry.get("kind") or ""),
    }


def _texts(entry: Mapping[str, Any], name: str) -> list[str]:
    return [str(text) for text in _list_at(entry, name)]


def _list_at(entry: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = entry.get(name)
    return value if isinstance(value, list) else ()
