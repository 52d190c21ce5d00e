"""Role-based access: the rules a subject has, compiled from the state and kept until an RBAC object changes.

Upstream: plugin/pkg/auth/authorizer/rbac, component-helpers/auth/rbac/validation.  Reads rows, decides; writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from cluster.apiserver.http import Identity
from cluster.apiserver.state import Row, State, TableId, subscriptions
from cluster.machinery.objects import Key, Obj, namespace_of
from cluster.resources.rbac import aggregated_rules

RBAC_GROUP = "rbac.authorization.k8s.io"
ROLES = TableId(RBAC_GROUP, "roles")
ROLE_BINDINGS = TableId(RBAC_GROUP, "rolebindings")
CLUSTER_ROLES = TableId(RBAC_GROUP, "clusterroles")
CLUSTER_ROLE_BINDINGS = TableId(RBAC_GROUP, "clusterrolebindings")

SUBJECTS_KEPT_MAX = 1024
DECISIONS_KEPT_MAX = 8192
SERVICE_ACCOUNT_PREFIX = "system:serviceaccount:"


class Access(NamedTuple):
    """One thing somebody wants to do.  A non-resource path has `path` and no `plural`; `plural` includes the subresource."""

    verb: str
    group: str = ""
    plural: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """A PolicyRule, compiled: sets to look up in, `*` included."""

    verbs: frozenset[str]
    groups: frozenset[str]
    resources: frozenset[str]
    names: frozenset[str]
    paths: tuple[str, ...]
    source: Obj

    def allows(self, access: Access) -> bool:
        if access.verb not in self.verbs and "*" not in self.verbs:
            return False
        if access.path:
            return any(_path_matches(path, access.path) for path in self.paths)
        if access.group not in self.groups and "*" not in self.groups:
            return False
        if self.names and access.name not in self.names:
            return False
        resources = self.resources
        if access.plural in resources or "*" in resources:
            return True
        _, slash, subresource = access.plural.partition("/")
        return bool(slash) and f"*/{subresource}" in resources


def rule_of(rule: Obj) -> Rule:
    return Rule(
        frozenset(rule.get("verbs") or ()),
        frozenset(rule.get("apiGroups") or ()),
        frozenset(rule.get("resources") or ()),
        frozenset(rule.get("resourceNames") or ()),
        tuple(rule.get("nonResourceURLs") or ()),
        rule,
    )


def _path_matches(pattern: str, path: str) -> bool:
    return pattern == path or pattern == "*" or (pattern.endswith("*") and path.startswith(pattern[:-1]))


@dataclass(frozen=True, slots=True)
class Rules:
    """What one subject may do: everywhere, and in each namespace."""

    everywhere: tuple[Rule, ...]
    in_namespace: Mapping[str, tuple[Rule, ...]]

    def applying(self, namespace: str) -> Iterator[Rule]:
        yield from self.everywhere
        if namespace:
            yield from self.in_namespace.get(namespace, ())


class Rbac:
    """Answers for any subject as of the state's newest revision."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._rules: dict[tuple[str, tuple[str, ...]], Rules] = {}
        self._decisions: dict[tuple[str, tuple[str, ...], Access], bool] = {}
        self._compiled: dict[tuple[TableId, Key], tuple[Rule, ...]] = {}

    def follow(self) -> None:
        """From now on, forget what was derived whenever a role or binding changes; called once, after the state is loaded."""
        self._forget(None, None)
        for table_id in (ROLES, ROLE_BINDINGS, CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS):
            self._state.table(table_id).subscribers[next(subscriptions)] = self._forget

    def allows(self, user: Identity, access: Access) -> bool:
        decision = (user.name, tuple(user.groups), access)
        known = self._decisions.get(decision)
        if known is None:
            if len(self._decisions) >= DECISIONS_KEPT_MAX:
                self._decisions.clear()
            rules = self.rules_of(user)
            known = any(rule.allows(access) for rule in rules.applying(access.namespace))
            self._decisions[decision] = known
        return known

    def rules_of(self, user: Identity) -> Rules:
        subject = (user.name, tuple(user.groups))
        rules = self._rules.get(subject)
        if rules is None:
            if len(self._rules) >= SUBJECTS_KEPT_MAX:
                self._rules.clear()
            rules = self._rules[subject] = self._compile(user)
        return rules

    def role_rules(self, role_ref: Obj, namespace: str) -> tuple[Rule, ...]:
        """The rules of the role a binding in `namespace` refers to; none when it does not exist."""
        if role_ref.get("kind") == "ClusterRole":
            return self._rules_in(CLUSTER_ROLES, Key("", str(role_ref.get("name", ""))))
        return self._rules_in(ROLES, Key(namespace, str(role_ref.get("name", ""))))

    def _forget(self, old: Row | None, new: Row | None) -> None:
        self._rules.clear()
        self._decisions.clear()
        self._compiled.clear()

    def _compile(self, user: Identity) -> Rules:
        everywhere: list[Rule] = []
        for row in self._state.table(CLUSTER_ROLE_BINDINGS).ordered():
            binding = self._state.obj(row)
            if _binds(binding, user, ""):
                everywhere += self.role_rules(binding.get("roleRef") or {}, "")
        in_namespace: dict[str, list[Rule]] = {}
        for row in self._state.table(ROLE_BINDINGS).ordered():
            binding = self._state.obj(row)
            namespace = namespace_of(binding)
            if _binds(binding, user, namespace):
                rules = self.role_rules(binding.get("roleRef") or {}, namespace)
                in_namespace.setdefault(namespace, []).extend(rules)
        return Rules(tuple(everywhere), {name: tuple(rules) for name, rules in in_namespace.items()})

    def _rules_in(self, table_id: TableId, key: Key) -> tuple[Rule, ...]:
        known = self._compiled.get((table_id, key))
        if known is None:
            row = self._state.table(table_id).get(key)
            role: Obj = {} if row is None else self._state.obj(row)
            rules = list(role.get("rules") or ())
            if role.get("aggregationRule"):
                others = [self._state.obj(row) for row in self._state.table(CLUSTER_ROLES).ordered()]
                rules += [rule for rule in aggregated_rules(role, others) if rule not in rules]
            known = self._compiled[table_id, key] = tuple(rule_of(rule) for rule in rules)
        return known


