"""What objects count for in quotas, and which quotas are about them."""

from __future__ import annotations

import pytest

from cluster.resources.builtin import DEPLOYMENTS, PERSISTENT_VOLUME_CLAIMS, PODS, SECRETS, SERVICES
from cluster.resources.resource_scopes import is_in_scope
from cluster.resources.resource_usage import missing_amounts, total_of, tracks, usage_of


def _container(name="c", requests=None, limits=None, **fields):
    return {"name": name, "resources": {"requests": requests or {}, "limits": limits or {}}, **fields}


def _used(resource, obj):
    return {name: str(amount) for name, amount in usage_of(resource, obj).items()}


def test_a_pod_counts_for_what_its_containers_ask_for_together():
    spec = {
        "containers": [
            _container("a", {"cpu": "100m", "memory": "1Gi", "example.com/gpu": "1"}, {"cpu": "1"}),
            _container("b", {"cpu": "400m", "hugepages-2Mi": "4Mi"}),
        ],
        "initContainers": [
            _container("i", {"cpu": "2"}),
            _container("s", {"memory": "1Gi"}, restartPolicy="Always"),
        ],
        "overhead": {"cpu": "50m"},
    }
    assert _used(PODS, {"spec": spec}) == {
        "count/pods": "1", "pods": "1", "cpu": "2050m", "requests.cpu": "2050m", "memory": "2Gi", "requests.memory": "2Gi",
        "requests.example.com/gpu": "1", "hugepages-2Mi": "4Mi", "requests.hugepages-2Mi": "4Mi", "limits.cpu": "1050m",
    }  # fmt: skip


def test_a_finished_pod_is_an_object_that_uses_nothing():
    pod = {"spec": {"containers": [_container(requests={"cpu": "1"})]}, "status": {"phase": "Failed"}}
    assert _used(PODS, pod) == {"count/pods": "1"}


@pytest.mark.parametrize(
    ("spec", "more"),
    [
        ({"type": "ClusterIP", "ports": [{}]}, {}),
        ({"type": "NodePort", "ports": [{}, {}]}, {"services.nodeports": "2"}),
        ({"type": "LoadBalancer", "ports": [{}]}, {"services.nodeports": "1", "services.loadbalancers": "1"}),
        (
            {"type": "LoadBalancer", "ports": [{}], "allocateLoadBalancerNodePorts": False},
            {"services.loadbalancers": "1"},
        ),
    ],
)
def test_a_service_counts_for_its_ports_on_nodes(spec, more):
    assert _used(SERVICES, {"spec": spec}) == {"count/services": "1", "services": "1", **more}


def test_a_claim_counts_for_its_class_too():
    claim = {"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "3Gi"}}}}
    assert _used(PERSISTENT_VOLUME_CLAIMS, claim) == {
        "count/persistentvolumeclaims": "1", "persistentvolumeclaims": "1", "requests.storage": "3Gi",
        "gold.storageclass.storage.k8s.io/requests.storage": "3Gi",
        "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
    }  # fmt: skip


def test_any_object_can_be_counted():
    assert _used(DEPLOYMENTS, {}) == {"count/deployments.apps": "1"}
    assert _used(SECRETS, {}) == {"count/secrets": "1", "secrets": "1"}
    assert str(total_of([usage_of(SECRETS, {}), usage_of(SECRETS, {})])["secrets"]) == "2"


@pytest.mark.parametrize(
    ("resource", "name", "counts"),
    [
        (PODS, "pods", True), (PODS, "limits.memory", True), (PODS, "requests.example.com/gpu", True),
        (PODS, "requests.storage", False), (PODS, "services", False), (PODS, "count/pods", True),
        (SERVICES, "services.nodeports", True), (SECRETS, "secrets", True), (SECRETS, "configmaps", False),
        (PERSISTENT_VOLUME_CLAIMS, "gold.storageclass.storage.k8s.io/requests.storage", True),
        (DEPLOYMENTS, "count/deployments.apps", True), (DEPLOYMENTS, "count/deployments", False),
    ],
)  # fmt: skip
def test_which_objects_a_limit_is_about(resource, name, counts):
    assert tracks(resource, name) is counts


@pytest.mark.parametrize("resource", [PODS, SERVICES, PERSISTENT_VOLUME_CLAIMS, SECRETS, DEPLOYMENTS])
def test_whatever_is_used_is_tracked(resource):
    spec = {
        "containers": [_container(requests={"cpu": "1", "a.io/b": "1"}, limits={"memory": "1Gi"})],
        "type": "LoadBalancer",
    }
    used = usage_of(resource, {"spec": {**spec, "storageClassName": "s", "resources": {"requests": {"storage": "1"}}}})
    assert [name for name in used if not tracks(resource, name)] == []


def test_a_limit_on_requests_needs_every_container_to_state_them():
    pod = {
        "spec": {"containers": [_container("a", {"cpu": "1"}), _container("b")], "initContainers": [_container("i")]}
    }
    assert (
        missing_amounts(pod, ["requests.cpu", "limits.memory", "pods"])
        == "limits.memory for: a,b,i; requests.cpu for: b,i"
    )
    assert missing_amounts(pod, ["pods", "requests.ephemeral-storage"]) == ""


BEST_EFFORT = {"containers": [{"name": "c"}]}


@pytest.mark.parametrize(
    ("quota", "spec", "counts"),
    [
        ({"scopes": ["Terminating"]}, {"activeDeadlineSeconds": 5}, True),
        ({"scopes": ["Terminating"]}, {}, False),
        ({"scopes": ["NotTerminating", "BestEffort"]}, BEST_EFFORT, True),
        ({"scopes": ["NotBestEffort"]}, BEST_EFFORT, False),
        ({"scopes": ["PriorityClass"]}, {"priorityClassName": "high"}, True),
        ({"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}}, {"priorityClassName": "high"}, True),
        ({"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": "NotIn", "values": ["high"]}]}}, {"priorityClassName": "high"}, False),
        ({"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": "DoesNotExist"}]}}, {}, True),
        ({"scopes": ["CrossNamespacePodAffinity"]}, {"affinity": {"podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"podAffinityTerm": {"namespaces": ["x"]}}]}}}, True),
        ({"scopes": ["CrossNamespacePodAffinity"]}, {}, False),
        ({"scopes": ["Unheard"]}, {}, False),
        ({}, {}, True),
    ],
)  # fmt: skip
def test_a_scope_chooses_pods(quota, spec, counts):
    assert is_in_scope({"spec": quota}, PODS, {"spec": spec}) is counts


def test_a_scoped_quota_is_about_pods_only():
    assert not is_in_scope({"spec": {"scopes": ["NotBestEffort"]}}, SERVICES, {})
