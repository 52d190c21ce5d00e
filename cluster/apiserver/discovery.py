"""What is served, told to clients: legacy and aggregated discovery, and the version.

Documents are pure functions of the catalogue; `Discovery` keeps them, encoded, for one catalogue generation.
Upstream: apiserver/pkg/endpoints/discovery (legacy), .../discovery/aggregated (KEP-3352).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import orjson

from cluster.apiserver.discovery_merging import (
    RemoteGroupVersion,
    legacy_group,
    with_aggregated,
    with_legacy,
)
from cluster.apiserver.http import ApiRequest, Reply
from cluster.machinery.errors import MethodNotAllowed, NotAcceptable
from cluster.machinery.objects import GroupVersionKind, Obj
from cluster.machinery.resource import Resource
from cluster.resources.catalog import Catalog, Descriptor
from cluster.resources.subresources import Subresource, subresources_of

MAJOR, MINOR = "1", "33"
GIT_VERSION = f"v{MAJOR}.{MINOR}.5+reconciler"
AGGREGATED_VERSIONS = ("v2", "v2beta1")
_AGGREGATED_KIND = "APIGroupDiscoveryList"


def version_document(platform: str) -> Obj:
    """`/version`; `platform` as Go names it (`linux/amd64`).  `major` and `minor` are bare integers."""
    return {
        "major": MAJOR,
        "minor": MINOR,
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": platform,
    }


_OTHER_PATHS = (
    "/.well-known/openid-configuration", "/api", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3",
    "/openid/v1/jwks", "/readyz", "/version",
)  # fmt: skip


def root_paths(catalog: Catalog) -> Obj:
    """`/`: what is served, group-versions and the paths that are no resources, sorted."""
    found = [*_OTHER_PATHS]
    for group in catalog.groups():
        home = f"/apis/{group}" if group else "/api"
        found += [home, *(f"{home}/{version}" for version in catalog.versions(group))]
    return {"paths": sorted(set(found))}


def api_versions(catalog: Catalog) -> Obj:
    """`/api`: the core group's versions."""
    return {
        "kind": "APIVersions",
        "versions": list(catalog.versions("")),
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}],
    }


def api_group(catalog: Catalog, group: str, *, typed: bool = True) -> Obj:
    """`/apis/GROUP`; within the list of all groups it carries no type of its own."""
    versions = [{"groupVersion": f"{group}/{version}", "version": version} for version in catalog.versions(group)]
    head = {"kind": "APIGroup", "apiVersion": "v1"} if typed else {}
    return {**head, "name": group, "versions": versions, "preferredVersion": versions[0]}


def api_group_list(catalog: Catalog) -> Obj:
    """`/apis`: every named group."""
    groups = [api_group(catalog, group, typed=False) for group in catalog.groups() if group]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def api_resource_list(catalog: Catalog, group: str, version: str) -> Obj:
    """`/api/V` or `/apis/GROUP/V`: resources and, as `pods/log`, their subresources."""
    resources: list[Obj] = []
    for descriptor in catalog.in_version(group, version):
        resource = descriptor.resource
        resources.append(_legacy_resource(resource))
        resources.extend(_legacy_subresource(resource, subresource) for subresource in subresources_of(resource))
    group_version = f"{group}/{version}" if group else version
    head = {"kind": "APIResourceList", "apiVersion": "v1"}
    return {**head, "groupVersion": group_version, "resources": resources}


def _legacy_resource(resource: Resource) -> Obj:
    entry: dict[str, Any] = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": sorted(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    return entry


def _legacy_subresource(resource: Resource, subresource: Subresource) -> Obj:
    entry: dict[str, Any] = {
        "name": f"{resource.plural}/{subresource.name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": subresource.kind.kind,
        "verbs": list(subresource.verbs),
    }
    # Named only when they differ: clients look here to learn that evictions are policy/v1.
    if (subresource.kind.group, subresource.kind.version) != (resource.group, resource.version):
        entry |= {"group": subresource.kind.group, "version": subresource.kind.version}
    return entry


def aggregated_list(catalog: Catalog, *, core: bool, version: str) -> Obj:
    """`/api` (core) or `/apis` (the rest) in one document of apidiscovery.k8s.io/`version`."""
    groups = [group for group in catalog.groups() if (group == "") is core]
    return {
        "kind": _AGGREGATED_KIND,
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": [_aggregated_group(catalog, group) for group in groups],
    }


def _aggregated_group(catalog: Catalog, group: str) -> Obj:
    versions = [
        {
            "version": version,
            "resources": [_aggregated_resource(descriptor) for descriptor in catalog.in_version(group, version)],
            "freshness": "Current",
        }
        for version in catalog.versions(group)
    ]
    return {"metadata": {"name": group} if group else {}, "versions": versions}


