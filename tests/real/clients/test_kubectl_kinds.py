"""kubectl with the kinds around workloads, budgets and volumes: created, shown, explained, applied, scaled, as by anyone.

Whether something acts on them is not asked here: what is stored is looked at.
"""

from __future__ import annotations

import pytest

from tests.real.clients.manifests import WEB
from tests.real.clients.served import Kubectl

pytestmark = pytest.mark.needs("kubectl")

_POD = "{metadata: {labels: {app: x}}, spec: {containers: [{name: main, image: 'x:1'}]}}"
_ONCE = "{metadata: {labels: {app: x}}, spec: {restartPolicy: Never, containers: [{name: main, image: 'x:1'}]}}"
_SELECTED = f"selector: {{matchLabels: {{app: x}}}}, template: {_POD}"

KINDS: dict[str, tuple[str, str, str]] = {
    "statefulset": ("apps/v1", f"{{replicas: 2, serviceName: x, {_SELECTED}}}", "READY"),
    "daemonset": ("apps/v1", f"{{{_SELECTED}}}", "NODE SELECTOR"),
    "replicationcontroller": ("v1", f"{{replicas: 0, selector: {{app: x}}, template: {_POD}}}", "DESIRED"),
    "job": ("batch/v1", f"{{suspend: true, template: {_ONCE}}}", "COMPLETIONS"),
    "cronjob": (
        "batch/v1",
        f"{{schedule: '0 0 30 2 *', timeZone: Europe/Zurich, jobTemplate: {{spec: {{template: {_ONCE}}}}}}}",
        "LAST SCHEDULE",
    ),
    "horizontalpodautoscaler": (
        "autoscaling/v2",
        "{maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: absent}}",
        "MINPODS",
    ),
    "poddisruptionbudget": ("policy/v1", "{minAvailable: 50%, selector: {matchLabels: {app: x}}}", "MIN AVAILABLE"),
    "resourcequota": ("v1", "{hard: {count/widgets.example.com: '5'}}", "REQUEST"),
    "limitrange": ("v1", "{limits: [{type: PersistentVolumeClaim, max: {storage: 1Ti}}]}", "CREATED AT"),
    "persistentvolumeclaim": (
        "v1",
        "{accessModes: [ReadWriteOnce], storageClassName: absent, resources: {requests: {storage: 1Gi}}}",
        "STORAGECLASS",
    ),
    "persistentvolume": (
        "v1",
        "{capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /nowhere}}",
        "RECLAIM POLICY",
    ),
}
"""Kind to its version, a spec, and a column of its own."""

