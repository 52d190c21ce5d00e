"""The operations of served resources, as values that both OpenAPI versions are rendered from.

Upstream: apiserver/pkg/endpoints/installer.go.  What clients read here: each operation's kind and action, the media types
of a PATCH, and that writes take `fieldValidation` (kubectl then trusts the server to validate).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cluster.machinery.objects import GroupVersionKind
from cluster.resources.catalog import Descriptor
from cluster.resources.schemas import definition_name_of
from cluster.resources.subresources import Subresource, subresources_of

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
CUSTOM_PATCHES = (JSON_PATCH, MERGE_PATCH, APPLY_PATCH)
BUILTIN_PATCHES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)

DELETE_OPTIONS = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
STATUS = "io.k8s.apimachinery.pkg.apis.meta.v1.Status"

_LIST = {
    "allowWatchBookmarks": "boolean", "continue": "string", "fieldSelector": "string", "labelSelector": "string",
    "limit": "integer", "resourceVersion": "string", "resourceVersionMatch": "string", "sendInitialEvents": "boolean",
    "timeoutSeconds": "integer", "watch": "boolean",
}  # fmt: skip
_WRITE = {"dryRun": "string", "fieldManager": "string", "fieldValidation": "string"}
_PATCH = {**_WRITE, "force": "boolean"}
_DELETE = {
    "dryRun": "string", "gracePeriodSeconds": "integer", "orphanDependents": "boolean", "propagationPolicy": "string",
}  # fmt: skip
_NONE: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method at one path.  `body` and `answer` are definition names; empty: none, or not an object."""

    path: str
    method: str
    action: str
    gvk: GroupVersionKind
    id: str
    parameters: Mapping[str, str]
    """Query parameters and their types; `pretty` goes without saying."""
    body: str = ""
    body_types: tuple[str, ...] = ()
    answer: str = ""
    created: bool = False
    """A success may be 201 as well."""


def list_definition_of(definition: str) -> str:
    return f"{definition}List"


def operations_of(descriptor: Descriptor) -> Iterator[Operation]:
    """Every operation on a resource, its collection and its subresources."""
    resource = descriptor.resource
    verbs, kind = frozenset(resource.verbs), descriptor.definition
    base = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    collection = (
        f"{base}/namespaces/{{namespace}}/{resource.plural}" if resource.namespaced else f"{base}/{resource.plural}"
    )
    item = f"{collection}/{{name}}"
    make = _Maker(descriptor)
    if "list" in verbs:
        listed = list_definition_of(kind)
        yield make(collection, "get", "list", _LIST, answer=listed)
        if resource.namespaced:
            yield make(f"{base}/{resource.plural}", "get", "list", _LIST, answer=listed, suffix="ForAllNamespaces")
    if "create" in verbs:
        yield make(collection, "post", "post", _WRITE, body=kind, answer=kind, created=True)
    if "deletecollection" in verbs:
        yield make(collection, "delete", "deletecollection", {**_LIST, **_DELETE}, body=DELETE_OPTIONS, answer=STATUS)
    if "get" in verbs:
        yield make(item, "get", "get", _NONE, answer=kind)
    if "update" in verbs:
        yield make(item, "put", "put", _WRITE, body=kind, answer=kind, created=True)
    if "patch" in verbs:
        yield make.patch(item, kind)
    if "delete" in verbs:
        yield make(item, "delete", "delete", _DELETE, body=DELETE_OPTIONS, answer=STATUS)
    for subresource in subresources_of(resource):
        yield from _subresource_operations(make, descriptor, subresource, item)


def _subresource_operations(
    make: _Maker, descriptor: Descriptor, subresource: Subresource, item: str
) -> Iterator[Operation]:
    path, suffix, gvk = f"{item}/{subresource.name}", subresource.name.title(), subresource.kind
    if subresource.is_connection:
        for method in ("get", "post"):
            yield make(path, method, "connect", _NONE, gvk=gvk, suffix=suffix)
        return
    if subresource.name == "log":
        yield make(path, "get", "get", _NONE, suffix=suffix)
        return
    is_own = gvk == descriptor.resource.gvk
    kind = descriptor.definition if is_own else definition_name_of(gvk)
    if "create" in subresource.verbs:
        yield make(path, "post", "post", _WRITE, gvk=gvk, suffix=suffix, body=kind, answer=kind, created=True)
    if "get" in subresource.verbs:
        yield make(path, "get", "get", _NONE, gvk=gvk, suffix=suffix, answer=kind)
    if "update" in subresource.verbs:
        yield make(path, "put", "put", _WRITE, gvk=gvk, suffix=suffix, body=kind, answer=kind)
    if "patch" in subresource.verbs:
        yield make.patch(path, kind, gvk=gvk, suffix=suffix)


class _Maker:
    """Operations of one descriptor: names them and fills what they share."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._descriptor = descriptor

    def __call__(
        self,
        path: str,
        method: str,
        action: str,
        parameters: Mapping[str, str],
        *,
        gvk: GroupVersionKind | None = None,
        suffix: str = "",
        body: str = "",
        answer: str = "",
        created: bool = False,
    ) -> Operation:
        return Operation(
            path=path,
            method=method,
            action=action,
            gvk=gvk or self._descriptor.resource.gvk,
            id=self._id(method if action == "connect" else action, suffix, connect=action == "connect"),
            parameters=parameters,
            body=body,
            body_types=("application/json", "application/yaml") if body else (),
            answer=answer,
            created=created,
        )

    def patch(self, path: str, kind: str, *, gvk: GroupVersionKind | None = None, suffix: str = "") -> Operation:
        return Operation(
            path=path,
            method="patch",
            action="patch",
            gvk=gvk or self._descriptor.resource.gvk,
            id=self._id("patch", suffix),
            parameters=_PATCH,
            body=kind,
            body_types=CUSTOM_PATCHES if self._descriptor.custom else BUILTIN_PATCHES,
            answer=kind,
            created=True,
        )

    def _id(self, action: str, suffix: str, *, connect: bool = False) -> str:
        resource = self._descriptor.resource
        verb = {"post": "create", "get": "read", "put": "replace"}.get(action, action)
        if connect:
            verb = f"connect{action.title()}"
        group = "".join(part.title() for part in (resource.group or "core").removesuffix(".k8s.io").split("."))
        scope = "Namespaced" if resource.namespaced and suffix != "ForAllNamespaces" else ""
        return f"{verb}{group}{resource.version.title()}{scope}{resource.kind}{suffix}"
