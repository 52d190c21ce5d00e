"""`kubectl get`, `describe`, `events` and `wait`: what people read."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.real.clients.manifests import POD, WEB, config_map
from tests.real.clients.served import Kubectl

pytestmark = pytest.mark.needs("kubectl")


@pytest.fixture
def web(kubectl: Kubectl) -> Kubectl:
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    return kubectl


def test_tables_have_the_columns_people_know(web: Kubectl) -> None:
    headings = {
        "deployments": "NAME READY UP-TO-DATE AVAILABLE AGE",
        "replicasets": "NAME DESIRED CURRENT READY AGE",
        "pods": "NAME READY STATUS RESTARTS AGE",
        "nodes": "NAME STATUS ROLES AGE VERSION",
        "configmaps": "NAME DATA AGE",
        "serviceaccounts": "NAME SECRETS AGE",
        "events": "LAST SEEN TYPE REASON OBJECT MESSAGE",
        "namespaces": "NAME STATUS AGE",
        "leases": "NAME HOLDER AGE",
    }
    for resource, heading in headings.items():
        table = web("get", resource, *(["-A"] if resource == "leases" else []))
        assert table.split("\n")[0].split() == (("NAMESPACE " if resource == "leases" else "") + heading).split()
    wide = web("get", "deployment", "web", "-o", "wide").split("\n")
    assert wide[0].split()[5:] == ["CONTAINERS", "IMAGES", "SELECTOR"]
    assert wide[1].split()[0:4] == ["web", "2/2", "2", "2"]
    assert wide[1].split()[5:] == ["web", "web:1", "app=web"]


def test_every_output_format(web: Kubectl) -> None:
    assert json.loads(web("get", "deployment", "web", "-o", "json"))["status"]["readyReplicas"] == 2
    listed = yaml.safe_load(web("get", "pods", "-o", "yaml"))
    assert (listed["kind"], len(listed["items"]), listed["items"][0]["kind"]) == ("List", 2, "Pod")
    assert web("get", "deployment", "web", "-o", "name") == "deployment.apps/web\n"
    images = web(
        "get", "pods", "-o", "jsonpath={range .items[*]}{.spec.containers[0].image}{' '}{.status.phase}{'\\n'}{end}"
    )
    assert images == "web:1 Running\nweb:1 Running\n"
    columns = web("get", "pods", "-o", "custom-columns=NODE:.spec.nodeName,IMAGE:.spec.containers[*].image")
    assert columns.split()[::2] == ["NODE", *[columns.split()[2]] * 2]
    assert web("get", "deploy/web", "-o", "go-template={{.spec.replicas}}") == "2"
    assert web("get", "pods", "--no-headers").count("\n") == 2
    assert "APP" in web("get", "pods", "-L", "app").split("\n")[0]
    assert "app=web" in web("get", "pods", "--show-labels")
    assert "managedFields" not in web("get", "deployment", "web", "-o", "yaml")
    assert "kubectl-client-side-apply" in web("get", "deployment", "web", "-o", "yaml", "--show-managed-fields")


def test_selectors_and_sorting(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin="---\n".join(config_map(name, k=name) for name in ("b", "c", "a")))
    kubectl("label", "configmap", "a", "b", "team=red")
    assert kubectl("get", "cm", "-l", "team=red", "-o", "name").split() == ["configmap/a", "configmap/b"]
    assert kubectl("get", "cm", "-l", "team!=red,!x", "-o", "name").split() == [
        "configmap/c",
        "configmap/kube-root-ca.crt",
    ]
    assert kubectl("get", "cm", "-l", "team in (red, blue)", "-o", "name").count("\n") == 2
    assert kubectl("get", "cm", "--field-selector", "metadata.name=c", "-o", "name") == "configmap/c\n"
    names = kubectl("get", "cm", "--sort-by=.metadata.name", "--no-headers", "-o", "custom-columns=N:.metadata.name")
    assert names.split() == ["a", "b", "c", "kube-root-ca.crt"]
    by_age = kubectl("get", "cm", "--sort-by=.data.k", "--no-headers").split("\n")
    assert [line.split()[0] for line in by_age if line][-3:] == ["a", "b", "c"]
    assert kubectl("get", "cm", "--chunk-size=1", "-o", "name").count("\n") == 4
    assert "is not a known field selector" in kubectl.refused("get", "cm", "--field-selector", "data.k=a")
    assert kubectl.namespace in kubectl("get", "cm", "-A", "-l", "team")
    assert "No resources found" in kubectl.run("get", "secrets").err


def test_pods_are_selected_by_node_and_phase(web: Kubectl) -> None:
    node = web("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    assert (
        web("get", "pods", "--field-selector", f"spec.nodeName={node},status.phase=Running", "-o", "name").count("\n")
        == 2
    )
    assert web("get", "pods", "--field-selector", "status.phase!=Running", "-o", "name") == ""


def test_watching_prints_each_change(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "one")
    with kubectl.following("get", "configmaps", "-w", "--no-headers", "--output-watch-events") as lines:
        next(lines)
        kubectl("create", "configmap", "two", "--from-literal=a=b")
        kubectl("delete", "configmap", "one")
        seen = []
        for line in lines:
            seen.append(tuple(line.split()[:3]))
            if seen[-1][:2] == ("DELETED", "one"):
                break
    assert ("ADDED", "two", "1") in seen


def test_describe_tells_what_belongs_together(web: Kubectl) -> None:
    web("expose", "deployment", "web", "--port=80", "--target-port=80")
    deployment = web("describe", "deployment", "web")
    assert "Replicas:               2 desired | 2 updated | 2 total | 2 available | 0 unavailable" in deployment
    assert "NewReplicaSet:   web-" in deployment
    assert "ScalingReplicaSet" in deployment
    pods = web("describe", "pods", "-l", "app=web")
    assert pods.count("Controlled By:  ReplicaSet/web-") == 2
    assert "Started container web" in pods
    node = web("describe", "nodes")
    assert "Allocated resources:" in node
    assert "KubeletReady" in node
    service = web("describe", "service", "web")
    assert "Selector:                 app=web" in service
    assert service.split("Endpoints:")[1].split("\n")[0].count(":80") == 2


def test_events_are_found_by_their_object(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=POD)
    kubectl("wait", "--for=condition=Ready", "pod/solo", "--timeout=20s")
    events = kubectl("events", "--for", "pod/solo")
    assert "Scheduled" in events
    assert "Started" in events
    assert kubectl("events", "--for", "pod/other").strip() == ""
    assert "Normal" in kubectl("get", "events", "--field-selector", "involvedObject.name=solo,reason=Scheduled")


def test_waiting(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=POD)
    assert "condition met" in kubectl("wait", "--for=condition=Ready", "pod/solo", "--timeout=20s")
    assert "condition met" in kubectl(
        "wait", "--for=jsonpath={.status.phase}=Running", "pod", "-l", "app=solo", "--timeout=20s"
    )
    assert "timed out" in kubectl.refused("wait", "--for=condition=Nonsense", "pod/solo", "--timeout=100ms")
    kubectl("delete", "pod", "solo", "--wait=false")
    kubectl("wait", "--for=delete", "pod/solo", "--timeout=20s")
    assert 'pods "solo" not found' in kubectl.refused("wait", "--for=condition=Ready", "pod/solo", "--timeout=1s")
    kubectl("apply", "-f", "-", stdin=config_map("later", a="b"))
    assert "condition met" in kubectl("wait", "--for=create", "configmap/later", "--timeout=5s")


def test_what_is_not_there_is_said_in_kubernetes_words(kubectl: Kubectl) -> None:
    assert kubectl.refused("get", "pod", "nope") == 'Error from server (NotFound): pods "nope" not found\n'
    assert (
        kubectl.refused("get", "deploy", "nope") == 'Error from server (NotFound): deployments.apps "nope" not found\n'
    )
    assert "doesn't have a resource type" in kubectl.refused("get", "gizmos")
