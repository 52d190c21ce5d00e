"""Which flow a request belongs to: FlowSchemas and priority levels, compiled from the state until one of them changes.

Upstream: apiserver/pkg/util/flowcontrol/{rule,match}.go.  Reads rows, decides; holds nobody up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.apiserver.http import Identity
from cluster.apiserver.rbac import SERVICE_ACCOUNT_PREFIX
from cluster.apiserver.routes import Route
from cluster.apiserver.state import State, TableId
from cluster.machinery.objects import Obj, field_of, name_of

GROUP = "flowcontrol.apiserver.k8s.io"
SCHEMAS = TableId(GROUP, "flowschemas")
LEVELS = TableId(GROUP, "prioritylevelconfigurations")
SEATS_TOTAL = 200
"""Requests that wait for something at the same time, over all levels; each level has its share of them."""
QUEUE_DEFAULT_MAX = 50
FLOWS_KEPT_MAX = 4096


@dataclass(frozen=True, slots=True)
class PriorityLevel:
    """`seats` is None for the exempt; `queue_max` waiting requests a flow, 0 rejects at once."""

    name: str
    seats: int | None
    queue_max: int


@dataclass(frozen=True, slots=True)
class Flow:
    """Requests that take turns with other flows of their level."""

    level: PriorityLevel
    schema: str
    distinguisher: str


@dataclass(frozen=True, slots=True)
class _Schema:
    name: str
    level: PriorityLevel
    by: str
    rules: Sequence[Obj]


CATCH_ALL = PriorityLevel("catch-all", 10, QUEUE_DEFAULT_MAX)


class FlowSchemas:
    """Answers as of the state's newest revision."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._tables = state.table(SCHEMAS), state.table(LEVELS)
        self._as_of = (-1, -1)
        self._schemas: tuple[_Schema, ...] = ()
        self._known: dict[tuple[str, tuple[str, ...], str, str, str, str], Flow] = {}

    def flow_of(self, user: Identity, route: Route) -> Flow:
        self._refresh()
        key = (
            user.name,
            tuple(user.groups),
            route.verb,
            route.group,
            route.resource_path or route.path,
            route.namespace,
        )
        flow = self._known.get(key)
        if flow is None:
            if len(self._known) >= FLOWS_KEPT_MAX:
                self._known.clear()
            flow = self._known[key] = self._matched(user, route)
        return flow

    def _matched(self, user: Identity, route: Route) -> Flow:
        for schema in self._schemas:
            if any(_rule_matches(rule, user, route) for rule in schema.rules):
                who = {"ByUser": user.name, "ByNamespace": route.namespace}.get(schema.by, "")
                return Flow(schema.level, schema.name, who)
        return Flow(CATCH_ALL, "catch-all", user.name)

    def _refresh(self) -> None:
        as_of = (self._tables[0].revision, self._tables[1].revision)
        if as_of == self._as_of:
            return
        self._as_of = as_of
        self._known.clear()
        levels = levels_of([self._state.obj(row) for row in self._tables[1].ordered()])
        self._schemas = schemas_of([self._state.obj(row) for row in self._tables[0].ordered()], levels)


def levels_of(objects: Sequence[Obj]) -> Mapping[str, PriorityLevel]:
    """By name; each limited one has at least one seat."""
    shares = {
        name_of(obj): int(field_of(obj, "spec", "limited", "nominalConcurrencyShares", default=30))
        for obj in objects
        if field_of(obj, "spec", "type") == "Limited"
    }
    total = sum(shares.values()) or 1
    levels: dict[str, PriorityLevel] = {}
    for obj in objects:
        name = name_of(obj)
        if name not in shares:
            levels[name] = PriorityLevel(name, None, 0)
            continue
        response = field_of(obj, "spec", "limited", "limitResponse", default={})
        queue_max = int(field_of(response, "queuing", "queueLengthLimit", default=QUEUE_DEFAULT_MAX))
        seats = max(1, -(-SEATS_TOTAL * shares[name] // total))
        levels[name] = PriorityLevel(name, seats, queue_max if response.get("type") == "Queue" else 0)
    return levels


def schemas_of(objects: Sequence[Obj], levels: Mapping[str, PriorityLevel]) -> tuple[_Schema, ...]:
    """In the order they are asked; those that name no level there is are left out."""
    found: list[tuple[int, str, _Schema]] = []
    for obj in objects:
        spec: Mapping[str, Any] = obj.get("spec") or {}
        level = levels.get(field_of(spec, "priorityLevelConfiguration", "name", default=""))
        if level is not None:
            by = str(field_of(spec, "distinguisherMethod", "type", default=""))
            schema = _Schema(name_of(obj), level, by, tuple(spec.get("rules") or ()))
            found.append((int(spec.get("matchingPrecedence") or 1000), schema.name, schema))
    return tuple(schema for _, _, schema in sorted(found, key=lambda each: each[:2]))


def _rule_matches(rule: Obj, user: Identity, route: Route) -> bool:
    if not any(_subject_matches(subject, user) for subject in rule.get("subjects") or ()):
        return False
    if route.is_resource:
        return any(_resource_matches(each, route) for each in rule.get("resourceRules") or ())
    return any(
        _listed(each.get("verbs"), route.verb) and _url_listed(each.get("nonResourceURLs") or (), route.path)
        for each in rule.get("nonResourceRules") or ()
    )


def _subject_matches(subject: Obj, user: Identity) -> bool:
    match subject.get("kind"):
        case "User":
            return field_of(subject, "user", "name") in (user.name, "*")
        case "Group":
            wanted = field_of(subject, "group", "name")
            return wanted == "*" or wanted in user.groups
        case "ServiceAccount":
            account = subject.get("serviceAccount") or {}
            prefix = f"{SERVICE_ACCOUNT_PREFIX}{account.get('namespace')}:"
            return user.name.startswith(prefix) and account.get("name") in ("*", user.name.removeprefix(prefix))
        case _:
            return False


def _resource_matches(rule: Obj, route: Route) -> bool:
    if not _listed(rule.get("verbs"), route.verb) or not _listed(rule.get("apiGroups"), route.group):
        return False
    if not _listed(rule.get("resources"), route.resource_path):
        return False
    if not route.namespace:
        return bool(rule.get("clusterScope"))
    return _listed(rule.get("namespaces"), route.namespace)


def _listed(words: Sequence[str] | None, word: str) -> bool:
    return words is not None and (word in words or "*" in words)


def _url_listed(urls: Sequence[str], path: str) -> bool:
    return any(url == "*" or url == path or (url.endswith("*") and path.startswith(url[:-1])) for url in urls)
