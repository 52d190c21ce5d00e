"""Whatever stands anywhere in a body, the answer is never the server's own fault."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from cluster.apiserver.http import ApiRequest
from cluster.machinery.objects import field_of
from cluster.machinery.schema import without_nulls
from cluster.resources.builtin import PODS
from cluster.resources.schemas import node_of
from tests.apiservers import ADMIN, running

CORE = "/api/v1/namespaces/default"
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
STRANGE: tuple[Any, ...] = (None, "", -1, 2.5, True, "x y/\0..", [], [[]], [{}], [None], {}, {"a": {}}, {"a": None})

CONTAINER = {
    "name": "c",
    "image": "i",
    "command": ["x"],
    "ports": [{"containerPort": 80, "name": "web", "protocol": "TCP"}],
    "env": [{"name": "A", "value": "b"}, {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "x", "key": "y"}}}],
    "envFrom": [{"secretRef": {"name": "s"}}],
    "volumeMounts": [{"name": "v", "mountPath": "/x"}],
    "livenessProbe": {"httpGet": {"path": "/", "port": 80}},
    "lifecycle": {"preStop": {"exec": {"command": ["x"]}}},
    "securityContext": {"capabilities": {"drop": ["ALL"]}, "runAsUser": 1},
    "resources": {"limits": {"cpu": "1", "memory": "10Mi"}},
}
ANTI_AFFINITY = {"topologyKey": "a", "labelSelector": {"matchLabels": {"a": "b"}}}
REQUIRED = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}]}
POD_SPEC = {
    "containers": [CONTAINER],
    "initContainers": [{"name": "i", "image": "i"}],
    "volumes": [
        {"name": "v", "emptyDir": {"sizeLimit": "1Gi"}},
        {"name": "w", "configMap": {"name": "x", "items": [{"key": "a", "path": "b"}]}},
        {"name": "p", "projected": {"sources": [{"secret": {"name": "x"}}]}},
    ],
    "tolerations": [{"key": "a", "operator": "Exists"}],
    "affinity": {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": REQUIRED},
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": ANTI_AFFINITY}]
        },
    },
    "nodeSelector": {"a": "b"},
    "hostAliases": [{"ip": "1.1.1.1", "hostnames": ["a"]}],
    "dnsConfig": {"nameservers": ["1.1.1.1"], "options": [{"name": "a", "value": "b"}]},
    "readinessGates": [{"conditionType": "x"}],
}
DEPLOYMENT = {
    "metadata": {"name": "d"},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"a": "b"}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": "25%"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    },
}
META = {
    "name": "c",
    "labels": {"a": "b"},
    "annotations": {"a": "b"},
    "finalizers": ["example.com/b"],
    "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "u"}],
    "generateName": "x",
}
PARTS = {
    "type": "array",
    "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
}
DEFINITION = {
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {
            "plural": "widgets",
            "singular": "widget",
            "kind": "Widget",
            "shortNames": ["w"],
            "categories": ["all"],
        },
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"parts": PARTS}}},
                "additionalPrinterColumns": [{"name": "N", "type": "integer", "jsonPath": ".spec.n"}],
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"},
                },
            }
        ],
    },
}
POD_REFERENCE = {"kind": "Pod", "apiVersion": "v1", "name": "x", "uid": "u"}
BODIES: dict[str, Any] = {
    f"{CORE}/pods": {"metadata": {"name": "p"}, "spec": POD_SPEC},
    "/apis/apps/v1/namespaces/default/deployments": DEPLOYMENT,
    f"{CORE}/configmaps": {"metadata": META, "data": {"a": "b"}, "binaryData": {"c": "YQ=="}},
    f"{CORE}/secrets": {"metadata": {"name": "s"}, "type": "Opaque", "data": {"a": "YQ=="}, "stringData": {"x": "y"}},
    f"{CORE}/services": {
        "metadata": {"name": "s"},
        "spec": {
            "type": "NodePort",
            "selector": {"a": "b"},
            "ports": [{"name": "x", "port": 80, "targetPort": 80, "protocol": "TCP"}],
            "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 3}},
        },
    },
    f"{CORE}/endpoints": {
        "metadata": {"name": "e"},
        "subsets": [{"addresses": [{"ip": "1.2.3.4"}], "ports": [{"port": 80}]}],
    },
    "/api/v1/nodes": {"metadata": {"name": "n"}, "spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}},
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions": DEFINITION,
    f"{RBAC}/roles": {"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["x"], "verbs": ["get"]}]},
    f"{RBAC}/rolebindings": {
        "metadata": {"name": "r"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "name": "x", "apiGroup": "rbac.authorization.k8s.io"}],
    },
    "/apis/authorization.k8s.io/v1/subjectaccessreviews": {
        "spec": {"user": "x", "groups": ["y"], "resourceAttributes": {"verb": "get", "resource": "pods"}}
    },
    f"{CORE}/serviceaccounts/default/token": {"spec": {"audiences": ["a"], "boundObjectRef": POD_REFERENCE}},
    f"{CORE}/pods/p/eviction": {
        "metadata": {"name": "p"},
        "deleteOptions": {"gracePeriodSeconds": 1, "preconditions": {"uid": "x"}, "dryRun": ["All"]},
    },
    f"{CORE}/pods/p/binding": {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}},
}


def with_strange_parts(obj: Any, strange_values: tuple[Any, ...] = STRANGE) -> Iterator[Any]:
    """`obj` with each of its parts, one at a time, replaced by each strange value."""
    if isinstance(obj, dict | list):
        for place, part in list(obj.items()) if isinstance(obj, dict) else list(enumerate(obj)):
            for strange in (*strange_values, *with_strange_parts(part, strange_values)):
                changed = copy.copy(obj)
                changed[place] = strange
                yield changed


async def test_a_strange_part_of_a_body_is_refused_or_taken_but_never_a_fault() -> None:
    async with running() as server:
        for path, body in BODIES.items():
            query = {"dryRun": ["All"]}
            json = {"content-type": "application/json"}
            for strange in with_strange_parts(body):
                data = orjson.dumps(strange)
                reply = await server(ApiRequest("POST", path, ADMIN, query, json, data))
                assert reply.status < 500, f"{path} {data.decode()}"


STORED = [path for path, body in BODIES.items() if "name" in body.get("metadata", {}) and "/pods/" not in path]


@pytest.mark.parametrize(
    ("method", "media_type"),
    [
        ("PUT", "application/json"),
        ("PATCH", "application/merge-patch+json"),
        ("PATCH", "application/strategic-merge-patch+json"),
        ("PATCH", "application/apply-patch+yaml"),
    ],
)
async def test_a_strange_part_of_a_change_is_refused_or_taken_but_never_a_fault(method: str, media_type: str) -> None:
    async with running() as server:
        for path in STORED:
            made = await server(ApiRequest("POST", path, ADMIN, body=orjson.dumps(BODIES[path])))
            assert made.status == 201
            obj = orjson.loads(made.body or orjson.dumps(made.obj))
            meta = {key: obj["metadata"][key] for key in obj["metadata"] if key not in _SERVERS_OWN}
            kind = {"apiVersion": obj["apiVersion"], "kind": obj["kind"]}
            query = {"dryRun": ["All"], "fieldManager": ["m"], "force": ["true"]}
            for strange in with_strange_parts({**obj, "metadata": meta}, (None, -1, "x", [None], {"a": None})):
                body = orjson.dumps({**strange, **kind})
                url = f"{path}/{BODIES[path]['metadata']['name']}"
                reply = await server(ApiRequest(method, url, ADMIN, query, {"content-type": media_type}, body))
                assert reply.status < 500, f"{path} {body.decode()}"


_SERVERS_OWN = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields")


@pytest.mark.parametrize(
    "options",
    [
        {"preconditions": 3}, {"preconditions": {"uid": 3}}, {"gracePeriodSeconds": "x"}, {"gracePeriodSeconds": True},
        {"propagationPolicy": []}, {"dryRun": "All"}, {"dryRun": [3]}, {"kind": "Pod"}, {"orphanDependents": "yes"},
    ],
)  # fmt: skip
async def test_malformed_delete_options_delete_nothing(options: dict[str, Any]) -> None:
    async with running() as server:
        reply = await server(ApiRequest("DELETE", "/api/v1/namespaces/kube-public", ADMIN, body=orjson.dumps(options)))
        assert reply.status == 400
        assert (await server(ApiRequest("GET", "/api/v1/namespaces/kube-public", ADMIN))).status == 200


def test_a_null_is_absent_or_zero_as_in_go() -> None:
    pod = {
        "metadata": {"labels": {"a": None}, "creationTimestamp": None},
        "spec": {"containers": [None, {"name": "c", "command": [None], "resources": {"limits": {"cpu": None}}}]},
    }
    typed = without_nulls(node_of(PODS.gvk), pod)
    assert typed["metadata"] == {"labels": {"a": ""}}
    assert field_of(typed, "spec", "containers") == [
        {},
        {"name": "c", "command": [""], "resources": {"limits": {"cpu": 0}}},
    ]
    assert without_nulls(node_of(PODS.gvk), typed) is typed
