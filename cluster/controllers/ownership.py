"""Adopting what matches a selector and has no controller; releasing what we control and no longer matches.

Pure.  Upstream: pkg/controller/controller_ref_manager.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cluster.client.transport import Patch, PatchType
from cluster.client.writes import PatchObject
from cluster.machinery.objects import Obj, controller_of, is_deleting, key_of, labels_of, owner_reference_to, uid_of
from cluster.machinery.resource import Resource
from cluster.machinery.selectors import Selector


@dataclass(frozen=True, slots=True)
class Claim:
    """`owned` are ours now; `adopt` and `release` make the rest so.  Adopting needs a live look at the owner first."""

    owned: tuple[Obj, ...]
    adopt: tuple[PatchObject, ...]
    release: tuple[PatchObject, ...]


def plan_claim(owner: Obj, selector: Selector, candidates: Iterable[Obj], resource: Resource) -> Claim:
    """Sort `candidates` (of `owner`'s namespace) by whose they are.

    An owner that is being deleted adopts nothing; an object that is being deleted is neither adopted nor released.
    """
    owned: list[Obj] = []
    adopt: list[PatchObject] = []
    release: list[PatchObject] = []
    for obj in candidates:
        controller = controller_of(obj)
        if controller is not None:
            if controller.get("uid") != uid_of(owner):
                continue
            if selector.matches(labels_of(obj)) or is_deleting(owner):
                owned.append(obj)
            elif not is_deleting(obj):
                release.append(_patch(resource, obj, {"$patch": "delete", "uid": uid_of(owner)}))
        elif selector.matches(labels_of(obj)) and not is_deleting(owner) and not is_deleting(obj):
            adopt.append(_patch(resource, obj, owner_reference_to(owner)))
    return Claim(tuple(owned), tuple(adopt), tuple(release))


def _patch(resource: Resource, obj: Obj, reference: Obj) -> PatchObject:
    # The uid in the patch makes it fail on an object that only has the same name.
    body = {"metadata": {"uid": uid_of(obj), "ownerReferences": [reference]}}
    return PatchObject(resource, key_of(obj), Patch(PatchType.STRATEGIC, body), absent_ok=True)
