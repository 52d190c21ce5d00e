"""A job's podFailurePolicy and successPolicy: which ends of pods and indexes end the job.

Upstream: pkg/apis/batch/validation/validation.go validatePodFailurePolicy, validateSuccessPolicy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import duplicate, invalid, not_supported, quoted, required, too_long, too_many
from cluster.machinery.names import qualified_name_errors
from cluster.machinery.objects import Obj, field_of
from cluster.resources.defaulting import each, filled
from cluster.resources.workload import validate_not_negative

RULES_MAX = 20
EXIT_CODES_MAX = 255
ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
OPERATORS = ("In", "NotIn")
STATUSES = ("False", "True", "Unknown")
INDEXES_MAX_BYTES = 64 * 1024
_INTERVAL = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?\Z", re.ASCII)


def default_pod_failure_policy(policy: Obj) -> dict[str, Any]:
    """A condition that names no status means `True`."""
    made = dict(policy)
    each(made, "rules", _default_rule)
    return made


def _default_rule(rule: Obj) -> dict[str, Any]:
    made = dict(rule)
    each(made, "onPodConditions", lambda pattern: filled(pattern, {"status": "True"}))
    return made


def validate_pod_failure_policy(policy: Obj, spec: Obj, path: str) -> Iterator[Cause]:
    rules = policy.get("rules") or ()
    if len(rules) > RULES_MAX:
        yield too_many(f"{path}.rules", len(rules), RULES_MAX)
    pod = field_of(spec, "template", "spec", default={})
    names = {container.get("name") for field in ("containers", "initContainers") for container in pod.get(field) or ()}
    for index, rule in enumerate(rules):
        yield from _validate_rule(rule, spec, names, f"{path}.rules[{index}]")


def _validate_rule(rule: Obj, spec: Obj, names: set[Any], path: str) -> Iterator[Cause]:
    action = rule.get("action", "")
    if action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
        yield invalid(f"{path}.action", action, "requires the backoffLimitPerIndex to be set")
    elif not action:
        yield required(f"{path}.action", f"valid values: {_listed(ACTIONS)}")
    elif action not in ACTIONS:
        yield not_supported(f"{path}.action", action, ACTIONS)
    codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions") or ()
    if codes is not None and conditions:
        yield _whole(path, "specifying both OnExitCodes and OnPodConditions is not supported")
    if codes is None and not conditions:
        yield _whole(path, "specifying one of OnExitCodes and OnPodConditions is required")
    if codes is not None:
        yield from _validate_exit_codes(codes, names, f"{path}.onExitCodes")
    if len(conditions) > RULES_MAX:
        yield too_many(f"{path}.onPodConditions", len(conditions), RULES_MAX)
    for index, pattern in enumerate(conditions):
        at = f"{path}.onPodConditions[{index}]"
        for why in qualified_name_errors(pattern.get("type", "")):
            yield invalid(f"{at}.type", pattern.get("type", ""), why)
        if not (status := pattern.get("status", "")):
            yield required(f"{at}.status", f"valid values: {_listed(STATUSES)}")
        elif status not in STATUSES:
            yield not_supported(f"{at}.status", status, STATUSES)


def _listed(choices: tuple[str, ...]) -> str:
    return ", ".join(quoted(choice) for choice in choices)


def _whole(path: str, why: str) -> Cause:
    """A rule is wrong as a whole: its value is not repeated."""
    return Cause("FieldValueInvalid", f"Invalid value: {why}", path)


def _validate_exit_codes(codes: Obj, names: set[Any], path: str) -> Iterator[Cause]:
    operator, values = codes.get("operator", ""), codes.get("values") or []
    if not operator:
        yield required(f"{path}.operator", 'valid values: "In", "NotIn"')
    elif operator not in OPERATORS:
        yield not_supported(f"{path}.operator", operator, OPERATORS)
    container = codes.get("containerName")
    if container is not None and container not in names:
        why = "must be one of the container or initContainer names in the pod template"
        yield invalid(f"{path}.containerName", container, why)
    if not values:
        yield invalid(f"{path}.values", values, "at least one value is required")
    elif len(values) > EXIT_CODES_MAX:
        yield too_many(f"{path}.values", len(values), EXIT_CODES_MAX)
    seen: set[int] = set()
    for index, value in enumerate(values):
        if operator == "In" and value == 0:
            yield invalid(f"{path}.values[{index}]", value, "must not be 0 for the In operator")
        if value in seen:
            yield duplicate(f"{path}.values[{index}]", value)
        seen.add(value)
    if list(values) != sorted(values):
        yield invalid(f"{path}.values", values, "must be ordered")


def validate_success_policy(policy: Obj, spec: Obj, path: str) -> Iterator[Cause]:
    rules = policy.get("rules") or ()
    if not rules:
        yield required(f"{path}.rules", "at least one rules must be specified when the successPolicy is specified")
    if len(rules) > RULES_MAX:
        yield too_many(f"{path}.rules", len(rules), RULES_MAX)
    completions = spec.get("completions") or 0
    for index, rule in enumerate(rules):
        yield from _validate_success_rule(rule, completions, f"{path}.rules[{index}]")


def _validate_success_rule(rule: Obj, completions: int, path: str) -> Iterator[Cause]:
    count, indexes = rule.get("succeededCount"), rule.get("succeededIndexes")
    if count is None and indexes is None:
        yield required(path, "at least one of succeededCount or succeededIndexes must be specified")
    total = None
    if indexes is not None:
        if len(indexes) > INDEXES_MAX_BYTES:
            yield too_long(f"{path}.succeededIndexes", INDEXES_MAX_BYTES)
            return
        try:
            total = count_indexes(indexes, completions)
        except ValueError as error:
            yield invalid(f"{path}.succeededIndexes", indexes, f"error parsing succeededIndexes: {error}")
    if count is None:
        return
    yield from validate_not_negative(count, f"{path}.succeededCount")
    if count > completions:
        why = f"must be less than or equal to {completions} (the number of specified completions)"
        yield invalid(f"{path}.succeededCount", count, why)
    if total is not None and count > total:
        why = f"must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
        yield invalid(f"{path}.succeededCount", count, why)


def count_indexes(text: str, completions: int) -> int:
    """How many indexes a list like `0,2-4` holds; each below `completions`, in rising order.  Raises ValueError."""
    total, last = 0, -1
    for part in text.split(",") if text else ():
        match = _INTERVAL.match(part)
        if match is None:
            raise ValueError(f'cannot convert string to integer for index: "{part}"')
        first = int(match[1])
        end = int(match[2]) if match[2] else first
        if first <= last:
            raise ValueError(f'non-increasing order, previous: {last}, current: {first}: "{part}"')
        if end < first or (match[2] and end == first):
            raise ValueError(f'non-increasing order, previous: {first}, current: {end}: "{part}"')
        if end >= completions:
            raise ValueError(f'too large index: "{end}"')
        total, last = total + end - first + 1, end
    return total
