"""HorizontalPodAutoscalers in both versions: defaults, rules, rows, and that nothing is lost between them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.machinery.objects import Obj
from cluster.resources.autoscaling_v1 import BEHAVIOR, METRICS, to_storage, to_v1, to_v2
from tests.unit.resources.kinds import begin, cells, complaints, kind_of, named

V2 = kind_of("autoscaling", "HorizontalPodAutoscaler", "v2")
V1 = kind_of("autoscaling", "HorizontalPodAutoscaler", "v1")
TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
CPU: Obj = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}},
}
RATE: Obj = {"metric": {"name": "rate"}, "target": {"type": "AverageValue", "averageValue": "10"}}


def autoscaler(**spec: Any) -> Obj:
    return named("h", "n", spec={"scaleTargetRef": TARGET, "maxReplicas": 5, **spec})


def test_without_a_metric_cpu_is_meant() -> None:
    made = V2.strategy.default(autoscaler())["spec"]
    assert made["minReplicas"] == 1
    assert made["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 80}
    assert "behavior" not in made


def test_a_behavior_is_completed() -> None:
    made = V2.strategy.default(autoscaler(behavior={"scaleDown": {"stabilizationWindowSeconds": 9}}))["spec"][
        "behavior"
    ]
    assert made["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert [policy["value"] for policy in made["scaleUp"]["policies"]] == [4, 100]
    assert made["scaleDown"] == {
        "stabilizationWindowSeconds": 9, "selectPolicy": "Max",
        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"minReplicas": 0}, "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1"),
        ({"maxReplicas": 0, "minReplicas": None}, "spec.maxReplicas: Invalid value: 0: must be greater than 0"),
        ({"minReplicas": 6}, "spec.maxReplicas: Invalid value: 5: must be greater than or equal to `minReplicas`"),
        ({"scaleTargetRef": {"kind": "Deployment"}}, "spec.scaleTargetRef.name: Required value"),
        ({"scaleTargetRef": {"kind": "a/b", "name": "x"}}, 'spec.scaleTargetRef.kind: Invalid value: "a/b": may not contain'),
        ({"metrics": [{**CPU, "type": "Odd"}]}, 'spec.metrics[0].type: Unsupported value: "Odd"'),
        ({"metrics": [{"type": "Pods"}]},
         "spec.metrics[0].pods: Required value: must populate information for the given metric source"),
        ({"metrics": [{**CPU, "pods": RATE}]},
         "spec.metrics[0].pods: Forbidden: must populate the given metric source only"),
        ({"metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}]},
         "spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a"),
        ({"metrics": [{"type": "Pods", "pods": {**RATE, "metric": {}}}]},
         "spec.metrics[0].pods.metric.name: Required value: must specify a metric name"),
        ({"metrics": [{"type": "Pods", "pods": {**RATE, "target": {"type": "Value", "averageValue": "0"}}}]},
         'spec.metrics[0].pods.target.averageValue: Invalid value: "0": must be positive'),
        ({"metrics": [{"type": "External", "external": {**RATE, "target": {"type": "Value"}}}]},
         "spec.metrics[0].external.target.averageValue: Required value: must set either a target value for metric or a per"),
        ({"behavior": {"scaleUp": {"stabilizationWindowSeconds": 3601}}},
         "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600"),
        ({"behavior": {"scaleUp": {"selectPolicy": "Some"}}}, "spec.behavior.scaleUp.selectPolicy: Unsupported value"),
        ({"behavior": {"scaleDown": {"policies": [{"type": "Pods", "value": 0, "periodSeconds": 1}]}}},
         "spec.behavior.scaleDown.policies[0].value: Invalid value: 0: must be greater than zero"),
        ({"behavior": {"scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 1801}]}}},
         "spec.behavior.scaleDown.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800"),
        ({"behavior": {"scaleDown": {"policies": []}}},
         "spec.behavior.scaleDown.policies: Required value: must specify at least one Policy"),
    ],
)  # fmt: skip
def test_an_autoscaler_that_cannot_work_is_refused(spec: dict[str, Any], text: str) -> None:
    found = complaints(V2, autoscaler(**spec))
    assert found
    assert found[0].startswith(text) or begin(found, text)


def test_the_old_version_is_held_to_the_same_rules() -> None:
    assert complaints(V1, autoscaler(targetCPUUtilizationPercentage=50)) == []
    assert begin(
        complaints(V1, autoscaler(targetCPUUtilizationPercentage=0)),
        "spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0",
    )
    assert begin(complaints(V1, autoscaler(minReplicas=9)), "spec.maxReplicas: Invalid value")


def test_the_old_version_names_cpu_in_a_field_and_the_rest_in_an_annotation() -> None:
    stored = to_storage(autoscaler(targetCPUUtilizationPercentage=60))
    assert stored["apiVersion"] == "autoscaling/v2"
    assert stored["spec"]["metrics"] == [CPU]
    shown = to_v1({**stored, "spec": {**stored["spec"], "metrics": [CPU, {"type": "Pods", "pods": RATE}]}})
    assert shown["spec"]["targetCPUUtilizationPercentage"] == 60
    assert "metrics" not in shown["spec"]
    assert shown["metadata"]["annotations"] == {
        METRICS: '[{"type":"Pods","pods":{"metricName":"rate","targetAverageValue":"10"}}]'
    }


def test_an_annotation_that_holds_nonsense_is_dropped() -> None:
    odd = autoscaler()
    for text in ("{", "3", '{"a": 1}', '["x"]'):
        annotated = {
            **odd,
            "metadata": {**odd["metadata"], "annotations": {METRICS: text, BEHAVIOR: text, "kept": "x"}},
        }
        made = to_v2(annotated)
        assert made["metadata"]["annotations"] == {"kept": "x"}
        assert "metrics" not in made["spec"]


SELECTORS = st.fixed_dictionaries(
    {"name": st.sampled_from(("rate", "depth"))}, optional={"selector": st.just({"matchLabels": {"a": "b"}})}
)
AVERAGE = st.just({"type": "AverageValue", "averageValue": "10"})
VALUE = st.just({"type": "Value", "value": "7"})
PERCENT = st.builds(lambda n: {"type": "Utilization", "averageUtilization": n}, st.integers(1, 99))
METRIC = st.one_of(
    st.builds(lambda t: {"type": "Resource", "resource": {"name": "memory", "target": t}}, st.one_of(AVERAGE, PERCENT)),
    st.builds(
        lambda t: {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c", "target": t}},
        st.one_of(AVERAGE, PERCENT),
    ),
    st.builds(
        lambda m: {"type": "Pods", "pods": {"metric": m, "target": {"type": "AverageValue", "averageValue": "1"}}},
        SELECTORS,
    ),
    st.builds(
        lambda m, t: {"type": "External", "external": {"metric": m, "target": t}}, SELECTORS, st.one_of(AVERAGE, VALUE)
    ),
    st.builds(
        lambda m, t: {"type": "Object", "object": {"metric": m, "target": t, "describedObject": TARGET}},
        SELECTORS,
        st.one_of(AVERAGE, VALUE),
    ),
)
BEHAVIORS = st.sampled_from(
    (None, {"scaleDown": {"selectPolicy": "Disabled"}}, {"scaleUp": {"stabilizationWindowSeconds": 3}})
)


@given(st.lists(METRIC, max_size=3), st.booleans(), BEHAVIORS)
def test_nothing_is_lost_on_the_way_to_the_old_version_and_back(
    metrics: list[Obj], cpu: bool, behavior: Obj | None
) -> None:
    wanted = {"metrics": [CPU, *metrics] if cpu else metrics} | ({"behavior": behavior} if behavior else {})
    stored = V2.strategy.default({**autoscaler(**wanted), "apiVersion": "autoscaling/v2"})
    assert to_v2(to_v1(stored)) == stored
    assert to_storage(to_v1(stored)) == stored


def test_the_status_of_the_old_version() -> None:
    condition = {"type": "AbleToScale", "status": "True"}
    current = [
        {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 40, "averageValue": "4m"}}}
    ]
    status = {"currentReplicas": 2, "currentMetrics": current, "conditions": [condition]}
    shown = to_v1({**autoscaler(), "status": status})
    assert shown["status"] == {"currentReplicas": 2, "currentCPUUtilizationPercentage": 40}
    assert to_v2(shown)["status"]["conditions"] == [condition]


def test_the_rows() -> None:
    status = {
        "currentReplicas": 3,
        "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 41}}}],
    }
    shown = {**autoscaler(minReplicas=2, metrics=[CPU]), "status": status}
    row = ["h", "Deployment/web", "cpu: 41%/60%", "2", 5, 3, "60s"]
    assert [str(cell) for cell in cells(V2, shown)] == [str(cell) for cell in row]
    assert cells(V1, to_v1(shown)) == cells(V2, shown)
    pods = {"type": "Pods", "pods": RATE}
    assert cells(V2, autoscaler(metrics=[CPU, pods, pods]))[2] == "cpu: <unknown>/60%, <unknown>/10 + 1 more..."
