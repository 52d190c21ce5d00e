"""Deployments, ReplicaSets, RBAC, Leases, Events and EndpointSlices: defaults, rules, rows."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cluster.machinery.objects import GroupKind, with_field
from cluster.resources.builtin import EVENTS, EVENTS_V1
from cluster.resources.catalog import builtin_catalog
from cluster.resources.events import event_from_storage, event_to_storage
from cluster.resources.printing import column_definitions, table_of
from cluster.resources.strategy import WriteContext

CATALOG = builtin_catalog()
CONTEXT = WriteContext(user="tester")
NOW = datetime(2025, 1, 1, 12, tzinfo=UTC)
RBAC = "rbac.authorization.k8s.io"


def _kind(group, kind):
    return CATALOG.of_kind(GroupKind(group, kind))


def _strategy(group, kind):
    return _kind(group, kind).strategy


def _workload(**spec):
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
    return {
        "metadata": {"name": "w", "namespace": "n"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template, **spec},
    }


DEPLOYMENT = _strategy("apps", "Deployment")


def test_a_deployment_rolls_by_a_quarter():
    made = DEPLOYMENT.prepare_create(_workload(), CONTEXT)
    spec = dict(made["spec"])
    assert made["status"] == {}
    assert made["metadata"]["generation"] == 1
    assert spec["template"]["spec"]["containers"][0]["imagePullPolicy"] == "IfNotPresent"
    assert "enableServiceLinks" not in spec["template"]["spec"]
    assert {key: spec[key] for key in ("replicas", "revisionHistoryLimit", "progressDeadlineSeconds", "strategy")} == {
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
    }
    assert DEPLOYMENT.validate(made) == ()


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"replicas": -1}, "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        ({"selector": None}, "spec.selector: Required value"),
        ({"selector": {"matchLabels": {"x": "y"}}}, "spec.template.metadata.labels: Invalid value"),
        ({"strategy": {"type": "Recreate", "rollingUpdate": {}}}, "spec.strategy.rollingUpdate: Forbidden"),
        ({"strategy": {"type": "Yolo"}}, 'spec.strategy.type: Unsupported value: "Yolo": supported values: "Recreate", "Roll'),
        ({"strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "0%"}}},
         "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"),
        ({"strategy": {"rollingUpdate": {"maxSurge": "x"}}}, "spec.strategy.rollingUpdate.maxSurge: Invalid value"),
        ({"minReadySeconds": 600}, "spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"),
    ],
)  # fmt: skip
def test_a_deployment_that_cannot_work_is_refused(spec, text):
    causes = DEPLOYMENT.validate(DEPLOYMENT.default(_workload(**spec)))
    assert [f"{c.field}: {c.message}"[: len(text)] for c in causes] == [text]


def test_only_pods_that_always_restart_make_a_deployment():
    made = DEPLOYMENT.default(_workload())
    made = with_field(made, ("spec", "template", "spec", "restartPolicy"), "Never")
    assert [c.field for c in DEPLOYMENT.validate(made)] == ["spec.template.spec.restartPolicy"]


def test_a_selector_is_immutable():
    old = DEPLOYMENT.default(_workload())
    new = with_field(old, ("spec", "selector"), {"matchExpressions": [{"key": "a", "operator": "Exists"}]})
    causes = DEPLOYMENT.validate_update(new, old)
    assert [c.message.rpartition(": ")[2] for c in causes] == ["field is immutable"]


def test_generation_counts_changes_of_the_spec_and_not_of_status_or_labels():
    old = DEPLOYMENT.prepare_create(_workload(), CONTEXT)
    scaled = DEPLOYMENT.prepare_update(with_field(old, ("spec", "replicas"), 3), old)
    assert scaled["metadata"]["generation"] == 2
    labelled = DEPLOYMENT.prepare_update(with_field(old, ("metadata", "labels"), {"x": "y"}), old)
    assert labelled["metadata"]["generation"] == 1
    annotated = DEPLOYMENT.prepare_update(with_field(old, ("metadata", "annotations"), {"x": "y"}), old)
    assert annotated["metadata"]["generation"] == 2
    told = DEPLOYMENT.prepare_status({**scaled, "status": {"replicas": 1}}, old)
    assert told["spec"] == old["spec"]
    assert told["metadata"]["generation"] == 1
    assert told["status"] == {"replicas": 1}


def test_a_plain_update_cannot_write_status():
    old = {**DEPLOYMENT.prepare_create(_workload(), CONTEXT), "status": {"replicas": 1}}
    assert DEPLOYMENT.prepare_update({**old, "status": {"replicas": 9}}, old)["status"] == {"replicas": 1}


def test_the_row_of_a_deployment():
    made = DEPLOYMENT.prepare_create(_workload(), CONTEXT)
    made = {**made, "status": {"readyReplicas": 1, "updatedReplicas": 1, "availableReplicas": 1}}
    made = with_field(made, ("metadata", "creationTimestamp"), "2025-01-01T11:56:40Z")
    table = table_of(_kind("apps", "Deployment").columns, [made], NOW)
    assert table["rows"][0]["cells"] == ["w", "1/1", 1, 1, "3m20s", "c", "i:1", "a=b"]


@pytest.mark.parametrize(
    ("kind", "rule", "field"),
    [
        ("Role", {"apiGroups": [""], "resources": ["pods"]}, "rules[0].verbs"),
        ("Role", {"verbs": ["get"], "resources": ["pods"]}, "rules[0].apiGroups"),
        ("Role", {"verbs": ["get"], "apiGroups": [""]}, "rules[0].resources"),
        ("Role", {"verbs": ["get"], "nonResourceURLs": ["/x"]}, "rules[0].nonResourceURLs"),
        ("ClusterRole", {"verbs": ["get"], "nonResourceURLs": ["/x"], "resources": ["y"]}, "rules[0].nonResourceURLs"),
    ],
)
def test_rules_are_complete(kind, rule, field):
    meta = {"name": "system:r"} if kind == "ClusterRole" else {"name": "system:r", "namespace": "n"}
    assert [c.field for c in _strategy(RBAC, kind).validate({"metadata": meta, "rules": [rule]})] == [field]


def test_a_binding_is_defaulted_and_its_role_is_for_good():
    strategy = _strategy(RBAC, "ClusterRoleBinding")
    binding = strategy.default(
        {
            "metadata": {"name": "b"},
            "roleRef": {"kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"}],
        }
    )
    assert binding["roleRef"]["apiGroup"] == RBAC
    assert [s.get("apiGroup") for s in binding["subjects"]] == [RBAC, None]
    assert strategy.validate(binding) == ()
    other = with_field(binding, ("roleRef", "name"), "edit")
    assert [c.message.rpartition(": ")[2] for c in strategy.validate_update(other, binding)] == [
        "cannot change roleRef"
    ]
    assert [c.field for c in strategy.validate({**binding, "subjects": [{"kind": "ServiceAccount", "name": "s"}]})] == [
        "subjects[0].namespace"
    ]


def test_a_lease_locks():
    strategy = _strategy("coordination.k8s.io", "Lease")
    assert not strategy.unconditional_update
    lease = {"metadata": {"name": "l", "namespace": "n"}, "spec": {"leaseDurationSeconds": 0}}
    assert [c.field for c in strategy.validate(lease)] == ["spec.leaseDurationSeconds"]


def test_an_event_reads_the_same_in_both_groups():
    event = {
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "n"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "n"}, "message": "m", "reason": "r", "count": 2,
        "source": {"component": "kubelet"}, "firstTimestamp": "2025-01-01T11:00:00Z", "reportingComponent": "kubelet",
    }  # fmt: skip
    served = event_from_storage(event)
    assert served["regarding"] == event["involvedObject"]
    assert served["note"] == "m"
    assert event_to_storage(served) == event
    both = [CATALOG.of(EVENTS), CATALOG.of(EVENTS_V1)]
    assert {d.storage for d in both} == {EVENTS}
    rows = [table_of(d.columns, [obj], NOW)["rows"][0]["cells"] for d, obj in zip(both, (event, served), strict=True)]
    assert rows[0] == rows[1] == ["60m", "", "r", "pod/p", "", "kubelet", "m", "60m", 2, "e"]


def test_the_newer_event_api_asks_for_more():
    event = {"metadata": {"name": "e", "namespace": "default"}, "type": "Odd"}
    fields = [c.field for c in _strategy("events.k8s.io", "Event").validate(event)]
    assert fields == ["eventTime", "reportingController", "reportingInstance", "action", "reason", "type"]


def test_an_event_lies_beside_its_object():
    event = {"metadata": {"name": "e", "namespace": "a"}, "involvedObject": {"namespace": "b"}}
    assert [c.field for c in _strategy("", "Event").validate(event)] == ["involvedObject.namespace"]


def test_slices_are_checked_and_defaulted():
    strategy = _strategy("discovery.k8s.io", "EndpointSlice")
    piece = {
        "metadata": {"name": "s", "namespace": "n"},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"]}, {"addresses": []}],
        "ports": [{"port": 80}],
    }
    made = strategy.prepare_create(piece, CONTEXT)
    assert made["ports"] == [{"port": 80, "protocol": "TCP", "name": ""}]
    assert [c.field for c in strategy.validate(made)] == ["endpoints[0].addresses[0]", "endpoints[1].addresses"]
    assert [c.field for c in strategy.validate_update({**made, "endpoints": [], "addressType": "IPv6"}, made)] == [
        "addressType"
    ]


def test_endpoints_are_listed_shortly():
    addresses = [{"ip": f"10.0.0.{n}"} for n in range(1, 6)]
    obj = {"metadata": {"name": "e"}, "subsets": [{"addresses": addresses, "ports": [{"port": 80}]}]}
    cells = table_of(_kind("", "Endpoints").columns, [obj], NOW)["rows"][0]["cells"]
    assert cells[1] == "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more..."


def test_the_first_column_is_the_name_except_for_events():
    for descriptor in CATALOG:
        first = column_definitions(descriptor.columns)[0]
        assert first["format"] == "name" or descriptor.resource.kind == "Event"