def _aggregated_resource(descriptor: Descriptor) -> Obj:
    resource = descriptor.resource
    entry: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": _kind(resource.gvk),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": sorted(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if resource.subresources:
        entry["subresources"] = [
            {"subresource": part.name, "responseKind": _kind(part.kind), "verbs": list(part.verbs)}
            for part in subresources_of(resource)
        ]
    return entry


def _kind(gvk: GroupVersionKind) -> Obj:
    return {"group": gvk.group, "version": gvk.version, "kind": gvk.kind}


class Elsewhere(Protocol):
    """What other servers serve."""

    @property
    def changes(self) -> int:
        """Grows with every change."""
        ...

    def group_versions(self) -> Sequence[RemoteGroupVersion]: ...


class Discovery:
    """Answers the discovery paths from `catalog` and what `elsewhere` knows of other servers.

    Documents are encoded once per generation of both.
    """

    def __init__(self, catalog: Catalog, *, platform: str, elsewhere: Elsewhere) -> None:
        self._catalog = catalog
        self._platform = platform
        self._elsewhere = elsewhere
        self._generation = (-1, -1)
        self._encoded: dict[tuple[str, str], tuple[bytes, str]] = {}

    def handle(self, request: ApiRequest) -> Reply | None:
        """The answer, or None when the path is not one of discovery's.  Raises MethodNotAllowed and NotAcceptable."""
        path = request.path.rstrip("/")
        generation = (self._catalog.generation, self._elsewhere.changes)
        if self._generation != generation:
            self._encoded.clear()
            self._generation = generation
        if self._document(path, "") is None:
            return None
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        form = _form_of(request.headers.get("accept", ""), aggregated=path in ("/api", "/apis"))
        body, etag = self._encode(path, form)
        content_type = "application/json"
        if form:
            content_type += f";g=apidiscovery.k8s.io;v={form};as={_AGGREGATED_KIND}"
        headers = {"ETag": etag, "Vary": "Accept"}
        if etag in _tags(request.headers.get("if-none-match", "")):
            return Reply(304, body=b"", headers=headers, content_type=content_type)
        return Reply(body=body, headers=headers, content_type=content_type)

    def _remote(self) -> Sequence[RemoteGroupVersion]:
        return self._elsewhere.group_versions()

    def _is_elsewhere(self, group: str) -> bool:
        return any(one.group == group for one in self._remote())

    def _encode(self, path: str, form: str) -> tuple[bytes, str]:
        known = self._encoded.get((path, form))
        if known is None:
            body = orjson.dumps(self._document(path, form))
            known = (body, f'"{hashlib.sha256(body).hexdigest().upper()}"')
            self._encoded[path, form] = known
        return known

    def _document(self, path: str, form: str) -> Obj | None:
        catalog = self._catalog
        if not path:
            return root_paths(self._catalog)
        match path.split("/")[1:]:
            case ["version"]:
                return version_document(self._platform)
            case ["api"]:
                return aggregated_list(catalog, core=True, version=form) if form else api_versions(catalog)
            case ["apis"]:
                if form:
                    return with_aggregated(aggregated_list(catalog, core=False, version=form), self._remote())
                return with_legacy(api_group_list(catalog), self._remote())
            case ["apis", group] if group and (catalog.versions(group) or self._is_elsewhere(group)):
                return legacy_group(api_group_list(catalog), self._remote(), group)
            case ["api", version] if version in catalog.versions(""):
                return api_resource_list(catalog, "", version)
            case ["apis", group, version] if group and version in catalog.versions(group):
                return api_resource_list(catalog, group, version)
            case _:
                return None


def _form_of(accept: str, *, aggregated: bool) -> str:
    """The version of aggregated discovery that the first acceptable clause asks for; empty: the legacy form.

    Unknown parameters (`profile`) are ignored, as are media types that are not JSON.  Raises NotAcceptable.
    """
    clauses = [clause for clause in accept.split(",") if clause.strip()]
    if not clauses:
        return ""
    for clause in clauses:
        media_type, *rest = (part.strip() for part in clause.split(";"))
        if media_type not in ("application/json", "application/*", "*/*"):
            continue
        parameters = dict(part.split("=", 1) for part in rest if "=" in part)
        wanted = parameters.get("as")
        if wanted is None:
            return ""
        version = parameters.get("v", "")
        is_known = wanted == _AGGREGATED_KIND and parameters.get("g") == "apidiscovery.k8s.io"
        if aggregated and is_known and version in AGGREGATED_VERSIONS:
            return version
    raise NotAcceptable("only the following media types are accepted: application/json")


def _tags(header: str) -> tuple[str, ...]:
    return tuple(tag.strip().removeprefix("W/") for tag in header.split(","))
