"""Nothing is deleted on bad news: when prunes are held back, and what lets them through.

Limits after Kubernetes' namespace safeguards and the mass deletions on record elsewhere (argo-cd 3473, 17440).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from reconciler.model import Ref

PRUNES_MAX = 10
"""More deletions than this at once are held."""

PRUNES_SHARE = 0.3
"""So are more than this share of what the application owns; a single deletion always passes both."""

ALLOW_TRAILER = "Reconciler-Allow-Prune"

_CONTAINERS = frozenset(
    {
        ("", "Namespace"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("gitops.reconciler.io", "Application"),
    }
)
_VOLUMES = frozenset({("", "PersistentVolumeClaim"), ("", "PersistentVolume")})


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the commit itself allows: everything, so many deletions, or objects by name (`KIND/NAMESPACE/NAME`)."""

    everything: bool = False
    count: int = 0
    objects: Collection[str] = ()

    def names(self, ref: Ref) -> bool:
        return _spelt(ref) in self.objects


NOTHING_ALLOWED = Allowance()


def parse_allowance(trailers: Iterable[tuple[str, str]]) -> Allowance:
    """`Reconciler-Allow-Prune: all`, a number, or objects by name; words are separated by commas or spaces, several
    trailers add up.  A word that is none of these names no object and so allows nothing."""
    words = [
        word
        for name, value in trailers
        if name.lower() == ALLOW_TRAILER.lower()
        for word in value.replace(",", " ").split()
    ]
    counts = [int(word) for word in words if word.isdecimal() and len(word) <= 6]
    return Allowance(
        everything="all" in words,
        count=max(counts, default=0),
        objects=frozenset(word for word in words if "/" in word),
    )


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about the revision: `complete` is false after any error, `rewritten` when it does not follow the one
    applied before, `proven` when exactly this content ran healthy before, `approved` when a person said so, `allowance`
    what its commit says."""

    complete: bool = True
    rewritten: bool = False
    proven: bool = False
    approved: bool = False
    allowance: Allowance = NOTHING_ALLOWED

    @property
    def lets_all_pass(self) -> bool:
        return self.approved or self.allowance.everything


def held_because(prunes: Collection[Ref], *, owned: int, desired: int, evidence: Evidence) -> str:
    """Why none of `prunes` happens, and what lets them pass; empty when they may."""
    if not prunes:
        return ""
    if not evidence.complete:
        return "not everything of this revision could be read and checked"
    if evidence.lets_all_pass:
        return ""
    counted = [ref for ref in prunes if not evidence.allowance.names(ref)]
    if not counted or evidence.allowance.count >= len(counted):
        return ""
    why = _doubt(len(counted), owned=owned, desired=desired, evidence=evidence)
    return f"{why}; a commit with the trailer `{ALLOW_TRAILER}: {len(counted)}` lets them pass" if why else ""


def _doubt(deletions: int, *, owned: int, desired: int, evidence: Evidence) -> str:
    if desired == 0:
        return "the revision declares nothing at all"
    if evidence.proven:
        return ""
    if evidence.rewritten:
        return "history was rewritten: this revision does not descend from the one applied before"
    if deletions > PRUNES_MAX:
        return f"{deletions} of {owned} objects would be deleted, more than {PRUNES_MAX}"
    if deletions >= 2 and deletions > owned * PRUNES_SHARE:
        return f"{deletions} of {owned} objects would be deleted, more than {PRUNES_SHARE:.0%}"
    return ""


def precious_because(ref: Ref, evidence: Evidence) -> str:
    """Why this one object is not deleted though others are; empty when it may."""
    if evidence.lets_all_pass or evidence.allowance.names(ref):
        return ""
    kind = (ref.group, ref.kind)
    way_out = f"the trailer `{ALLOW_TRAILER}: {_spelt(ref)}` lets it go"
    if kind in _VOLUMES:
        return f"it may hold data; {way_out}"
    if kind in _CONTAINERS and not evidence.proven:
        return f"everything in it would be deleted with it; {way_out}"
    return ""


def _spelt(ref: Ref) -> str:
    return "/".join(part for part in (ref.kind, ref.namespace, ref.name) if part)
