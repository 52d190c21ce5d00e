"""Which taints a pod tolerates.  Pure.  Upstream: core/v1 Toleration.ToleratesTaint."""

from __future__ import annotations

from collections.abc import Iterable

from cluster.machinery.objects import Obj


def tolerates(tolerations: Iterable[Obj], taint: Obj) -> bool:
    """Any toleration covers the taint."""
    return any(covers(toleration, taint) for toleration in tolerations)


def covers(toleration: Obj, taint: Obj) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    match toleration.get("operator") or "Equal":
        case "Exists":
            return True
        case "Equal":
            # Without a key only Exists means every taint.
            return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")
        case _:
            return False
