"""Who owns whom, by uid, over all objects there are.  Pure bookkeeping for the garbage collector.

A dependent may name an owner that is not (or not yet) known: the graph keeps the edge, so that order of arrival does not
matter.  Upstream: pkg/controller/garbagecollector/graph_builder.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cluster.machinery.objects import Key, Obj, is_deleting, key_of, meta_of, owner_references_of, uid_of
from cluster.machinery.resource import Resource

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


class OwnerRef(NamedTuple):
    api_version: str
    kind: str
    name: str
    uid: str
    blocks: bool
    """`blockOwnerDeletion`: a foreground deletion of the owner waits for this dependent."""


@dataclass(frozen=True, slots=True)
class Vertex:
    """An object as the collector sees it."""

    uid: str
    resource: Resource
    key: Key
    owners: tuple[OwnerRef, ...]
    deleting: bool
    finalizers: tuple[str, ...]

    @property
    def foreground(self) -> bool:
        """It is being deleted and waits for its dependents to go first."""
        return self.deleting and FOREGROUND in self.finalizers

    @property
    def orphaning(self) -> bool:
        """It is being deleted and lets its dependents go on without it."""
        return self.deleting and ORPHAN in self.finalizers


def vertex_of(resource: Resource, obj: Obj) -> Vertex:
    owners = tuple(
        OwnerRef(
            str(reference.get("apiVersion", "")),
            str(reference.get("kind", "")),
            str(reference.get("name", "")),
            str(reference.get("uid", "")),
            bool(reference.get("blockOwnerDeletion")),
        )
        for reference in owner_references_of(obj)
    )
    finalizers = tuple(meta_of(obj).get("finalizers") or ())
    return Vertex(uid_of(obj), resource, key_of(obj), owners, is_deleting(obj), finalizers)


class OwnerGraph:
    """See the module.  Both changes answer which uids are worth looking at now, in a fixed order."""

    def __init__(self) -> None:
        self._vertices: dict[str, Vertex] = {}
        self._dependents: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self._vertices)

    def get(self, uid: str) -> Vertex | None:
        return self._vertices.get(uid)

    def dependents(self, uid: str) -> Sequence[Vertex]:
        """Those that name `uid` as an owner, by uid."""
        return [self._vertices[other] for other in sorted(self._dependents.get(uid, ()))]

    def of_resource(self, resource: Resource) -> Sequence[Vertex]:
        return [vertex for _, vertex in sorted(self._vertices.items()) if vertex.resource == resource]

    def put(self, vertex: Vertex) -> tuple[str, ...]:
        old = self._vertices.get(vertex.uid)
        if old == vertex:
            return ()
        if old is not None:
            self._unlink(old)
        self._vertices[vertex.uid] = vertex
        for owner in vertex.owners:
            self._dependents.setdefault(owner.uid, set()).add(vertex.uid)
        worth = [vertex.uid] if vertex.owners or vertex.foreground or vertex.orphaning else []
        if vertex.foreground and (old is None or not old.foreground):
            worth += sorted(self._dependents.get(vertex.uid, ()))
        # An owner that waits for this dependent may be waiting for what just changed.
        worth += [ref.uid for ref in (old.owners if old is not None else ()) if self._waits(ref.uid)]
        return tuple(dict.fromkeys(worth))

    def remove(self, uid: str) -> tuple[str, ...]:
        vertex = self._vertices.pop(uid, None)
        if vertex is None:
            return ()
        self._unlink(vertex)
        waiting = [ref.uid for ref in vertex.owners if self._waits(ref.uid)]
        return tuple(dict.fromkeys([*sorted(self._dependents.get(uid, ())), *waiting]))

    def _waits(self, uid: str) -> bool:
        vertex = self._vertices.get(uid)
        return vertex is not None and (vertex.foreground or vertex.orphaning)

    def _unlink(self, vertex: Vertex) -> None:
        for owner in vertex.owners:
            dependents = self._dependents.get(owner.uid)
            if dependents is not None:
                dependents.discard(vertex.uid)
                if not dependents:
                    del self._dependents[owner.uid]
