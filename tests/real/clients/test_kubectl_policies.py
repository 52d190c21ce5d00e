"""kubectl and the kinds that keep order: quotas, limits, priorities, storage and network classes, Pod Security."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.real.clients.served import Kubectl, until

pytestmark = pytest.mark.needs("kubectl")

INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, annotations: {a: b}}
spec:
  ingressClassName: outer
  tls: [{hosts: [web.example.com], secretName: cert}]
  rules:
  - host: web.example.com
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
"""
POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}, {namespaceSelector: {}}]
    ports: [{port: 80, endPort: 90, protocol: TCP}]
"""
STORAGE_CLASS = """
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: NAME}
provisioner: example.com/disk
parameters: {kind: fast}
"""
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: NAME}\nspec: {containers: [{name: main, image: 'busybox:1'}]}\n"


def test_a_quota_counts_and_refuses(kubectl: Kubectl) -> None:
    kubectl("create", "quota", "small", "--hard=configmaps=3,pods=1,count/deployments.apps=1")
    until(lambda: _used(kubectl).get("configmaps") == "1", what="the quota is counted")
    kubectl("create", "configmap", "one")
    kubectl("create", "configmap", "two")
    assert _used(kubectl) == {"configmaps": "3", "pods": "0", "count/deployments.apps": "0"}
    assert (
        'configmaps "three" is forbidden: exceeded quota: small, requested: configmaps=1, used: configmaps=3, limited: '
        "configmaps=3"
    ) in kubectl.refused("create", "configmap", "three")
    described = kubectl("describe", "quota", "small")
    assert "configmaps              3     3" in described
    assert "small" in kubectl("get", "quota", "-o", "wide")
    kubectl("delete", "configmap", "two")
    until(lambda: _used(kubectl)["configmaps"] == "2", what="what was deleted is given back")


def _used(kubectl: Kubectl) -> dict[str, str]:
    used: dict[str, str] = json.loads(kubectl("get", "quota", "small", "-o", "json")).get("status", {}).get("used", {})
    return used


def test_limits_are_filled_in_and_kept(kubectl: Kubectl) -> None:
    item = {"type": "Container", "default": {"cpu": "200m"}, "defaultRequest": {"cpu": "100m"}, "max": {"cpu": "1"}}
    spec = {"limits": [item]}
    limits = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "bounds"}, "spec": spec}
    kubectl("apply", "-f", "-", stdin=json.dumps(limits))
    assert "unchanged" in kubectl("apply", "-f", "-", stdin=json.dumps(limits))
    kubectl("apply", "-f", "-", stdin=POD.replace("NAME", "plain"))
    assert kubectl("get", "pod", "plain", "-o", "jsonpath={..resources}") == (
        '{"limits":{"cpu":"200m"},"requests":{"cpu":"100m"}}'
    )
    greedy = yaml.safe_load(POD.replace("NAME", "greedy"))
    greedy["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "2"}}
    refused = kubectl.refused("apply", "-f", "-", stdin=json.dumps(greedy))
    assert 'pods "greedy" is forbidden: maximum cpu usage per Container is 1, but limit is 2' in refused
    assert "Container" in kubectl("describe", "limits", "bounds")


def test_priorities_are_classes(kubectl: Kubectl, namespace: str) -> None:
    name = f"{namespace}-high"
    kubectl("create", "priorityclass", name, "--value=1000", "--description=first")
    rows = kubectl("get", "priorityclass").splitlines()
    assert rows[0].split() == ["NAME", "VALUE", "GLOBAL-DEFAULT", "AGE", "PREEMPTIONPOLICY"]
    assert {row.split()[0] for row in rows[1:]} >= {name, "system-cluster-critical", "system-node-critical"}
    pod = yaml.safe_load(POD.replace("NAME", "first"))
    pod["spec"]["priorityClassName"] = name
    kubectl("apply", "-f", "-", stdin=json.dumps(pod))
    assert kubectl("get", "pod", "first", "-o", "jsonpath={.spec.priority}") == "1000"
    assert "may not be changed in an update" in kubectl.refused("patch", "priorityclass", name, "-p", '{"value":5}')
    assert "system priority class" in kubectl.refused("delete", "priorityclass", "system-node-critical")
    kubectl("delete", "priorityclass", name)


@pytest.mark.parametrize(
    ("manifest", "resource", "columns", "described"),
    [
        (INGRESS, "ingress/web", ["web", "outer", "web.example.com", "80,", "443"], "web:80"),
        (POLICY, "networkpolicy/closed", ["closed", "app=web"], "CIDR: 10.0.0.0/8"),
    ],
)
def test_network_kinds_are_applied_shown_and_described(
    kubectl: Kubectl, manifest: str, resource: str, columns: list[str], described: str
) -> None:
    assert "created" in kubectl("apply", "-f", "-", stdin=manifest)
    assert "unchanged" in kubectl("apply", "-f", "-", stdin=manifest)
    row = kubectl("get", resource, "-o", "wide").splitlines()[1].split()
    assert row[: len(columns)] == columns
    assert described in kubectl("describe", resource)
    assert "FIELDS:" in kubectl("explain", f"{resource.partition('/')[0]}.spec")


def test_a_storage_class_is_applied_shown_and_described(kubectl: Kubectl, namespace: str) -> None:
    manifest = STORAGE_CLASS.replace("NAME", namespace)
    assert "created" in kubectl("apply", "-f", "-", stdin=manifest)
    assert "unchanged" in kubectl("apply", "-f", "-", stdin=manifest)
    row = kubectl("get", "sc", namespace, "-o", "wide").splitlines()[1].split()
    assert row[:5] == [namespace, "example.com/disk", "Delete", "Immediate", "false"]
    assert "kind=fast" in kubectl("describe", "sc", namespace)
    assert "updates to parameters are forbidden" in kubectl.refused(
        "patch", "sc", namespace, "-p", '{"parameters":{"kind":"slow"}}'
    )
    kubectl("delete", "sc", namespace)


def test_a_claim_goes_when_it_is_deleted(kubectl: Kubectl) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": spec}
    kubectl("apply", "-f", "-", stdin=json.dumps(claim))
    assert "kubernetes.io/pvc-protection" in kubectl("get", "pvc", "data", "-o", "jsonpath={.metadata.finalizers}")
    assert "deleted" in kubectl("delete", "pvc", "data", "--timeout=20s")


def test_what_every_cluster_has_is_there(kubectl: Kubectl) -> None:
    services = {row.split()[0]: row.split() for row in kubectl("get", "apiservices").splitlines()}
    assert services["v1."][1:3] == services["v1.apps"][1:3] == ["Local", "True"]
    assert "exempt" in kubectl("get", "flowschemas") and "catch-all" in kubectl("get", "prioritylevelconfigurations")
    assert kubectl("get", "servicecidr", "kubernetes", "-o", "jsonpath={.spec.cidrs[0]}").endswith(".0.0/16")


def test_a_namespace_is_held_to_a_standard(kubectl: Kubectl, namespace: str) -> None:
    kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    refused = kubectl.refused("apply", "-f", "-", stdin=POD.replace("NAME", "plain"))
    assert (
        'violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "main" must set'
        in refused
    )
    told = kubectl.run("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=lax", "--overwrite")
    assert told.code != 0 and "must be one of privileged, baseline, restricted" in told.err
