"""How verbs name an object, KIND/NAME or KIND/NAMESPACE/NAME, and what GitOps knows of it: owner, runs, root."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.client.discovery import Discovery
from cluster.client.transport import Query, Transport, list_all
from cluster.machinery.errors import NotFound
from cluster.machinery.objects import GroupKind, Key, Obj, controller_of, key_of, namespace_of
from cluster.machinery.resource import Resource
from reconciler.cli.access import configure_cluster
from reconciler.cli.exit_codes import CommandError, Exit
from reconciler.crds.application import APPLICATIONS
from reconciler.crds.inventory import INVENTORIES
from reconciler.crds.run import RUNS
from reconciler.history.ownership import owner_in
from reconciler.history.runs import newest_first, runs_of
from reconciler.model import Ref

OWNERS_MAX = 10
"""Controllers above one another that are followed."""


def configure_object(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("object", help="KIND/NAME or KIND/NAMESPACE/NAME; the kind as kubectl takes it")
    configure_cluster(parser)
    parser.add_argument(
        "-n", "--namespace", default="default", help="the object's, if it names none (default: default)"
    )


@dataclass(frozen=True, slots=True)
class Owned:
    """An application with its runs, newest first; `application` None when GitOps owns nothing of this."""

    application: Obj | None
    runs: Sequence[Obj]


async def object_named(transport: Transport, discovery: Discovery, text: str, namespace: str) -> Obj:
    """The live object.  Raises CommandError when the words name none."""
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise CommandError(f"{text!r} is not KIND/NAME or KIND/NAMESPACE/NAME", code=Exit.USAGE)
    resource = resource_named(discovery, parts[0])
    space = parts[1] if len(parts) == 3 else namespace
    try:
        return await transport.get(resource, Key(space if resource.namespaced else "", parts[-1]))
    except NotFound as error:
        raise CommandError(error.message) from error


def resource_named(discovery: Discovery, word: str) -> Resource:
    """By kind, plural, singular or short name, with or without its group, in any case; the core group first."""
    name, _, group = word.lower().partition(".")
    for kind in sorted(discovery.scopes()):
        resource = discovery.preferred(kind)
        if resource is None or (group and resource.group != group):
            continue
        if name in (resource.kind.lower(), resource.plural, resource.singular, *resource.short_names):
            return resource
    raise CommandError(f"the server does not serve a kind {word!r}", hint="kubectl api-resources lists them")


async def root_of(transport: Transport, discovery: Discovery, obj: Obj) -> Sequence[Obj]:
    """The object, its controller, and so on up to the one that nothing controls."""
    chain = [obj]
    while (owner := controller_of(chain[-1])) is not None and len(chain) < OWNERS_MAX:
        group, _, _ = str(owner.get("apiVersion", "")).rpartition("/")
        resource = discovery.preferred(GroupKind(group, str(owner.get("kind", ""))))
        if resource is None:
            break
        try:
            key = Key(namespace_of(obj) if resource.namespaced else "", str(owner.get("name", "")))
            chain.append(await transport.get(resource, key))
        except NotFound:
            break
    return chain


async def owner_of(transport: Transport, ref: Ref) -> Owned:
    """Raises ApiError; a cluster without GitOps owns nothing by it."""
    try:
        inventories = await list_all(transport, INVENTORIES, Query())
        key = owner_in(inventories.items, ref)
        if key is None:
            return Owned(None, ())
        application = await transport.get(APPLICATIONS, key)
        runs = await list_all(transport, RUNS, Query(namespace=key.namespace))
    except NotFound:
        return Owned(None, ())
    return Owned(application, newest_first(runs_of(runs.items, key)))


async def listed(transport: Transport, resource: Resource, namespace: str) -> Sequence[Obj]:
    """By name.  Each with its kind and version, which servers leave out of the items of a list.  Raises ApiError."""
    kind = {"apiVersion": resource.api_version, "kind": resource.kind}
    listing = await list_all(transport, resource, Query(namespace=namespace))
    return sorted(({**kind, **obj} for obj in listing.items), key=key_of)
