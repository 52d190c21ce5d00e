"""Which resources a server serves, by kind: what a client needs before it can address an object it only has as YAML.

Aggregated discovery is asked for (two requests); a server without it is walked group by group.
Source: KEP-3352, apidiscovery.k8s.io/v2; client-go/restmapper.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from cluster.client.transport import Transport
from cluster.machinery.errors import ApiError, InternalError
from cluster.machinery.objects import GroupKind, GroupVersionKind, Obj
from cluster.machinery.resource import Resource

_LIST = "APIGroupDiscoveryList"
_ACCEPT = ",".join(
    (
        f"application/json;g=apidiscovery.k8s.io;v=v2;as={_LIST}",
        f"application/json;g=apidiscovery.k8s.io;v=v2beta1;as={_LIST}",
        "application/json",
    )
)


class Discovery:
    """A snapshot of what is served, replaced as a whole by `refresh`.  Empty before the first one."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._by_gvk: Mapping[GroupVersionKind, Resource] = {}
        self._preferred: Mapping[GroupKind, Resource] = {}
        self._scopes: Mapping[GroupKind, bool] = {}

    async def refresh(self) -> None:
        """Ask the server.  Raises ApiError; the previous snapshot then stays."""
        found: list[Resource] = []
        for path in ("/api", "/apis"):
            document = await self._document(path)
            if document.get("kind") == _LIST:
                found.extend(_aggregated(document.get("items") or ()))
            else:
                found.extend(await self._walked(path, document))
        by_gvk: dict[GroupVersionKind, Resource] = {}
        preferred: dict[GroupKind, Resource] = {}
        for resource in found:
            by_gvk.setdefault(resource.gvk, resource)
            preferred.setdefault(resource.group_kind, resource)
        self._by_gvk, self._preferred = by_gvk, preferred
        self._scopes = {kind: resource.namespaced for kind, resource in preferred.items()}

    def find(self, gvk: GroupVersionKind) -> Resource | None:
        """The resource that serves exactly this version of the kind."""
        return self._by_gvk.get(gvk)

    def preferred(self, kind: GroupKind) -> Resource | None:
        """The resource in the version the server prefers."""
        return self._preferred.get(kind)

    def scopes(self) -> Mapping[GroupKind, bool]:
        """Every served kind, with whether it is namespaced; the same mapping until the next `refresh`."""
        return self._scopes

    async def _document(self, path: str) -> Any:
        answer = await self._transport.raw("GET", path, headers={"accept": _ACCEPT})
        try:
            return orjson.loads(answer.body)
        except orjson.JSONDecodeError as error:
            raise InternalError(f"discovery at {path} answered something that is not JSON") from error

    async def _walked(self, path: str, document: Obj) -> Sequence[Resource]:
        if path == "/api":
            paths = [f"/api/{version}" for version in document.get("versions") or ()]
        else:
            paths = [
                f"/apis/{version['groupVersion']}"
                for group in document.get("groups") or ()
                for version in _preferred_first(group)
            ]
        found: list[Resource] = []
        for each in paths:
            try:
                found.extend(_legacy(await self._document(each)))
            except ApiError:
                # An aggregated API whose backend is away must not hide all others (upstream does the same).
                continue
        return found


def _preferred_first(group: Obj) -> list[Obj]:
    preferred = (group.get("preferredVersion") or {}).get("groupVersion")
    return sorted(group.get("versions") or (), key=lambda version: version["groupVersion"] != preferred)


def _aggregated(items: Iterable[Obj]) -> Iterator[Resource]:
    for item in items:
        group = str((item.get("metadata") or {}).get("name", ""))
        for version in item.get("versions") or ():
            for served in version.get("resources") or ():
                kind = (served.get("responseKind") or {}).get("kind", "")
                if kind:
                    yield Resource(
                        group=group,
                        version=str(version["version"]),
                        kind=str(kind),
                        plural=str(served["resource"]),
                        namespaced=served.get("scope") == "Namespaced",
                        singular=str(served.get("singularResource", "")),
                        short_names=tuple(served.get("shortNames") or ()),
                        categories=tuple(served.get("categories") or ()),
                        verbs=tuple(served.get("verbs") or ()),
                        subresources=tuple(sub["subresource"] for sub in served.get("subresources") or ()),
                    )


def _legacy(document: Obj) -> Iterator[Resource]:
    group, _, version = str(document.get("groupVersion", "")).rpartition("/")
    listed: Sequence[Obj] = document.get("resources") or ()
    below: dict[str, list[str]] = {}
    for served in listed:
        plural, _, subresource = str(served["name"]).partition("/")
        if subresource:
            below.setdefault(plural, []).append(subresource)
    for served in listed:
        if "/" not in served["name"]:
            yield Resource(
                group=group,
                version=version,
                kind=str(served["kind"]),
                plural=str(served["name"]),
                namespaced=bool(served.get("namespaced")),
                singular=str(served.get("singularName", "")),
                short_names=tuple(served.get("shortNames") or ()),
                categories=tuple(served.get("categories") or ()),
                verbs=tuple(served.get("verbs") or ()),
                subresources=tuple(below.get(str(served["name"]), ())),
            )
