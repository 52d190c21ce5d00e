"""The rbac group: roles and bindings.  Whether the writer may grant what is written is authorization's question.

Upstream: pkg/apis/rbac/{v1/defaults,validation/validation}.go, pkg/printers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import invalid, not_supported, required
from cluster.machinery.names import path_segment_errors, subdomain_errors
from cluster.machinery.objects import GroupKind, Obj, name_of
from cluster.machinery.selectors import selector_of
from cluster.resources.defaulting import filled
from cluster.resources.kind import Kind
from cluster.resources.printing import AGE, CREATED_AT, NAME, Column
from cluster.resources.strategy import GenericStrategy

GROUP = "rbac.authorization.k8s.io"


class _RbacStrategy(GenericStrategy):
    allow_create_on_update = True

    def __init__(self, *, namespaced: bool) -> None:
        self.namespaced = namespaced

    def _name_check(self, name: str) -> tuple[str, ...]:
        return path_segment_errors(name)


class RoleStrategy(_RbacStrategy):
    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        rules = obj.get("rules") or ()
        return tuple(
            cause
            for index, rule in enumerate(rules)
            for cause in validate_rule(rule, f"rules[{index}]", namespaced=self.namespaced)
        )


def validate_rule(rule: Obj, path: str, *, namespaced: bool) -> Iterator[Cause]:
    if not rule.get("verbs"):
        yield required(f"{path}.verbs", "verbs must contain at least one value")
    if urls := rule.get("nonResourceURLs"):
        if namespaced:
            yield invalid(f"{path}.nonResourceURLs", urls, "namespaced rules cannot apply to non-resource URLs")
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            why = "rules cannot apply to both regular resources and non-resource URLs"
            yield invalid(f"{path}.nonResourceURLs", urls, why)
        return
    if not rule.get("apiGroups"):
        yield required(f"{path}.apiGroups", "resource rules must supply at least one api group")
    if not rule.get("resources"):
        yield required(f"{path}.resources", "resource rules must supply at least one resource")


class BindingStrategy(_RbacStrategy):
    def default(self, obj: Obj) -> Obj:
        made = filled(obj)
        if (reference := made.get("roleRef")) is not None:
            made["roleRef"] = filled(reference, {"apiGroup": GROUP})
        if subjects := made.get("subjects"):
            made["subjects"] = [_default_subject(subject) for subject in subjects]
        return made

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(self._validate_binding(obj))

    def _validate_binding(self, obj: Obj) -> Iterator[Cause]:
        reference = obj.get("roleRef") or {}
        if reference.get("apiGroup") != GROUP:
            yield not_supported("roleRef.apiGroup", reference.get("apiGroup") or "", (GROUP,))
        kinds = ("Role", "ClusterRole") if self.namespaced else ("ClusterRole",)
        if reference.get("kind") not in kinds:
            yield not_supported("roleRef.kind", reference.get("kind") or "", kinds)
        name = reference.get("name", "")
        if not name:
            yield required("roleRef.name")
        for why in path_segment_errors(name):
            yield invalid("roleRef.name", name, why)
        for index, subject in enumerate(obj.get("subjects") or ()):
            yield from self._validate_subject(subject, f"subjects[{index}]")

    def _validate_subject(self, subject: Obj, path: str) -> Iterator[Cause]:
        name, group, kind = (subject.get(field) or "" for field in ("name", "apiGroup", "kind"))
        if not name:
            yield required(f"{path}.name")
        match kind:
            case "ServiceAccount":
                for why in subdomain_errors(name) if name else ():
                    yield invalid(f"{path}.name", name, why)
                if group:
                    yield not_supported(f"{path}.apiGroup", group, ("",))
                if not self.namespaced and not subject.get("namespace"):
                    yield required(f"{path}.namespace")
            case "User" | "Group":
                if group != GROUP:
                    yield not_supported(f"{path}.apiGroup", group, (GROUP,))
            case _:
                yield not_supported(f"{path}.kind", kind, ("ServiceAccount", "User", "Group"))

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        found = self._validate(new)
        if new.get("roleRef") != old.get("roleRef"):
            return (*found, invalid("roleRef", new.get("roleRef"), "cannot change roleRef"))
        return found


def aggregated_rules(role: Obj, roles: Sequence[Obj]) -> list[Any]:
    """The rules an aggregating ClusterRole has: those of every other role its selectors choose, in name order."""
    # An aggregate may be chosen by another one (view by edit, edit by admin); the roles behind it carry the same label.
    selectors = [selector_of(s) for s in (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or ()]
    rules: list[Any] = []
    for other in sorted(roles, key=name_of):
        labels = (other.get("metadata") or {}).get("labels") or {}
        if name_of(other) != name_of(role) and any(selector.matches(labels) for selector in selectors):
            rules += [rule for rule in other.get("rules") or () if rule not in rules]
    return rules


def _default_subject(subject: Obj) -> Obj:
    return filled(subject, {"apiGroup": GROUP}) if subject.get("kind") in ("User", "Group") else filled(subject)


def _role_cell(obj: Obj, now: datetime) -> str:
    reference = obj.get("roleRef") or {}
    return f"{reference.get('kind', '')}/{reference.get('name', '')}"


def _subjects_cell(kind: str) -> Callable[[Obj, datetime], str]:
    def cell(obj: Obj, now: datetime) -> str:
        subjects: Sequence[Obj] = [s for s in obj.get("subjects") or () if s.get("kind") == kind]
        if kind == "ServiceAccount":
            return ", ".join(f"{s.get('namespace', '')}/{s.get('name', '')}" for s in subjects)
        return ", ".join(str(s.get("name", "")) for s in subjects)

    return cell


_ROLE_COLUMNS = (NAME, CREATED_AT)
_BINDING_COLUMNS = (
    NAME,
    Column("Role", _role_cell),
    AGE,
    Column("Users", _subjects_cell("User"), wide=True),
    Column("Groups", _subjects_cell("Group"), wide=True),
    Column("ServiceAccounts", _subjects_cell("ServiceAccount"), wide=True),
)

KINDS: Mapping[GroupKind, Kind] = {
    GroupKind(GROUP, "Role"): Kind(RoleStrategy(namespaced=True), _ROLE_COLUMNS),
    GroupKind(GROUP, "ClusterRole"): Kind(RoleStrategy(namespaced=False), _ROLE_COLUMNS),
    GroupKind(GROUP, "RoleBinding"): Kind(BindingStrategy(namespaced=True), _BINDING_COLUMNS),
    GroupKind(GROUP, "ClusterRoleBinding"): Kind(BindingStrategy(namespaced=False), _BINDING_COLUMNS),
}