_NAMES = {
    "statefulset": "StatefulSet",
    "daemonset": "DaemonSet",
    "replicationcontroller": "ReplicationController",
    "job": "Job",
    "cronjob": "CronJob",
    "horizontalpodautoscaler": "HorizontalPodAutoscaler",
    "poddisruptionbudget": "PodDisruptionBudget",
    "resourcequota": "ResourceQuota",
    "limitrange": "LimitRange",
    "persistentvolumeclaim": "PersistentVolumeClaim",
    "persistentvolume": "PersistentVolume",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_applied_shown_explained_and_deleted(kubectl: Kubectl, kind: str) -> None:
    version, spec, column = KINDS[kind]
    name = f"{kind}-{kubectl.namespace}"
    manifest = f"apiVersion: {version}\nkind: {_NAMES[kind]}\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    try:
        assert kubectl("apply", "-f", "-", stdin=manifest).endswith(" created\n")
        again = kubectl("apply", "-f", "-", stdin=manifest)
        # kubectl always sends a budget's selector, which is replaced as a whole; the server finds nothing to change.
        assert again.endswith(" configured\n" if kind == "poddisruptionbudget" else " unchanged\n")
        server_side = ("apply", "--server-side", "--force-conflicts", "-f", "-")
        assert kubectl(*server_side, stdin=manifest).endswith(" serverside-applied\n")
        before = kubectl("get", kind, name, "-o", "jsonpath={.metadata.resourceVersion}")
        kubectl("apply", "-f", "-", stdin=manifest)
        kubectl(*server_side, stdin=manifest)
        assert kubectl("get", kind, name, "-o", "jsonpath={.metadata.resourceVersion}") == before
        assert column in kubectl("get", kind, name, "-o", "wide")
        assert name in kubectl("describe", kind, name)
        assert f"KIND:       {_NAMES[kind]}" in kubectl("explain", f"{kind}.spec")
        assert kubectl("diff", "-f", "-", stdin=manifest) == ""
    finally:
        kubectl("delete", kind, name, "--wait=false")


def test_generators_send_bodies_that_are_understood(kubectl: Kubectl) -> None:
    """`kubectl create KIND` sends protobuf."""
    kubectl("create", "job", "once", "--image=i:1", "--", "true")
    kubectl("create", "cronjob", "often", "--image=i:1", "--schedule=*/5 * * * *", "--", "true")
    kubectl("create", "quota", "q", "--hard=count/widgets.example.com=2,requests.storage=5G")
    kubectl("create", "poddisruptionbudget", "pdb", "--selector=app=x", "--max-unavailable=1")
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("autoscale", "deployment", "web", "--min=2", "--max=5", "--cpu-percent=70")
    assert kubectl.json("get", "job", "once")["spec"]["template"]["spec"]["containers"][0]["command"] == ["true"]
    assert kubectl.json("get", "cronjob", "often")["spec"]["schedule"] == "*/5 * * * *"
    assert kubectl.json("get", "quota", "q")["spec"]["hard"] == {
        "count/widgets.example.com": "2",
        "requests.storage": "5G",
    }
    assert kubectl.json("get", "pdb", "pdb")["spec"]["maxUnavailable"] == 1
    newer = kubectl.json("get", "horizontalpodautoscalers.v2.autoscaling", "web")["spec"]
    target = {"type": "Utilization", "averageUtilization": 70}
    assert newer["metrics"] == [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    older = kubectl.json("get", "horizontalpodautoscalers.v1.autoscaling", "web")["spec"]
    assert (older["targetCPUUtilizationPercentage"], older["minReplicas"]) == (70, 2)
    assert "web" in kubectl("get", "all")
    manual = kubectl("create", "job", "manual", "--from=cronjob/often")
    assert manual == "job.batch/manual created\n"


@pytest.mark.parametrize("kind", ["statefulset", "replicationcontroller"])
def test_a_kind_with_replicas_is_scaled(kubectl: Kubectl, kind: str) -> None:
    version, spec, _ = KINDS[kind]
    manifest = f"apiVersion: {version}\nkind: {_NAMES[kind]}\nmetadata: {{name: x}}\nspec: {spec}\n"
    kubectl("apply", "-f", "-", stdin=manifest)
    kubectl("scale", kind, "x", "--replicas=0")
    assert kubectl("get", kind, "x", "-o", "jsonpath={.spec.replicas}") == "0"
    shown = kubectl.json("get", kind, "x", "--subresource=scale")
    assert (shown["kind"], shown["spec"], shown["status"]["selector"]) == ("Scale", {"replicas": 0}, "app=x")


def test_what_cannot_be_is_refused_in_upstreams_words(kubectl: Kubectl) -> None:
    always = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec: {template: " + _POD + "}\n"
    refused = kubectl.refused("apply", "-f", "-", stdin=always)
    assert 'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"' in refused
    refused = kubectl.refused("create", "cronjob", "c", "--image=i", "--schedule=never")
    assert "expected exactly 5 fields, found 1: [never]" in refused


def test_a_pod_is_resized_and_its_owner_told_what_that_does(kubectl: Kubectl) -> None:
    pod = "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: 'i:1', "
    kubectl("apply", "-f", "-", stdin=pod + "resources: {requests: {cpu: 10m}}}]}}")
    patch = '{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"20m"}}}]}}'
    done = kubectl.run("patch", "pod", "p", "--subresource=resize", "-p", patch)
    assert (done.code, "running containers keep" in done.err) == (0, True), done.err
    assert kubectl("get", "pod", "p", "-o", "jsonpath={.spec.containers[0].resources.requests.cpu}") == "20m"


def test_the_store_tells_its_health(kubectl: Kubectl) -> None:
    shown = kubectl.run("get", "componentstatuses")
    assert "v1 ComponentStatus is deprecated in v1.19+" in shown.err
    assert [line.split()[:2] for line in shown.out.splitlines()] == [["NAME", "STATUS"], ["etcd-0", "Healthy"]]
