"""StatefulSets, DaemonSets, ReplicationControllers, PodTemplates and ControllerRevisions: defaults, rules, rows."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.machinery.objects import Obj, with_field
from tests.unit.resources.kinds import CONTEXT, begin, cells, complaints, kind_of

STATEFUL_SET = kind_of("apps", "StatefulSet")
DAEMON_SET = kind_of("apps", "DaemonSet")
CONTROLLER = kind_of("", "ReplicationController")
POD_TEMPLATE = kind_of("", "PodTemplate")
REVISION = kind_of("apps", "ControllerRevision")
TEMPLATE: Obj = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
CLAIM = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
MOUNTING = with_field(
    TEMPLATE,
    ("spec", "containers"),
    [{"name": "c", "image": "i:1", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}],
)


def workload(**spec: Any) -> Obj:
    chosen = {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE, **spec}
    return {"metadata": {"name": "w", "namespace": "n"}, "spec": chosen}


def controller(**spec: Any) -> Obj:
    return {"metadata": {"name": "w", "namespace": "n"}, "spec": {"template": TEMPLATE, **spec}}


def with_template(path: str, value: Any) -> Obj:
    return with_field(TEMPLATE, path.split("."), value)


def test_a_stateful_set_starts_its_pods_one_after_the_other() -> None:
    made = STATEFUL_SET.strategy.prepare_create(workload(volumeClaimTemplates=[CLAIM]), CONTEXT)
    spec = made["spec"]
    assert {name: spec[name] for name in spec if name not in ("selector", "template", "volumeClaimTemplates")} == {
        "replicas": 1,
        "podManagementPolicy": "OrderedReady",
        "revisionHistoryLimit": 10,
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
    }
    claim = spec["volumeClaimTemplates"][0]
    assert (claim["kind"], claim["spec"]["volumeMode"], claim["status"]) == (
        "PersistentVolumeClaim",
        "Filesystem",
        {"phase": "Pending"},
    )
    assert made["metadata"]["generation"] == 1


def test_a_stateful_set_that_updates_on_delete_says_nothing_of_rolling() -> None:
    made = STATEFUL_SET.strategy.default(workload(updateStrategy={"type": "OnDelete"}))
    assert made["spec"]["updateStrategy"] == {"type": "OnDelete"}


def test_containers_may_mount_what_a_claim_template_gives() -> None:
    assert complaints(STATEFUL_SET, workload(template=MOUNTING, volumeClaimTemplates=[CLAIM])) == []
    assert begin(
        complaints(STATEFUL_SET, workload(template=MOUNTING)),
        "spec.template.spec.containers[0].volumeMounts[0].name: Not found",
    )


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"podManagementPolicy": "Any"},
         "spec.podManagementPolicy: Invalid value: \"Any\": must be 'OrderedReady' or 'Parallel'"),
        ({"updateStrategy": {"type": "Yolo"}}, "spec.updateStrategy: Invalid value: {\"type\":\"Yolo\"}: must be 'RollingUp"),
        ({"updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 1}}},
         "spec.updateStrategy.rollingUpdate: Invalid value: {\"partition\":1}: only allowed for updateStrategy 'Roll"),
        ({"updateStrategy": {"rollingUpdate": {"partition": -1}}},
         "spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0"),
        ({"updateStrategy": {"rollingUpdate": {"maxUnavailable": "0%"}}},
         'spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: "0%": cannot be 0'),
        ({"updateStrategy": {"rollingUpdate": {"maxUnavailable": "101%"}}},
         'spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%'),
        ({"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Keep"}},
         'spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: "Keep": supported values: "Retain", "Del'),
        ({"ordinals": {"start": -1}}, "spec.ordinals.start: Invalid value: -1"),
        ({"replicas": -1}, "spec.replicas: Invalid value: -1"),
        ({"revisionHistoryLimit": -1}, "spec.revisionHistoryLimit: Invalid value: -1"),
        ({"selector": {}}, "spec.selector: Invalid value: {}: empty selector is invalid for statefulset"),
        ({"selector": None}, "spec.selector: Required value"),
        ({"selector": {"matchLabels": {"a": "-"}}}, 'spec.selector.matchLabels: Invalid value: "-": a valid label must'),
        ({"selector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}},
         'spec.selector.matchExpressions[0].operator: Invalid value: "Is": not a valid selector operator'),
        ({"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
         "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"),
        ({"template": with_template("spec.restartPolicy", "Never")},
         'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"'),
        ({"template": with_template("spec.activeDeadlineSeconds", 3)},
         "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in StatefulSet is not Supported"),
    ],
)  # fmt: skip
def test_a_stateful_set_that_cannot_work_is_refused(spec: dict[str, Any], text: str) -> None:
    assert begin(complaints(STATEFUL_SET, workload(**spec)), text)


def test_the_name_of_a_new_stateful_set_can_be_its_pods_host_name() -> None:
    dotted = with_field(workload(), ("metadata", "name"), "a.b")
    assert begin(complaints(STATEFUL_SET, dotted), 'metadata.name: Invalid value: "a.b": a lowercase RFC 1123 label')
    assert complaints(STATEFUL_SET, dotted, dotted) == []


@pytest.mark.parametrize(
    "change",
    [
        {"replicas": 5}, {"ordinals": {"start": 3}}, {"template": with_template("metadata.labels", {"a": "b", "c": "d"})},
        {"updateStrategy": {"type": "OnDelete"}}, {"revisionHistoryLimit": 1}, {"minReadySeconds": 9},
        {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete"}},
    ],
)  # fmt: skip
def test_some_of_a_stateful_set_may_change(change: dict[str, Any]) -> None:
    assert complaints(STATEFUL_SET, workload(**change), workload()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"serviceName": "s"}, {"podManagementPolicy": "Parallel"}, {"volumeClaimTemplates": [CLAIM]},
        {"selector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "Exists"}]}},
    ],
)  # fmt: skip
def test_the_rest_of_a_stateful_set_is_fixed(change: dict[str, Any]) -> None:
    assert begin(
        complaints(STATEFUL_SET, workload(**change), workload()),
        "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template'",
    )


def test_a_set_has_no_more_ready_pods_than_pods() -> None:
    old = STATEFUL_SET.strategy.default(workload())
    causes = STATEFUL_SET.strategy.validate_status({**old, "status": {"replicas": 1, "readyReplicas": 2}}, old)
    assert [cause.field for cause in causes] == ["status.readyReplicas"]


def test_a_daemon_set_rolls_one_node_at_a_time_and_counts_its_templates() -> None:
    made = DAEMON_SET.strategy.prepare_create(workload(), CONTEXT)
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}
    assert (made["spec"]["updateStrategy"], made["spec"]["revisionHistoryLimit"]) == (rolling, 10)
    assert "replicas" not in made["spec"]
    counted = "deprecated.daemonset.template.generation"
    assert made["metadata"]["annotations"] == {counted: "1"}
    changed = with_field(made, ("spec", "template", "metadata", "labels"), {"a": "b", "c": "d"})
    again = DAEMON_SET.strategy.prepare_update(changed, made)
    assert (again["metadata"]["annotations"][counted], again["metadata"]["generation"]) == ("2", 2)
    same = DAEMON_SET.strategy.prepare_update(with_field(again, ("spec", "minReadySeconds"), 3), again)
    assert (same["metadata"]["annotations"][counted], same["metadata"]["generation"]) == ("2", 3)


@pytest.mark.parametrize(
    ("strategy", "text"),
    [
        ({"type": "Yolo"}, "spec.updateStrategy: Unsupported value"),
        ({"rollingUpdate": {"maxSurge": 1}},
         "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"),
        ({"rollingUpdate": {"maxUnavailable": 0}},
         "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"),
        ({"rollingUpdate": {"maxUnavailable": "x"}}, "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value"),
        ({"rollingUpdate": {"maxUnavailable": "200%"}}, "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value"),
    ],
)  # fmt: skip
def test_a_daemon_set_that_cannot_roll_is_refused(strategy: Obj, text: str) -> None:
    assert begin(complaints(DAEMON_SET, workload(updateStrategy=strategy)), text)


def test_the_selector_of_a_daemon_set_is_fixed() -> None:
    other = {"matchExpressions": [{"key": "a", "operator": "Exists"}]}
    assert begin(complaints(DAEMON_SET, workload(selector=other), workload()), "spec.selector: Invalid value")


def test_a_replication_controller_selects_what_its_template_makes() -> None:
    made = CONTROLLER.strategy.prepare_create(controller(), CONTEXT)
    assert (made["spec"]["selector"], made["metadata"]["labels"], made["spec"]["replicas"]) == (
        {"a": "b"},
        {"a": "b"},
        1,
    )
    assert complaints(CONTROLLER, controller()) == []


@pytest.mark.parametrize(
    ("spec", "texts"),
    [
        ({"template": None}, ["spec.selector: Required value", "spec.template: Required value"]),
        ({"selector": {"x": "y"}}, ["spec.template.metadata.labels: Invalid value"]),
        ({"replicas": -1}, ["spec.replicas: Invalid value: -1"]),
        ({"template": with_template("spec.restartPolicy", "OnFailure")}, ["spec.template.spec.restartPolicy: Unsupported"]),
    ],
)  # fmt: skip
def test_a_replication_controller_that_cannot_work_is_refused(spec: dict[str, Any], texts: list[str]) -> None:
    found = complaints(CONTROLLER, controller(**spec))
    assert [text[: len(start)] for text, start in zip(found, texts, strict=True)] == texts


def test_the_selector_of_a_replication_controller_may_change() -> None:
    labelled = with_template("metadata.labels", {"a": "b", "c": "d"})
    old = controller(template=labelled, selector={"a": "b"})
    assert complaints(CONTROLLER, controller(template=labelled, selector={"c": "d"}), old) == []


def test_a_pod_template_is_defaulted_and_checked_like_any_other() -> None:
    made = POD_TEMPLATE.strategy.prepare_create(
        {"metadata": {"name": "t", "namespace": "n"}, "template": TEMPLATE}, CONTEXT
    )
    assert made["template"]["spec"]["restartPolicy"] == "Always"
    assert made["metadata"]["generation"] == 1
    assert "status" not in made
    bare = {"metadata": {"name": "t", "namespace": "n"}, "template": {}}
    assert begin(complaints(POD_TEMPLATE, bare), "template.spec.containers: Required value")


def test_the_data_of_a_revision_never_changes() -> None:
    old = {"metadata": {"name": "r", "namespace": "n"}, "revision": 1, "data": {"x": 1}}
    assert complaints(REVISION, {**old, "revision": 2}, old) == []
    assert begin(
        complaints(REVISION, {**old, "data": {"x": 2}}, old), 'data: Invalid value: {"x":2}: field is immutable'
    )
    assert complaints(REVISION, {**old, "data": None, "revision": -1}) == [
        "revision: Invalid value: -1: must be greater than or equal to 0",
        "data: Required value: data is mandatory",
    ]


def test_the_rows() -> None:
    meta = {"name": "w", "creationTimestamp": "2025-01-01T09:30:00Z"}
    spec = workload(replicas=3)["spec"]
    assert cells(STATEFUL_SET, {"metadata": meta, "spec": spec, "status": {"readyReplicas": 2}}) == [
        "w", "2/3", "150m", "c", "i:1",
    ]  # fmt: skip
    counts = {"desiredNumberScheduled": 5, "currentNumberScheduled": 4, "numberReady": 3, "updatedNumberScheduled": 2}
    on_linux = with_field(spec, ("template", "spec", "nodeSelector"), {"os": "linux"})
    assert cells(DAEMON_SET, {"metadata": meta, "spec": on_linux, "status": counts}) == [
        "w", 5, 4, 3, 2, 0, "os=linux", "150m", "c", "i:1", "a=b",
    ]  # fmt: skip
    plain = {**spec, "selector": {"b": "2", "a": "1"}}
    assert cells(CONTROLLER, {"metadata": meta, "spec": plain, "status": {"replicas": 2}}) == [
        "w", 3, 2, 0, "150m", "c", "i:1", "a=1,b=2",
    ]  # fmt: skip
    assert cells(POD_TEMPLATE, {"metadata": meta, "template": TEMPLATE}) == ["w", "c", "i:1", "a=b"]
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "controller": True}
    owned = {**meta, "ownerReferences": [owner]}
    assert cells(REVISION, {"metadata": owned, "revision": 4}) == ["w", "statefulset.apps/web", 4, "150m"]
    assert cells(REVISION, {"metadata": meta}) == ["w", "<none>", 0, "150m"]
