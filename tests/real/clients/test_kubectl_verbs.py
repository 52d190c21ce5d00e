"""Every verb of kubectl, on the newest and on an older one: what each sends is taken, and answered as its users know it."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.conftest import older_kubectl
from tests.real.clients.manifests import POD, WEB, config_map
from tests.real.clients.served import Kubectl, Server, until
from tests.real.clients.test_kubectl_crds import definition, widget

NEWEST = pytest.param("newest", marks=pytest.mark.needs("kubectl"))
OLDER = pytest.param("older", marks=pytest.mark.needs("older-kubectl"))


@pytest.fixture(params=[NEWEST, OLDER])
def kubectl(request: pytest.FixtureRequest, server: Server, namespace: str, home: Path) -> Kubectl:
    older = request.param == "older"
    # Each has a discovery cache of its own: their forms differ.
    own = home / request.param
    own.mkdir(exist_ok=True)
    return Kubectl(server, namespace, own, older_kubectl() if older else "kubectl")


def test_create_get_describe_explain_and_delete(kubectl: Kubectl) -> None:
    assert kubectl("create", "-f", "-", stdin=POD) == "pod/solo created\n"
    assert kubectl("create", "configmap", "c", "--from-literal=a=1") == "configmap/c created\n"
    assert kubectl("create", "secret", "generic", "s", "--from-literal=p=q") == "secret/s created\n"
    assert (
        kubectl("create", "cronjob", "j", "--image=i", "--schedule=* * * * *", "--", "x") == "cronjob.batch/j created\n"
    )
    assert kubectl("create", "quota", "q", "--hard=pods=9") == "resourcequota/q created\n"
    assert kubectl("create", "role", "r", "--verb=get", "--resource=pods").startswith(
        "role.rbac.authorization.k8s.io/r"
    )
    assert "created" in kubectl("create", "ingress", "i", "--rule=h/*=s:80")
    kubectl("wait", "--for=condition=Ready", "pod/solo", "--timeout=20s")
    assert kubectl("get", "pods", "--sort-by=.metadata.name").split()[:5] == [
        "NAME",
        "READY",
        "STATUS",
        "RESTARTS",
        "AGE",
    ]
    assert kubectl("get", "pod", "solo", "-o", "custom-columns=N:.metadata.name", "--no-headers") == "solo\n"
    described = kubectl("describe", "pod", "solo")
    assert "Image:" in described
    assert "Created" in described
    assert "Data" in kubectl("describe", "configmap", "c")
    assert "containers\t<[]Container> -required-" in kubectl("explain", "pod.spec")
    assert "solo" in kubectl("get", "all")
    listed = kubectl("api-resources", "--namespaced=true", "-o", "name").split()
    assert {"pods", "deployments.apps", "roles.rbac.authorization.k8s.io"} <= set(listed)
    assert "apps/v1" in kubectl("api-versions").split()
    assert kubectl("delete", "pod", "solo", "--now") == 'pod "solo" deleted\n'
    assert kubectl("delete", "configmap,secret", "--all", "--dry-run=server").count("(server dry run)") == 3
    assert 'cronjob.batch "j" deleted' in kubectl(
        "delete", "cronjob/j", "quota/q", "role/r", "ingress/i", "--cascade=orphan"
    )


def test_apply_diff_replace_edit_patch_and_the_small_changes(kubectl: Kubectl) -> None:
    assert kubectl("apply", "-f", "-", stdin=WEB) == "deployment.apps/web created\n"
    assert kubectl("apply", "-f", "-", stdin=WEB) == "deployment.apps/web unchanged\n"
    changed = WEB.replace("web:1", "web:2")
    differing = kubectl.run("diff", "-f", "-", stdin=changed)
    assert differing.code == 1, differing.err
    assert "+      - image: web:2" in differing.out
    assert kubectl("apply", "-f", "-", stdin=changed) == "deployment.apps/web configured\n"
    served = kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=config_map("d", a="1"))
    assert served == "configmap/d serverside-applied\n"
    again = kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=changed)
    assert again == "deployment.apps/web serverside-applied\n"
    assert kubectl("replace", "-f", "-", stdin=config_map("d", a="2")) == "configmap/d replaced\n"
    assert kubectl("replace", "--force", "-f", "-", stdin=config_map("d", a="3")).endswith("configmap/d replaced\n")
    edited = kubectl("edit", "configmap", "d", env={"KUBE_EDITOR": "sed -i /^..a:/s/3/4/"})
    assert edited == "configmap/d edited\n"
    assert kubectl("label", "configmap", "d", "x=y") == "configmap/d labeled\n"
    assert kubectl("annotate", "configmap", "d", "x=y") == "configmap/d annotated\n"
    for kind, patch in (
        ("merge", '{"data":{"b":"1"}}'),
        ("strategic", '{"data":{"c":"1"}}'),
        ("json", '[{"op":"remove","path":"/data/a"}]'),
    ):
        assert kubectl("patch", "configmap", "d", f"--type={kind}", "-p", patch) == "configmap/d patched\n"
    assert kubectl.json("get", "configmap", "d")["data"] == {"b": "1", "c": "1"}
    assert kubectl("set", "image", "deployment/web", "web=web:3") == "deployment.apps/web image updated\n"
    assert kubectl("set", "env", "deployment/web", "A=b") == "deployment.apps/web env updated\n"
    refused = kubectl.refused("create", "-f", "-", stdin=changed.replace("replicas: 2", "replicaz: 2"))
    assert 'unknown field "spec.replicaz"' in refused


def test_rollouts_scale_autoscale_expose_and_wait(kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "web", "--image=web:1", "--replicas=1")
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    kubectl("set", "image", "deployment/web", "web=web:2")
    kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    assert kubectl("rollout", "history", "deployment/web").count("<none>") == 2
    assert "rolled back" in kubectl("rollout", "undo", "deployment/web")
    for verb, told in (("restart", "restarted"), ("pause", "paused"), ("resume", "resumed")):
        assert told in kubectl("rollout", verb, "deployment/web")
    assert kubectl("scale", "deployment/web", "--replicas=2") == "deployment.apps/web scaled\n"
    assert kubectl("scale", "deployment/web", "--current-replicas=2", "--replicas=1") == "deployment.apps/web scaled\n"
    assert "autoscaled" in kubectl("autoscale", "deployment/web", "--min=1", "--max=2")
    assert "exposed" in kubectl("expose", "deployment/web", "--port=80")
    assert kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=20s").endswith("condition met\n")
    kubectl("delete", "hpa/web", "deployment/web", "--cascade=foreground")
    until(lambda: kubectl("get", "pods", "-o", "name") == "", what="the pods are gone")


def test_run_logs_exec_debug_port_forward_and_drain(kubectl: Kubectl, tmp_path: Path) -> None:
    assert kubectl("run", "solo", "--image=solo:1") == "pod/solo created\n"
    kubectl("wait", "--for=condition=Ready", "pod/solo", "--timeout=20s")
    assert kubectl("logs", "solo", "--tail=3", "--timestamps", "--since=1h") == ""
    assert kubectl("exec", "solo", "--", "true") == ""
    kubectl("debug", "solo", "--image=d:1", "-c", "dbg")
    assert kubectl("get", "pod", "solo", "-o", "jsonpath={.spec.ephemeralContainers[*].name}") == "dbg"
    node = kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    assert 'pods "absent" not found' in kubectl.refused("cp", "absent:/x", str(tmp_path / "x"))
    command = ["timeout", "20", kubectl.program, "-n", kubectl.namespace, "port-forward", "pod/solo", ":80"]
    environment = {"KUBECONFIG": str(kubectl.server.kubeconfig), "HOME": str(kubectl.home), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert "Forwarding from 127.0.0.1" in process.stdout.readline()
        finally:
            process.terminate()
    assert f"node/{node} cordoned" in kubectl("cordon", node)
    try:
        drained = kubectl("drain", node, "--pod-selector=run=solo", "--force", "--timeout=20s", "--grace-period=0")
        assert f"node/{node} drained" in drained
    finally:
        kubectl("uncordon", node)
    assert "(NotFound)" in kubectl.refused("get", "pod", "solo")
    assert kubectl("taint", "node", node, "a=b:PreferNoSchedule", "--overwrite") in (
        f"node/{node} tainted\n", f"node/{node} modified\n",
    )  # fmt: skip
    assert kubectl("taint", "node", node, "a-") == f"node/{node} untainted\n"


def certificate_request(name: str) -> str:
    asked = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    spec = {
        "request": base64.b64encode(asked.public_bytes(serialization.Encoding.PEM)).decode(),
        "signerName": "kubernetes.io/kube-apiserver-client",
        "usages": ["client auth"],
    }
    meta = {"name": name}
    return yaml.safe_dump(
        {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": meta, "spec": spec}
    )


def test_identity_certificates_and_the_cluster_itself(kubectl: Kubectl) -> None:
    assert kubectl("auth", "can-i", "create", "pods") == "yes\n"
    assert "pods" in kubectl("auth", "can-i", "--list", "--as=system:serviceaccount:kube-system:replicaset-controller")
    assert "kubernetes-admin" in kubectl("auth", "whoami")
    assert kubectl("create", "token", "default", "--duration=20m").count(".") == 2
    name = f"{kubectl.namespace}-request"
    kubectl("create", "-f", "-", stdin=certificate_request(name))
    assert "approved" in kubectl("certificate", "approve", name)
    until(
        lambda: kubectl("get", "csr", name, "-o", "jsonpath={.status.certificate}") != "",
        what="the certificate is made",
    )
    kubectl("delete", "csr", name)
    assert "is running at" in kubectl("cluster-info")
    assert json.loads(kubectl("version", "-o", "json"))["serverVersion"]["minor"] == "33"
    assert kubectl("get", "--raw", "/readyz") == "ok"
    assert kubectl("events", "--types=Warning") == ""
    assert kubectl("top", "nodes").startswith("NAME")


def test_a_kind_of_ones_own_is_applied_patched_explained_and_watched(kubectl: Kubectl) -> None:
    group = f"{kubectl.namespace.replace('-', '')}.example.com"
    kubectl("apply", "-f", "-", stdin=definition(group))
    kubectl("wait", "--for=condition=Established", f"crd/widgets.{group}", "--timeout=10s")
    assert kubectl("apply", "-f", "-", stdin=widget(group, size=2)) == f"widget.{group}/w created\n"
    assert kubectl("apply", "-f", "-", stdin=widget(group, size=3)) == f"widget.{group}/w configured\n"
    assert kubectl("get", f"widgets.{group}").split()[:3] == ["NAME", "SIZE", "AGE"]
    kubectl("patch", f"widgets.{group}", "w", "--type=merge", "-p", '{"spec":{"size":4}}')
    assert kubectl("scale", f"widgets.{group}/w", "--replicas=3") == f"widget.{group}/w scaled\n"
    assert "size\t<integer> -required-" in kubectl("explain", "widgets.spec", f"--api-version={group}/v1")
    with kubectl.following("get", f"widgets.{group}", "-w", "--no-headers") as lines:
        assert next(lines).split()[:2] == ["w", "4"]
        kubectl("delete", f"widgets.{group}", "w", "--wait=false")
        assert next(lines).split()[0] == "w"
