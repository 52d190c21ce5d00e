"""`reconciler tree`: applications, their objects, and what controllers made of those, with the health of each."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cluster.client.discovery import Discovery
from cluster.client.transport import Query, Transport, list_all
from cluster.machinery.errors import ApiError
from cluster.machinery.objects import Obj, controller_of, key_of, name_of, uid_of
from cluster.machinery.resource import Resource
from cluster.resources.builtin import JOBS, PODS, REPLICA_SETS
from reconciler.cli.access import application_named, applications, configure_access, with_transport
from reconciler.cli.columns import clean
from reconciler.cli.exit_codes import Exit
from reconciler.cli.named import listed
from reconciler.cli.status import is_ready, short
from reconciler.crds.inventory import INVENTORIES
from reconciler.health.rules import health_of
from reconciler.health.status import HEALTHY
from reconciler.model import Ref, ref_of

MADE = (REPLICA_SETS, JOBS, PODS)
"""What controllers make, beside objects of their own kinds."""

DEPTH_MAX = 10


@dataclass(frozen=True, slots=True)
class Branch:
    """An application's objects by their refs, None where one is missing, and what controllers made, by owner's uid."""

    objects: Mapping[Ref, Obj | None]
    made: Mapping[str, Sequence[Obj]]

    def all(self) -> Iterator[Obj]:
        """Everything that exists, owners first."""
        for obj in self.objects.values():
            if obj is not None:
                yield obj
                yield from self._under(obj, 0)

    def _under(self, obj: Obj, depth: int) -> Iterator[Obj]:
        for below in self.made.get(uid_of(obj), ()) if depth < DEPTH_MAX else ():
            yield below
            yield from self._under(below, depth + 1)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("application", nargs="?", default="", help="one application (default: all)")
    configure_access(parser)


def run(args: argparse.Namespace) -> int:
    async def act(transport: Transport) -> int:
        if args.application:
            found: Sequence[Obj] = [await application_named(transport, args.application, args.namespace)]
        else:
            found = await applications(transport, args.namespace)
        discovery = Discovery(transport)
        await discovery.refresh()
        for application in found:
            print("\n".join(report(application, await branch_of(transport, discovery, application))))
        return Exit.OK if all(is_ready(application) for application in found) else Exit.DIFFERS

    return with_transport(args, act)


async def branch_of(transport: Transport, discovery: Discovery, application: Obj) -> Branch:
    """By lists, one for each kind and namespace.  What may not be read counts as missing."""
    key = key_of(application)
    refs = sorted(
        Ref(entry.get("group", ""), entry["kind"], entry.get("namespace", ""), entry["name"])
        for chunk in (await list_all(transport, INVENTORIES, Query(namespace=key.namespace))).items
        if chunk.get("application") == key.name
        for entry in chunk.get("entries") or ()
    )
    live: dict[Ref, Obj] = {}
    for kind, namespace in sorted({(ref.group_kind, ref.namespace) for ref in refs}):
        resource = discovery.preferred(kind)
        for obj in await _readable(transport, resource, namespace) if resource is not None else ():
            live[ref_of(obj)] = obj
    made: dict[str, list[Obj]] = {}
    for namespace in sorted({ref.namespace for ref in refs if ref.namespace}):
        for resource in MADE:
            for obj in await _readable(transport, resource, namespace):
                if (owner := controller_of(obj)) is not None:
                    made.setdefault(str(owner.get("uid", "")), []).append(obj)
    return Branch({ref: live.get(ref) for ref in refs}, made)


async def _readable(transport: Transport, resource: Resource, namespace: str) -> Sequence[Obj]:
    try:
        return await listed(transport, resource, namespace)
    except ApiError:
        return ()


def report(application: Obj, branch: Branch) -> Sequence[str]:
    """Replica sets that are scaled to nothing are history and left out."""
    status: Obj = application.get("status") or {}
    words = (
        f"Application {key_of(application)}:",
        str(status.get("sync", "Unknown")),
        str(status.get("health", "Unknown")),
        short(str(status.get("revision", ""))),
        str(status.get("subject", "")),
    )
    lines = [clean(" ".join(word for word in words if word))]
    refs = list(branch.objects)
    for ref in refs:
        obj = branch.objects[ref]
        lines += _lines(str(ref), obj, branch.made, "", is_last=ref == refs[-1])
    return lines


def _lines(name: str, obj: Obj | None, made: Mapping[str, Sequence[Obj]], indent: str, *, is_last: bool) -> list[str]:
    status = health_of(obj)
    said = (
        f"{status.health}: {status.message}"
        if status.message and status.health is not HEALTHY.health
        else status.health
    )
    lines = [clean(f"{indent}{'`-' if is_last else '|-'} {name}  {said}")]
    deeper = indent + ("   " if is_last else "|  ")
    below = [each for each in made.get(uid_of(obj), ()) if not _is_past(each)] if obj is not None else []
    if len(deeper) <= 3 * DEPTH_MAX:
        for each in below:
            lines += _lines(f"{each['kind']} {name_of(each)}", each, made, deeper, is_last=each is below[-1])
    return lines


def _is_past(obj: Obj) -> bool:
    wanted = (obj.get("spec") or {}).get("replicas")
    return obj["kind"] == "ReplicaSet" and wanted == 0 and not (obj.get("status") or {}).get("replicas")
