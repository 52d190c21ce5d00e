"""Nothing is deleted on bad news: when prunes are held back, and what lets them through.

Limits after Kubernetes' namespace safeguards and the mass deletions on record elsewhere (argo-cd 3473, 17440).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from reconciler.model import Ref

PRUNES_FREE = 10
"""So many deletions always pass the threshold."""

PRUNES_SHARE = 0.3
"""Above that: at most this share of what the application owns."""

_CONTAINERS = frozenset(
    {
        ("", "Namespace"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("gitops.reconciler.io", "Application"),
    }
)
_VOLUMES = frozenset({("", "PersistentVolumeClaim"), ("", "PersistentVolume")})


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about the revision: `complete` is false after any error, `rewritten` when it does not follow the one
    applied before, `proven` when exactly this content ran healthy before, `approved` when a person said so."""

    complete: bool = True
    rewritten: bool = False
    proven: bool = False
    approved: bool = False


def held_because(prunes: Collection[Ref], *, owned: int, desired: int, evidence: Evidence) -> str:
    """Why none of `prunes` happens; empty when they may."""
    if not prunes:
        return ""
    if not evidence.complete:
        return "not everything of this revision could be read and checked"
    if evidence.approved:
        return ""
    if desired == 0:
        return "the revision declares nothing at all"
    if evidence.proven:
        return ""
    if evidence.rewritten:
        return "history was rewritten: this revision does not descend from the one applied before"
    allowed = max(PRUNES_FREE, int(owned * PRUNES_SHARE))
    if len(prunes) > allowed:
        return f"{len(prunes)} of {owned} objects would be deleted, more than {allowed}"
    return ""


def precious_because(ref: Ref, evidence: Evidence) -> str:
    """Why this one object is not deleted though others are; empty when it may."""
    if evidence.approved:
        return ""
    kind = (ref.group, ref.kind)
    if kind in _VOLUMES:
        return "it may hold data"
    if kind in _CONTAINERS and not evidence.proven:
        return "everything in it would be deleted with it"
    return ""
