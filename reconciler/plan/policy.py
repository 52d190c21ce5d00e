"""What a manifest's own annotations say about how it is applied.  Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cluster.machinery.objects import Obj, annotations_of

APPLY_ANNOTATION = "gitops.reconciler.io/apply"
DRIFT_ANNOTATION = "gitops.reconciler.io/drift"

_IF_NOT_PRESENT = "if-not-present"


class Drift(StrEnum):
    """What to do about changes made behind the source's back."""

    CORRECT = "correct"
    REPORT = "report"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class Policy:
    """`drift` None: as the application says.  `problem`: an annotation that says nothing known, so that nothing is done."""

    if_not_present: bool = False
    drift: Drift | None = None
    problem: str = ""


USUAL = Policy()


def policy_of(obj: Obj) -> Policy:
    annotations = annotations_of(obj)
    apply, drift = annotations.get(APPLY_ANNOTATION), annotations.get(DRIFT_ANNOTATION)
    if apply is None and drift is None:
        return USUAL
    if apply not in (None, _IF_NOT_PRESENT):
        return Policy(problem=f"annotation {APPLY_ANNOTATION} must be {_IF_NOT_PRESENT!r}, not {apply!r}")
    if drift is not None and drift not in list(Drift):
        return Policy(problem=f"annotation {DRIFT_ANNOTATION} must be one of {', '.join(Drift)}, not {drift!r}")
    return Policy(if_not_present=apply is not None, drift=Drift(drift) if drift is not None else None)
