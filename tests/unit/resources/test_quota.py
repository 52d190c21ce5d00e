"""ResourceQuotas, LimitRanges and PodDisruptionBudgets: defaults, rules, rows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.machinery.objects import Obj
from tests.unit.resources.kinds import begin, cells, complaints, kind_of, named

QUOTA = kind_of("", "ResourceQuota")
LIMITS = kind_of("", "LimitRange")
BUDGET = kind_of("policy", "PodDisruptionBudget")


def quota(**spec: Any) -> Obj:
    return named("q", "n", spec=spec)


def limits(*items: Obj) -> Obj:
    return named("l", "n", spec={"limits": list(items)})


def scoped(**expression: Any) -> Obj:
    return {"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [expression]}}


@pytest.mark.parametrize(
    "hard",
    [
        {"cpu": "1", "requests.memory": "1Gi", "limits.ephemeral-storage": "1Gi", "pods": "4", "services.nodeports": "0"},
        {"count/jobs.batch": "3", "requests.example.com/gpu": "1", "hugepages-2Mi": "1Gi", "requests.hugepages-2Mi": "1Gi"},
        {"gold.storageclass.storage.k8s.io/requests.storage": "500Gi"},
    ],
)  # fmt: skip
def test_what_a_quota_counts(hard: Obj) -> None:
    assert complaints(QUOTA, quota(hard=hard)) == []


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"hard": {"cpus": "1"}}, 'spec.hard[cpus]: Invalid value: "cpus": must be a standard resource for quota'),
        ({"hard": {"pods": "-1"}}, 'spec.hard[pods]: Invalid value: "-1": must be greater than or equal to 0'),
        ({"hard": {"pods": "1.5"}}, 'spec.hard[pods]: Invalid value: "1.5": must be an integer'),
        ({"hard": {"count/pods": "500m"}}, 'spec.hard[count/pods]: Invalid value: "500m": must be an integer'),
        ({"hard": {"cpu": "x"}}, "spec.hard[cpu]: Invalid value"),
        ({"hard": {"pods": "1"}, "scopes": ["Odd"]}, 'spec.scopes: Invalid value: ["Odd"]: unsupported scope'),
        ({"hard": {"services": "1"}, "scopes": ["Terminating"]},
         'spec.scopes: Invalid value: ["Terminating"]: unsupported scope applied to resource'),
        ({"hard": {"cpu": "1"}, "scopes": ["BestEffort"]},
         'spec.scopes: Invalid value: ["BestEffort"]: unsupported scope applied to resource'),
        ({"hard": {"pods": "1"}, "scopes": ["BestEffort", "NotBestEffort"]},
         'spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: conflicting scopes'),
        (scoped(scopeName="Odd", operator="Exists"),
         'spec.scopeSelector.matchExpressions.scopeName: Invalid value: "Odd": unsupported scope'),
        (scoped(scopeName="PriorityClass", operator="In"),
         "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In'"),
        (scoped(scopeName="PriorityClass", operator="Exists", values=["x"]),
         'spec.scopeSelector.matchExpressions.values: Invalid value: ["x"]: must be no value when `operator`'),
        (scoped(scopeName="BestEffort", operator="DoesNotExist"),
         "spec.scopeSelector.matchExpressions.operator: Invalid value: \"DoesNotExist\": must be 'Exist' when scope is any of"),
        (scoped(scopeName="PriorityClass", operator="Is"),
         'spec.scopeSelector.matchExpressions.operator: Invalid value: "Is": not a valid selector operator'),
    ],
)  # fmt: skip
def test_a_quota_that_cannot_work_is_refused(spec: dict[str, Any], text: str) -> None:
    assert begin(complaints(QUOTA, quota(**spec)), text)


def test_the_scopes_of_a_quota_are_for_good() -> None:
    old = quota(hard={"pods": "1"}, scopes=["BestEffort", "Terminating"])
    assert complaints(QUOTA, quota(hard={"pods": "2"}, scopes=["Terminating", "BestEffort"]), old) == []
    assert begin(complaints(QUOTA, quota(hard={"pods": "1"}), old), "spec.scopes: Invalid value")


def test_a_container_gets_what_its_limits_leave_it() -> None:
    item = {
        "type": "Container",
        "max": {"cpu": "2"},
        "min": {"cpu": "100m", "memory": "1Mi"},
        "default": {"memory": "1Gi"},
    }
    made = LIMITS.strategy.default(limits(item))["spec"]["limits"][0]
    assert made["default"] == {"cpu": "2", "memory": "1Gi"}
    assert made["defaultRequest"] == {"cpu": "2", "memory": "1Gi"}
    pod = {"type": "Pod", "max": {"cpu": "2"}}
    assert LIMITS.strategy.default(limits(pod))["spec"]["limits"] == [pod]


AMOUNTS = st.dictionaries(st.sampled_from(("cpu", "memory")), st.sampled_from(("1", "2", "3")), max_size=2)


@given(AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS)
def test_defaulting_limits_twice_changes_nothing(least: Obj, most: Obj, default: Obj, request: Obj) -> None:
    item = {"type": "Container", "min": least, "max": most, "default": default, "defaultRequest": request}
    made = LIMITS.strategy.default(limits(item))
    assert LIMITS.strategy.default(made) == made


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({"type": "Node"}, 'spec.limits[0].type: Invalid value: "Node": must be a standard limit type or fully qualified'),
        ({"type": "Pod", "default": {"cpu": "1"}}, "spec.limits[0].default: Forbidden: may not be specified when `type` is"),
        ({"type": "Pod", "min": {"cpu": "2"}, "max": {"cpu": "1"}},
         'spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1'),
        ({"type": "Container", "defaultRequest": {"cpu": "2"}, "default": {"cpu": "1"}},
         'spec.limits[0].defaultRequest[cpu]: Invalid value: "2": default request value 2 is greater than default limit'),
        ({"type": "Container", "maxLimitRequestRatio": {"cpu": "500m"}},
         'spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "500m": ratio 500m is less than 1'),
        ({"type": "Pod", "min": {"cpu": "1"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "3"}},
         'spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "3": ratio 3 is greater than max/min = 2.000000'),
        ({"type": "PersistentVolumeClaim", "max": {"cpu": "1"}},
         "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was"),
        ({"type": "Pod", "max": {"gpus": "1"}}, 'spec.limits[0].max[gpus]: Invalid value: "gpus": must be a standard'),
        ({"type": "Pod", "max": {"cpu": "-1"}}, "spec.limits[0].max[cpu]: Invalid value"),
    ],
)  # fmt: skip
def test_limits_that_cannot_be_kept_are_refused(item: Obj, text: str) -> None:
    assert begin(complaints(LIMITS, limits(item)), text)


def test_a_type_is_limited_once() -> None:
    assert complaints(LIMITS, limits({"type": "Pod"}, {"type": "Pod"})) == [
        'spec.limits[1].type: Duplicate value: "Pod"'
    ]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"minAvailable": 1, "maxUnavailable": 1}, "spec: Invalid value"),
        ({"minAvailable": -1}, "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"),
        ({"maxUnavailable": "x"}, "spec.maxUnavailable: Invalid value"),
        ({"maxUnavailable": "101%"}, 'spec.maxUnavailable: Invalid value: "101%": must not be greater than 100%'),
        ({"selector": {"matchLabels": {"-": ""}}}, "spec.selector.matchLabels: Invalid value"),
        ({"unhealthyPodEvictionPolicy": "Never"},
         'spec.unhealthyPodEvictionPolicy: Unsupported value: "Never": supported values: "AlwaysAllow", "IfHealthyBudget"'),
    ],
)  # fmt: skip
def test_a_budget_that_cannot_be_kept_is_refused(spec: Obj, text: str) -> None:
    assert begin(complaints(BUDGET, named("b", "n", spec=spec)), text)


def test_a_budget_may_change() -> None:
    old, new = named("b", "n", spec={"minAvailable": 1}), named("b", "n", spec={"maxUnavailable": "50%"})
    assert complaints(BUDGET, new, old) == []
    assert not BUDGET.strategy.unconditional_update


def test_the_rows() -> None:
    hard = {"pods": "10", "limits.cpu": "2", "cpu": "1"}
    shown = named("q", "n", status={"hard": hard, "used": {"pods": "3", "limits.cpu": "500m"}})
    assert cells(QUOTA, shown) == ["q", "cpu: 0/1, pods: 3/10", "limits.cpu: 500m/2", "60s"]
    assert cells(LIMITS, limits()) == ["l", "2025-01-01T11:59:00Z"]
    assert cells(BUDGET, named("b", "n", spec={"minAvailable": "50%"}, status={"disruptionsAllowed": 2})) == [
        "b", "50%", "N/A", 2, "60s",
    ]  # fmt: skip
