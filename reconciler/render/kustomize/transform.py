"""What a kustomization does to all its objects: names, namespace, labels, annotations, images, replicas.

Upstream: kustomize api/internal/builtins.  All change the objects in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reconciler.render.kustomize.fields import REPLICAS, UNPREFIXED, Field
from reconciler.render.kustomize.resource import CLUSTER_SCOPED, Built, gvk_of, places


def add_affixes(built: Iterable[Built], *, prefix: str, suffix: str) -> None:
    for each in built:
        if each.id.gvk.kind not in UNPREFIXED:
            each.renamed(name=f"{prefix}{each.id.name}{suffix}")
            each.prefixes += [prefix] if prefix else []
            each.suffixes += [suffix] if suffix else []


def set_namespace(built: Iterable[Built], namespace: str) -> None:
    """Also in the subjects called `default`; those of other accounts follow the accounts themselves."""
    for each in built:
        kind = each.id.gvk.kind
        if kind == "Namespace":
            each.renamed(name=namespace)
        elif kind not in CLUSTER_SCOPED:
            each.renamed(namespace=namespace)
        if kind in ("RoleBinding", "ClusterRoleBinding"):
            for subject in each.obj.get("subjects") or ():
                if subject.get("kind") == "ServiceAccount" and subject.get("name") == "default":
                    subject["namespace"] = namespace
        if kind in ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"):
            for holder, key in places(each.obj, ("webhooks", "clientConfig", "service")):
                if isinstance(holder[key], dict):
                    holder[key]["namespace"] = namespace
        for path in _SERVICE_NAMESPACES.get(kind, ()):
            for holder, key in places(each.obj, path):
                if isinstance(holder[key], dict):
                    holder[key]["namespace"] = namespace


_SERVICE_NAMESPACES: Mapping[str, Sequence[tuple[str, ...]]] = {
    "APIService": (("spec", "service"),),
    "CustomResourceDefinition": (("spec", "conversion", "webhook", "clientConfig", "service"),),
}


def set_pairs(built: Iterable[Built], pairs: Mapping[str, str], fields: Sequence[Field]) -> None:
    """Labels or annotations, wherever `fields` says."""
    for each in built:
        gvk = each.id.gvk
        for field in fields:
            if not field.fits(gvk):
                continue
            for holder, key in places(each.obj, field.path, create=field.create):
                old = holder.get(key)
                holder[key] = {**(old if isinstance(old, dict) else {}), **pairs}


def set_images(built: Iterable[Built], wanted: Mapping[str, Any]) -> None:
    """One entry of `images`, in every list of containers outside of CustomResourceDefinitions.  Raises ValueError."""
    for each in built:
        if each.id.gvk.kind != "CustomResourceDefinition":
            _set_image(each.obj, wanted)


def _set_image(value: Any, wanted: Mapping[str, Any]) -> None:
    if isinstance(value, list):
        for item in value:
            _set_image(item, wanted)
    elif isinstance(value, dict):
        for key, part in value.items():
            if key in ("containers", "initContainers") and isinstance(part, list):
                for container in part:
                    if isinstance(container, dict) and isinstance(container.get("image"), str):
                        container["image"] = _image(container["image"], wanted)
            _set_image(part, wanted)


def _image(image: str, wanted: Mapping[str, Any]) -> str:
    rest, at, digest = image.partition("@")
    name, tag = rest, ""
    colon = rest.rfind(":")
    if colon > rest.rfind("/"):
        name, tag = rest[:colon], rest[colon + 1 :]
    if name != wanted["name"]:
        return image
    name = wanted.get("newName") or name
    if wanted.get("digest"):
        new_tag = wanted.get("newTag")
        return f"{name}:{new_tag}@{wanted['digest']}" if new_tag else f"{name}@{wanted['digest']}"
    if wanted.get("newTag"):
        return f"{name}:{wanted['newTag']}{wanted.get('tagSuffix') or ''}"
    return name + (f":{tag}" if tag else "") + (f"@{digest}" if at else "")


def set_replicas(built: Sequence[Built], name: str, count: int) -> bool:
    """False when there is nothing of this name to set."""
    found = False
    for each in built:
        if any(one.name == name for one in each.ids):
            for field in REPLICAS:
                if field.fits(gvk_of(each.obj)):
                    for holder, key in places(each.obj, field.path, create=True):
                        holder[key] = count
                        found = True
    return found
