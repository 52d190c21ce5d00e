"""Which objects a target means: patterns over kind and name, and label selectors.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cluster.machinery.regex import compile_pattern
from cluster.machinery.selectors import parse_selector
from reconciler.render.kustomize.resource import Built, Id

FIELDS = ("group", "version", "kind", "name", "namespace", "labelSelector", "annotationSelector")


def selected(built: Sequence[Built], target: Mapping[str, Any], *, patterns: bool = True) -> Sequence[Built]:
    """Those the target fits under any name they have had.  `patterns` False: plain equality.  Raises ValueError."""
    for name, value in target.items():
        if name not in FIELDS or not isinstance(value, str):
            raise ValueError(f"a target has no {name[:64]!r}, or it is not text")
    return [each for each in built if any(_fits(one, target, patterns) for one in each.ids) and _labelled(each, target)]


def _fits(one: Id, target: Mapping[str, Any], patterns: bool) -> bool:
    values = {**one.gvk._asdict(), "name": one.name, "namespace": one.namespace}
    for name, value in values.items():
        wanted = target.get(name, "")
        if not wanted:
            continue
        if patterns:
            if not compile_pattern(f"^(?:{wanted})$").search(value):
                return False
        elif wanted != value and not (name == "namespace" and one.effective.namespace == wanted):
            return False
    return True


def _labelled(each: Built, target: Mapping[str, Any]) -> bool:
    for name, field in (("labelSelector", "labels"), ("annotationSelector", "annotations")):
        if target.get(name) and not parse_selector(target[name]).matches(each.meta.get(field) or {}):
            return False
    return True
