"""The flowcontrol group: FlowSchema and PriorityLevelConfiguration.  What objects exist from the start is `flow_defaults`.

Upstream: pkg/apis/flowcontrol/{v1/defaults,validation/validation}.go, pkg/registry/flowcontrol/*/strategy.go, pkg/printers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from cluster.machinery.conditions import conditions_of, get_condition
from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import forbidden, invalid, not_supported, required
from cluster.machinery.names import label_errors, subdomain_errors
from cluster.machinery.objects import GroupKind, Obj, field_of, name_of
from cluster.resources.defaulting import filled
from cluster.resources.flow_defaults import MANDATORY_LEVELS, MANDATORY_SCHEMAS
from cluster.resources.kind import Kind
from cluster.resources.printing import AGE, NAME, NONE, Column, field_cell
from cluster.resources.strategy import GenericStrategy

GROUP = "flowcontrol.apiserver.k8s.io"
PRECEDENCE_DEFAULT = 1000
PRECEDENCE_MAX = 10000
QUEUES_MAX = 10_000_000
_NOT_NEGATIVE = "must be a non-negative integer"
_SUBJECTS = {"User": "user", "Group": "group", "ServiceAccount": "serviceAccount"}


class FlowSchemaStrategy(GenericStrategy):
    namespaced = False
    has_status = True
    has_generation = True

    def default(self, obj: Obj) -> Obj:
        return {**obj, "spec": filled(obj.get("spec") or {}, {"matchingPrecedence": PRECEDENCE_DEFAULT})}

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        spec = obj.get("spec") or {}
        return (*_fixed_causes(obj, MANDATORY_SCHEMAS), *_validate_schema(spec, name_of(obj)))


class PriorityLevelConfigurationStrategy(GenericStrategy):
    namespaced = False
    has_status = True
    has_generation = True

    def default(self, obj: Obj) -> Obj:
        spec = filled(obj.get("spec") or {})
        match spec.get("type"):
            case "Exempt":
                zero = {"nominalConcurrencyShares": 0, "lendablePercent": 0}
                spec["exempt"] = filled(spec.get("exempt") or {}, absent=zero)
            case "Limited" if spec.get("limited") is not None:
                spec["limited"] = _default_limited(spec["limited"])
        return {**obj, "spec": spec}

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        # How many requests the exempt level lends and counts for may be changed; nothing else of the mandatory ones.
        fixed = () if name_of(obj) == "exempt" else _fixed_causes(obj, MANDATORY_LEVELS)
        return (*fixed, *_validate_level(obj.get("spec") or {}, name_of(obj)))


def _fixed_causes(obj: Obj, mandatory: Mapping[str, Obj]) -> Iterator[Cause]:
    name = name_of(obj)
    if name in mandatory and obj.get("spec") != mandatory[name]["spec"]:
        yield invalid("spec", obj.get("spec"), f"spec of '{name}' must equal the fixed value")


def _default_limited(limited: Obj) -> Obj:
    made = filled(limited, absent={"nominalConcurrencyShares": 30, "lendablePercent": 0})
    response = made.get("limitResponse") or {}
    if (queuing := response.get("queuing")) is not None:
        sizes = {"handSize": 8, "queues": 64, "queueLengthLimit": 50}
        made["limitResponse"] = {**response, "queuing": filled(queuing, sizes)}
    return made


def _validate_schema(spec: Obj, name: str) -> Iterator[Cause]:
    precedence = spec.get("matchingPrecedence") or 0
    if precedence <= 0:
        yield invalid("spec.matchingPrecedence", precedence, "must be a positive value")
    if precedence > PRECEDENCE_MAX:
        yield invalid("spec.matchingPrecedence", precedence, f"must not be greater than {PRECEDENCE_MAX}")
    if precedence == 1 and name != "exempt":
        why = "only the schema named 'exempt' may have matchingPrecedence 1"
        yield invalid("spec.matchingPrecedence", precedence, why)
    kind = field_of(spec, "distinguisherMethod", "type")
    if spec.get("distinguisherMethod") is not None and kind not in ("ByNamespace", "ByUser"):
        yield not_supported("spec.distinguisherMethod.type", kind or "", ("ByNamespace", "ByUser"))
    level = field_of(spec, "priorityLevelConfiguration", "name", default="")
    if not level:
        yield required("spec.priorityLevelConfiguration.name", "must reference a priority level")
    for why in subdomain_errors(level) if level else ():
        yield invalid("spec.priorityLevelConfiguration.name", level, why)
    for index, rule in enumerate(spec.get("rules") or ()):
        yield from _validate_rules(rule, f"spec.rules[{index}]")


def _validate_rules(rules: Obj, path: str) -> Iterator[Cause]:
    subjects = rules.get("subjects") or ()
    if not subjects:
        yield required(f"{path}.subjects", "subjects must contain at least one value")
    for index, subject in enumerate(subjects):
        yield from _validate_subject(subject, f"{path}.subjects[{index}]")
    resources, others = rules.get("resourceRules") or (), rules.get("nonResourceRules") or ()
    if not resources and not others:
        yield required(path, "at least one of resourceRules and nonResourceRules has to be non-empty")
    for index, rule in enumerate(resources):
        yield from _validate_resource_rule(rule, f"{path}.resourceRules[{index}]")
    for index, rule in enumerate(others):
        at = f"{path}.nonResourceRules[{index}]"
        yield from _validate_listed(rule, at, ("verbs", "nonResourceURLs"))
        for place, url in enumerate(rule.get("nonResourceURLs") or ()):
            if not str(url).startswith("/") and url != "*":
                yield invalid(f"{at}.nonResourceURLs[{place}]", url, "must start with slash")


def _validate_listed(rule: Obj, path: str, fields: tuple[str, ...]) -> Iterator[Cause]:
    """Each of `fields` lists something, and a `*` stands alone."""
    for field in fields:
        values = rule.get(field) or ()
        if not values:
            yield required(f"{path}.{field}", f"{field} must contain at least one value")
        elif "*" in values and len(values) > 1:
            yield invalid(f"{path}.{field}", values, "if '*' is present, must not specify other values")


def _validate_resource_rule(rule: Obj, path: str) -> Iterator[Cause]:
    yield from _validate_listed(rule, path, ("verbs", "apiGroups", "resources"))
    namespaces = rule.get("namespaces") or ()
    if not namespaces and not rule.get("clusterScope"):
        why = "resource rules that are not cluster scoped must supply at least one namespace"
        yield required(f"{path}.namespaces", why)
    if "*" in namespaces and len(namespaces) > 1:
        yield invalid(f"{path}.namespaces", namespaces, "if '*' is present, must not specify other values")
    for index, namespace in enumerate(namespaces):
        for why in label_errors(namespace) if namespace != "*" else ():
            yield invalid(f"{path}.namespaces[{index}]", namespace, why)


def _validate_subject(subject: Obj, path: str) -> Iterator[Cause]:
    kind = subject.get("kind") or ""
    if kind not in _SUBJECTS:
        yield not_supported(f"{path}.kind", kind, sorted(_SUBJECTS))
        return
    for other, field in _SUBJECTS.items():
        if other != kind and subject.get(field) is not None:
            yield forbidden(f"{path}.{field}", f"{field} is forbidden when subject kind is not '{other}'")
    field = _SUBJECTS[kind]
    named = subject.get(field)
    if named is None:
        yield required(f"{path}.{field}", f"{field} is required when subject kind is '{kind}'")
        return
    if not named.get("name"):
        yield required(f"{path}.{field}.name")
    if kind == "ServiceAccount":
        namespace = named.get("namespace") or ""
        if not namespace:
            yield required(f"{path}.{field}.namespace", "must specify namespace for service account")
        for why in label_errors(namespace) if namespace else ():
            yield invalid(f"{path}.{field}.namespace", namespace, why)


def _validate_level(spec: Obj, name: str) -> Iterator[Cause]:
    kind, exempt, limited = spec.get("type") or "", spec.get("exempt"), spec.get("limited")
    if (name == "exempt") != (kind == "Exempt"):
        why = "must be 'Exempt' if and only if `name` is 'exempt'"
        yield invalid("spec.type", kind, why)
    match kind:
        case "Exempt":
            if limited is not None:
                yield forbidden("spec.limited", "must be nil if the type is not Limited")
            yield from _validate_shares(exempt or {}, "spec.exempt")
        case "Limited":
            if exempt is not None:
                yield forbidden("spec.exempt", "must be nil if the type is Limited")
            if limited is None:
                yield required("spec.limited", "must not be empty when type is Limited")
            else:
                yield from _validate_shares(limited, "spec.limited")
                yield from _validate_response(limited.get("limitResponse") or {}, "spec.limited.limitResponse")
        case _:
            yield not_supported("spec.type", kind, ("Exempt", "Limited"))


def _validate_shares(level: Obj, path: str) -> Iterator[Cause]:
    shares, lendable = level.get("nominalConcurrencyShares", 0), level.get("lendablePercent", 0)
    if shares < 0:
        yield invalid(f"{path}.nominalConcurrencyShares", shares, _NOT_NEGATIVE)
    if not 0 <= lendable <= 100:
        yield invalid(f"{path}.lendablePercent", lendable, "must be between 0 and 100, inclusive")
    limit = level.get("borrowingLimitPercent")
    if limit is not None and limit < 0:
        yield invalid(f"{path}.borrowingLimitPercent", limit, "if specified, must be a non-negative integer")


def _validate_response(response: Obj, path: str) -> Iterator[Cause]:
    kind, queuing = response.get("type") or "", response.get("queuing")
    match kind:
        case "Reject":
            if queuing is not None:
                yield forbidden(f"{path}.queuing", "must be nil if limited.limitResponse.type is not Limited")
        case "Queue" if queuing is None:
            yield required(f"{path}.queuing", "must not be empty if limited.limitResponse.type is Limited")
        case "Queue":
            yield from _validate_queuing(queuing, f"{path}.queuing")
        case _:
            yield not_supported(f"{path}.type", kind, ("Queue", "Reject"))


def _validate_queuing(queuing: Any, path: str) -> Iterator[Cause]:
    queues, hand = queuing.get("queues", 0), queuing.get("handSize", 0)
    for field in ("queueLengthLimit", "queues", "handSize"):
        if queuing.get(field, 0) <= 0:
            yield invalid(f"{path}.{field}", queuing.get(field, 0), "must be positive")
    if queues > QUEUES_MAX:
        yield invalid(f"{path}.queues", queues, f"must not be greater than {QUEUES_MAX}")
    if 0 < queues < hand:
        yield invalid(f"{path}.handSize", hand, f"should not be greater than queues ({queues})")


def _method_cell(obj: Obj, now: datetime) -> str:
    return str(field_of(obj, "spec", "distinguisherMethod", "type", default=NONE))


def _dangling_cell(obj: Obj, now: datetime) -> str:
    condition = get_condition(conditions_of(obj), "Dangling")
    return "?" if condition is None else str(condition.get("status", "?"))


def _shares_cell(obj: Obj, now: datetime) -> str | int:
    limited = field_of(obj, "spec", "limited")
    return NONE if limited is None else int(limited.get("nominalConcurrencyShares", 0))


def _queuing_column(name: str, field: str) -> Column:
    return Column(name, field_cell("spec", "limited", "limitResponse", "queuing", field, default=NONE))


KINDS: Mapping[GroupKind, Kind] = {
    GroupKind(GROUP, "FlowSchema"): Kind(
        FlowSchemaStrategy(),
        (
            NAME,
            Column("PriorityLevel", field_cell("spec", "priorityLevelConfiguration", "name")),
            Column("MatchingPrecedence", field_cell("spec", "matchingPrecedence", default=0), "integer"),
            Column("DistinguisherMethod", _method_cell),
            AGE,
            Column("MissingPL", _dangling_cell),
        ),
    ),
    GroupKind(GROUP, "PriorityLevelConfiguration"): Kind(
        PriorityLevelConfigurationStrategy(),
        (
            NAME,
            Column("Type", field_cell("spec", "type")),
            Column("NominalConcurrencyShares", _shares_cell),
            _queuing_column("Queues", "queues"),
            _queuing_column("HandSize", "handSize"),
            _queuing_column("QueueLengthLimit", "queueLengthLimit"),
            AGE,
        ),
    ),
}
