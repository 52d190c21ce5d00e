"""From a CustomResourceDefinition to what it makes served, and what its status says of that.

Pure.  Whoever watches CRDs adds the plan's descriptors to the catalogue, removes those it no longer has, and writes the
status when it differs.  Upstream: apiextensions-apiserver/pkg/controller/{status,establish}.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cluster.machinery.conditions import conditions_of, is_condition_true, make_condition, set_conditions
from cluster.machinery.errors import Cause
from cluster.machinery.objects import Obj, field_of
from cluster.machinery.resource import Resource
from cluster.resources.apiextensions import CrdStrategy
from cluster.resources.catalog import Catalog, Descriptor
from cluster.resources.custom import custom_descriptors

_STRATEGY = CrdStrategy()


@dataclass(frozen=True, slots=True)
class CrdPlan:
    """`status` is the whole status the CRD should have; `descriptors` is everything it serves, nothing when refused."""

    status: Obj
    descriptors: tuple[Descriptor, ...]


def plan_crd(crd: Obj, catalog: Catalog, now: str) -> CrdPlan:
    """What `crd` serves beside what `catalog` serves already; `now` (RFC 3339) stamps conditions that change.

    Names in use by another definition of the same group are not accepted: the first one keeps them.  A definition once
    established stays served under the names it was accepted with.
    """
    spec, old = crd["spec"], crd.get("status") or {}
    stored = list(old.get("storedVersions") or ())
    stored += [v["name"] for v in spec.get("versions") or () if v.get("storage") and v["name"] not in stored]
    broken = _STRATEGY.validate(crd)
    refusal = _refusal_of(crd, catalog, broken)
    established = is_condition_true(crd, "Established") and not broken
    if refusal is None:
        accepted: Obj = spec["names"]
        changes = [
            make_condition("NamesAccepted", True, "NoConflicts", "no conflicts found"),
            make_condition("Established", True, "InitialNamesAccepted", "the initial names have been accepted"),
        ]
    else:
        accepted = old.get("acceptedNames") or {"plural": "", "kind": ""}
        changes = [make_condition("NamesAccepted", False, *refusal)]
        if not established:
            changes.append(make_condition("Established", False, "NotAccepted", "not all names are accepted"))
    status = {
        **old,
        "conditions": set_conditions(conditions_of(crd), changes, now),
        "acceptedNames": accepted,
        "storedVersions": stored,
    }
    if refusal is None:
        return CrdPlan(status, custom_descriptors(crd))
    if not established:
        return CrdPlan(status, ())
    return CrdPlan(status, custom_descriptors({**crd, "spec": {**spec, "names": {**spec["names"], **accepted}}}))


def served_by(crd: Obj, catalog: Catalog) -> tuple[Resource, ...]:
    """What `catalog` serves of `crd` now: what to remove when it goes, or no longer serves a version."""
    group, plural = field_of(crd, "spec", "group"), field_of(crd, "spec", "names", "plural")
    return tuple(
        descriptor.resource
        for descriptor in catalog
        if descriptor.custom and descriptor.resource.group == group and descriptor.resource.plural == plural
    )


def _refusal_of(crd: Obj, catalog: Catalog, broken: tuple[Cause, ...]) -> tuple[str, str] | None:
    """Reason and message against serving `crd`."""
    if broken:
        # Stored by an older release, or restored from elsewhere: served again once it is corrected.
        return "Invalid", f"{broken[0].field}: {broken[0].message}"
    return next(_conflicts(crd["spec"], catalog), None)


def _conflicts(spec: Obj, catalog: Catalog) -> Iterator[tuple[str, str]]:
    names, group = spec["names"], spec["group"]
    others = [
        descriptor.resource
        for descriptor in catalog
        if descriptor.resource.group == group
        and not (descriptor.custom and descriptor.resource.plural == names["plural"])
    ]
    words = {word for other in others for word in (other.plural, other.singular, *other.short_names) if word}
    kinds = {kind for other in others for kind in (other.kind, f"{other.kind}List")}
    for reason, name, taken in (
        ("PluralConflict", names["plural"], words),
        ("SingularConflict", names.get("singular", ""), words),
        *(("ShortNamesConflict", short, words) for short in names.get("shortNames") or ()),
        ("KindConflict", names["kind"], kinds),
        ("ListKindConflict", names.get("listKind", ""), kinds),
    ):
        if name in taken:
            yield reason, f'"{name}" is already in use'