def _binds(binding: Obj, user: Identity, namespace: str) -> bool:
    for subject in binding.get("subjects") or ():
        match subject.get("kind"):
            case "User" if name_or_empty(subject) == user.name:
                return True
            case "Group" if name_or_empty(subject) in user.groups:
                return True
            case "ServiceAccount":
                home = subject.get("namespace") or namespace
                if home and user.name == f"{SERVICE_ACCOUNT_PREFIX}{home}:{name_or_empty(subject)}":
                    return True
    return False


def name_or_empty(subject: Obj) -> str:
    return str(subject.get("name") or "")


def uncovered(owned: Sequence[Rule], wanted: Sequence[Obj]) -> list[str]:
    """Which of the `wanted` policy rules go beyond those `owned`, as text; what one may not have, one may not grant.

    Each wanted rule is broken down to single permissions first (upstream: validation.Covers).
    """
    missing: list[str] = []
    for wanted_rule in wanted:
        for single in _singles(wanted_rule):
            if not any(_covers(rule, single) for rule in owned):
                missing.append(_worded(wanted_rule))
                break
    return missing


def _singles(rule: Obj) -> Iterator[dict[str, str]]:
    for verb in rule.get("verbs") or ():
        for path in rule.get("nonResourceURLs") or ():
            yield {"verb": verb, "path": path}
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                for name in rule.get("resourceNames") or ("",):
                    yield {"verb": verb, "group": group, "resource": resource, "name": name}


def _covers(rule: Rule, single: Mapping[str, str]) -> bool:
    if single["verb"] not in rule.verbs and "*" not in rule.verbs:
        return False
    if "path" in single:
        return any(_path_matches(path, single["path"]) for path in rule.paths)
    access = Access(single["verb"], single["group"], single["resource"], name=single["name"])
    return rule.allows(access)


def _worded(rule: Obj) -> str:
    names = (
        ("APIGroups", "apiGroups"),
        ("Resources", "resources"),
        ("ResourceNames", "resourceNames"),
        ("NonResourceURLs", "nonResourceURLs"),
        ("Verbs", "verbs"),
    )
    parts = [f"{label}:{_listed(rule[field])}" for label, field in names if rule.get(field)]
    return "{" + ", ".join(parts) + "}"


def _listed(values: Sequence[Any]) -> str:
    return "[" + " ".join(f'"{value}"' for value in values) + "]"
