"""Who owns which field after a write: the registry's side of managedFields.

What the sets are and how they merge is `machinery.apply`'s; this module knows which entry a request writes to.
"""

from __future__ import annotations

from dataclasses import dataclass

from cluster.machinery.fieldsets import EMPTY, FieldSet
from cluster.machinery.managed_fields import track_update
from cluster.machinery.objects import Obj
from cluster.resources.catalog import Descriptor


@dataclass(frozen=True, slots=True)
class Writer:
    """One manager writing through one endpoint at one instant (RFC 3339, whole seconds)."""

    manager: str
    subresource: str
    now: str


def claimed(new: Obj, old: Obj | None, writer: Writer, descriptor: Descriptor) -> Obj:
    """`new` with managedFields saying that `writer` set what it changed."""
    return track_update(
        old,
        new,
        writer.manager,
        descriptor.node,
        now=writer.now,
        api_version=descriptor.resource.api_version,
        subresource=writer.subresource,
        reset=reset_of(descriptor),
    )


def reset_of(descriptor: Descriptor) -> FieldSet | None:
    """What an endpoint leaves alone: the usual split of spec and status, or nothing for kinds that have no `/status`."""
    return None if "status" in descriptor.resource.subresources else EMPTY
