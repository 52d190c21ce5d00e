"""Tables as people see them, for one object of each kind that has columns of its own."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson

from cluster.machinery.objects import GroupKind
from cluster.resources.catalog import builtin_catalog
from cluster.resources.printing import DEFAULT_COLUMNS, row_of, table_of
from tests.golden import matches

NOW = datetime(2025, 1, 1, 12, tzinfo=UTC)
CREATED = "2025-01-01T09:30:00Z"
RBAC = "rbac.authorization.k8s.io"


def _obj(group, kind, **fields):
    return GroupKind(group, kind), {"metadata": {"name": kind.lower(), "creationTimestamp": CREATED}, **fields}


RUNNING = {"name": "c", "ready": True, "restartCount": 0, "state": {"running": {}}}
TEMPLATE = {"spec": {"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:2"}]}}
OBJECTS = [
    _obj("", "Namespace", status={"phase": "Active"}),
    _obj(
        "", "Node", spec={"unschedulable": True},
        status={
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.4"}],
            "nodeInfo": {"kubeletVersion": "v1.33.5", "osImage": "Debian", "kernelVersion": "6.1",
                         "containerRuntimeVersion": "docker://20.10"},
        },
    ),
    _obj("", "Pod", spec={"nodeName": "one", "containers": [{"name": "c"}]},
         status={"phase": "Running", "podIP": "10.244.0.5", "containerStatuses": [RUNNING]}),
    _obj("", "ConfigMap", data={"a": "1"}, binaryData={"b": ""}),
    _obj("", "Secret", type="Opaque", data={"a": ""}),
    _obj("", "ServiceAccount"),
    _obj("", "Service", spec={"type": "ExternalName", "externalName": "example.com"}),
    _obj("", "Endpoints"),
    _obj("discovery.k8s.io", "EndpointSlice", addressType="IPv4",
         endpoints=[{"addresses": ["10.0.0.1"]}], ports=[{"port": 80}]),
    _obj("coordination.k8s.io", "Lease", spec={"holderIdentity": "me"}),
    _obj("networking.k8s.io", "Ingress", spec={"ingressClassName": "c", "rules": [{"host": "a.example.com"}], "tls": [{}]}),
    _obj("networking.k8s.io", "IngressClass", spec={"controller": "example.com/c"}),
    _obj("networking.k8s.io", "NetworkPolicy", spec={"podSelector": {"matchLabels": {"a": "b"}}}),
    _obj("networking.k8s.io", "IPAddress", spec={"parentRef": {"resource": "services", "namespace": "n", "name": "s"}}),
    _obj("networking.k8s.io", "ServiceCIDR", spec={"cidrs": ["10.96.0.0/16"]}),
    _obj("storage.k8s.io", "StorageClass", provisioner="example.com/p", volumeBindingMode="Immediate"),
    _obj("storage.k8s.io", "VolumeAttachment", spec={"attacher": "d.io", "nodeName": "n"}, status={"attached": True}),
    _obj("storage.k8s.io", "CSIDriver", spec={"volumeLifecycleModes": ["Persistent", "Ephemeral"]}),
    _obj("storage.k8s.io", "CSINode", spec={"drivers": [{}, {}]}),
    _obj("storage.k8s.io", "CSIStorageCapacity", storageClassName="fast", capacity="1Gi"),
    _obj("scheduling.k8s.io", "PriorityClass", value=100, globalDefault=True),
    _obj("node.k8s.io", "RuntimeClass", handler="runsc"),
    _obj("flowcontrol.apiserver.k8s.io", "FlowSchema", spec={"priorityLevelConfiguration": {"name": "l"}}),
    _obj("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", spec={"type": "Exempt"}),
    _obj("apiregistration.k8s.io", "APIService", spec={"service": {"namespace": "n", "name": "s"}},
         status={"conditions": [{"type": "Available", "status": "False", "reason": "Gone"}]}),
    _obj("admissionregistration.k8s.io", "MutatingWebhookConfiguration", webhooks=[{}, {}]),
    _obj("", "Event", type="Warning", reason="BackOff", message="again\n", involvedObject={"kind": "Pod", "name": "p"},
         lastTimestamp="2025-01-01T11:59:30Z", firstTimestamp="2025-01-01T11:00:00Z", count=7),
    _obj("apps", "Deployment", spec={"replicas": 3, "template": TEMPLATE, "selector": {"matchLabels": {"a": "b"}}},
         status={"readyReplicas": 1, "updatedReplicas": 2}),
    _obj("apps", "ReplicaSet", spec={"replicas": 3, "template": TEMPLATE}, status={"replicas": 2}),
    _obj(RBAC, "ClusterRole"),
    _obj("certificates.k8s.io", "CertificateSigningRequest",
         spec={"signerName": "kubernetes.io/kube-apiserver-client", "username": "jane", "expirationSeconds": 3600},
         status={"conditions": [{"type": "Approved", "status": "True"}], "certificate": "UEVN"}),
    _obj(RBAC, "RoleBinding", roleRef={"kind": "Role", "name": "r"}, subjects=[
        {"kind": "User", "name": "u"}, {"kind": "Group", "name": "g"},
        {"kind": "ServiceAccount", "namespace": "n", "name": "s"},
    ]),
    _obj("apps", "StatefulSet", spec={"replicas": 3, "template": TEMPLATE}, status={"readyReplicas": 2}),
    _obj("apps", "DaemonSet", spec={"template": TEMPLATE | {"spec": {**TEMPLATE["spec"], "nodeSelector": {"a": "b"}}},
                                    "selector": {"matchLabels": {"a": "b"}}},
         status={"desiredNumberScheduled": 2, "currentNumberScheduled": 2, "numberReady": 1}),
    _obj("apps", "ControllerRevision", revision=3),
    _obj("", "ReplicationController", spec={"replicas": 2, "template": TEMPLATE, "selector": {"a": "b"}},
         status={"replicas": 1, "readyReplicas": 1}),
    _obj("", "PodTemplate", template=TEMPLATE),
    _obj("", "LimitRange"),
    _obj("", "ResourceQuota", spec={"hard": {"pods": "9", "limits.cpu": "2"}},
         status={"hard": {"pods": "9", "limits.cpu": "2"}, "used": {"pods": "1", "limits.cpu": "0"}}),
    _obj("", "PersistentVolume", spec={"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                                       "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "fast",
                                       "claimRef": {"namespace": "n", "name": "c"}}, status={"phase": "Bound"}),
    _obj("", "PersistentVolumeClaim", spec={"volumeName": "v", "storageClassName": "fast"},
         status={"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce", "ReadOnlyMany"]}),
    _obj("batch", "Job", spec={"completions": 3, "template": TEMPLATE, "selector": {"matchLabels": {"a": "b"}}},
         status={"succeeded": 1, "startTime": "2025-01-01T11:00:00Z"}),
    _obj("batch", "CronJob", spec={"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": TEMPLATE}}},
         status={"active": [{}], "lastScheduleTime": "2025-01-01T11:55:00Z"}),
    _obj("autoscaling", "HorizontalPodAutoscaler",
         spec={"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "minReplicas": 1, "maxReplicas": 4,
               "metrics": [{"type": "Resource", "resource": {
                   "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]},
         status={"currentReplicas": 2}),
    _obj("policy", "PodDisruptionBudget", spec={"minAvailable": "50%"}, status={"disruptionsAllowed": 1}),
    _obj(RBAC, "Role"),
    _obj(RBAC, "ClusterRoleBinding", roleRef={"kind": "ClusterRole", "name": "r"}, subjects=[{"kind": "User", "name": "u"}]),
    _obj("apiextensions.k8s.io", "CustomResourceDefinition"),
    _obj("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", webhooks=[{}]),
    _obj("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", spec={"validations": [{}, {}]}),
    _obj("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding", spec={"policyName": "p"}),
]  # fmt: skip


def test_the_tables_are_those_last_looked_at():
    catalog = builtin_catalog()
    shown = {}
    for group_kind, obj in OBJECTS:
        table = table_of(catalog.of_kind(group_kind).columns, [obj], NOW, include_object="None")
        names = [c["name"] + ("*" if c["priority"] else "") for c in table["columnDefinitions"]]
        shown[str(group_kind)] = dict(zip(names, table["rows"][0]["cells"], strict=True))
    assert matches("tables.json", orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode() + "\n")


def test_the_columns_of_every_kind_are_those_last_looked_at():
    named = {
        f"{d.resource.api_version} {d.resource.kind}": [f"{c.name}*" if c.wide else c.name for c in d.columns]
        for d in builtin_catalog()
    }
    lines = [f"{kind}: {', '.join(columns)}" for kind, columns in sorted(named.items())]
    assert matches("columns.txt", "\n".join(lines) + "\n")


def test_a_row_carries_as_much_of_its_object_as_asked_for():
    _, obj = OBJECTS[0]
    assert row_of(DEFAULT_COLUMNS, obj, NOW, "None")["object"] is None
    assert row_of(DEFAULT_COLUMNS, obj, NOW, "Object")["object"] is obj
    assert row_of(DEFAULT_COLUMNS, obj, NOW)["object"] == {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": obj["metadata"],
    }
