"""What holds for every kind's strategy."""

from __future__ import annotations

import copy

import pytest

from cluster.resources.catalog import builtin_catalog
from cluster.resources.strategy import WriteContext

CONTEXT = WriteContext(user="tester")
POD_SPEC = {
    "hostNetwork": True,
    "containers": [
        {
            "name": "c",
            "image": "i",
            "ports": [{"containerPort": 80}],
            "livenessProbe": {"grpc": {"port": 1}},
            "lifecycle": {"preStop": {"httpGet": {"port": 80}}},
            "resources": {"limits": {"cpu": "1"}},
        }
    ],
    "volumes": [{"name": "v"}, {"name": "h", "hostPath": {"path": "/x"}}, {"name": "d", "downwardAPI": {"items": []}}],
}
SPECS = {
    "Pod": POD_SPEC,
    "Deployment": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": POD_SPEC},
    },
    "Service": {
        "type": "LoadBalancer",
        "ports": [{"port": 80}],
        "sessionAffinity": "ClientIP",
        "clusterIPs": ["10.0.0.1"],
    },
    "Node": {"podCIDR": "10.0.0.0/24"},
    "CustomResourceDefinition": {
        "names": {"kind": "Tab", "plural": "tabs"},
        "group": "a.b",
        "versions": [{"name": "v1"}],
    },
}
SPECS["ReplicaSet"] = SPECS["Deployment"]


def _sample(resource):
    meta = {"name": "x", **({"namespace": "n"} if resource.namespaced else {})}
    obj = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta}
    return {**obj, "spec": SPECS[resource.kind]} if resource.kind in SPECS else obj


@pytest.fixture(
    params=[d for d in builtin_catalog() if "get" in d.resource.verbs], ids=lambda d: d.resource.qualified_name
)
def descriptor(request):
    return request.param


def test_defaulting_is_idempotent_and_spares_its_input(descriptor):
    given = _sample(descriptor.resource)
    kept = copy.deepcopy(given)
    once = descriptor.strategy.default(given)
    assert descriptor.strategy.default(once) == once
    assert given == kept


def test_writing_back_what_was_read_changes_nothing(descriptor):
    strategy = descriptor.strategy
    old = strategy.prepare_create(_sample(descriptor.resource), CONTEXT)
    assert strategy.prepare_update(old, old) == old
    assert strategy.prepare_status(old, old) == old
    assert strategy.prepare_create(old, CONTEXT) == old


def test_rows_come_back_as_they_were_stored(descriptor):
    stored = descriptor.to_storage(_sample(descriptor.resource))
    assert descriptor.to_storage(descriptor.from_storage(stored)) == stored


def test_templates_get_no_host_ports_and_pods_do():
    by_kind = {d.resource.kind: d.strategy for d in builtin_catalog() if d.resource.kind in ("Pod", "Deployment")}
    pod = by_kind["Pod"].default({"metadata": {}, "spec": POD_SPEC})
    deployment = by_kind["Deployment"].default({"metadata": {}, "spec": SPECS["Deployment"]})
    assert pod["spec"]["containers"][0]["ports"][0]["hostPort"] == 80
    assert "hostPort" not in deployment["spec"]["template"]["spec"]["containers"][0]["ports"][0]
