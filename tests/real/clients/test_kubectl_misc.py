"""kubectl's verbs about the cluster itself, several manifests at once, and debugging a pod."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.real.clients.manifests import POD, WEB, config_map
from tests.real.clients.served import Kubectl, Server, until

pytestmark = pytest.mark.needs("kubectl")


def test_the_cluster_describes_itself(kubectl: Kubectl) -> None:
    assert "Server Version: v1.33" in kubectl("version")
    assert "is running at" in kubectl("cluster-info")
    versions = kubectl("api-versions").split()
    assert {"v1", "apps/v1", "rbac.authorization.k8s.io/v1", "apiextensions.k8s.io/v1"} <= set(versions)
    resources = kubectl("api-resources", "--namespaced=true", "--verbs=list", "-o", "name").split()
    assert {"pods", "deployments.apps", "roles.rbac.authorization.k8s.io"} <= set(resources)
    assert "nodes" not in resources
    assert "deploy" in kubectl("api-resources", "--api-group=apps")
    assert kubectl("get", "--raw", "/readyz") == "ok"
    assert "[+]" in kubectl("get", "--raw", "/readyz?verbose")
    shown = yaml.safe_load(kubectl("config", "view"))
    assert shown["current-context"] == shown["contexts"][0]["name"]
    assert "BEGIN" not in kubectl("config", "view")
    assert kubectl("top", "nodes").startswith("NAME")


def test_a_folder_of_manifests_is_applied_and_deleted(kubectl: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(WEB)
    (tmp_path / "pair.yaml").write_text(config_map("a", k="1") + "---\n" + config_map("b", k="2"))
    (tmp_path / "list.json").write_text(
        json.dumps({"apiVersion": "v1", "kind": "List", "items": [yaml.safe_load(config_map("c", k="3"))]})
    )
    assert kubectl("apply", "-f", str(tmp_path)).count("created") == 4
    assert kubectl("apply", "-f", str(tmp_path)).count("unchanged") == 4
    assert kubectl("get", "-f", str(tmp_path), "-o", "name").split() == [
        "configmap/c", "configmap/a", "configmap/b", "deployment.apps/web",
    ]  # fmt: skip
    assert kubectl("delete", "-f", str(tmp_path)).count("deleted") == 4


def test_an_overlay_is_built_and_applied(kubectl: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(WEB)
    kustomization = {"resources": ["web.yaml"], "namePrefix": "dev-", "replicas": [{"name": "web", "count": 1}]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    assert kubectl("apply", "-k", str(tmp_path)) == "deployment.apps/dev-web created\n"
    assert kubectl("diff", "-k", str(tmp_path)) == ""


def test_what_was_read_can_be_written_back(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    read = kubectl("get", "deployment", "web", "-o", "yaml")
    assert kubectl("replace", "-f", "-", stdin=read) == "deployment.apps/web replaced\n"
    assert kubectl("apply", "-f", "-", stdin=kubectl("get", "deployment", "web", "-o", "yaml")).startswith("deployment")
    last = yaml.safe_load(kubectl("apply", "view-last-applied", "deployment", "web"))
    assert last["spec"]["replicas"] == 2


def test_a_namespace_goes_with_all_it_holds(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("create", "configmap", "c")
    assert "deleted" in kubectl("delete", "namespace", kubectl.namespace, "--timeout=30s")
    assert "(NotFound)" in kubectl.refused("get", "namespace", kubectl.namespace)
    assert kubectl("get", "pods", "-o", "name") == ""
    assert "(Forbidden)" in kubectl.refused("delete", "namespace", "kube-system")


def test_a_debug_container_joins_a_running_pod(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=POD)
    kubectl("wait", "--for=condition=Ready", "pod/solo", "--timeout=20s")
    kubectl("debug", "solo", "--image=debug:1", "--target=main", "-c", "dbg", "--profile=baseline")
    until(
        lambda: (
            kubectl("get", "pod", "solo", "-o", "jsonpath={.status.ephemeralContainerStatuses[0].state.running}") != ""
        ),
        what="the debug container runs",
    )
    assert kubectl("label", "pod", "solo", "seen=yes") == "pod/solo labeled\n"
    kubectl("debug", "solo", "--image=debug:1", "--copy-to=copy", "--profile=baseline", "-c", "dbg")
    assert kubectl("get", "pod", "copy", "-o", "jsonpath={.spec.containers[*].name}") == "main dbg"


def test_the_parts_of_an_object_are_written_through_their_endpoints(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    scale = kubectl.json("get", "deployment", "web", "--subresource=scale")
    assert (scale["kind"], scale["spec"]["replicas"]) == ("Scale", 2)
    kubectl("patch", "deployment", "web", "--subresource=scale", "--type=merge", "-p", '{"spec":{"replicas":1}}')
    assert kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}") == "1"
    assert kubectl.json("get", "deployment", "web", "--subresource=status")["kind"] == "Deployment"


def test_a_proxy_serves_the_api_without_credentials(server: Server, kubectl: Kubectl) -> None:
    command = ["timeout", "20", "kubectl", "proxy", "--port=0"]
    environment = {"KUBECONFIG": str(server.kubeconfig), "HOME": str(kubectl.home), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rsplit(":", 1)[1])
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(b"GET /version HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                answer = b""
                while data := connection.recv(65_536):
                    answer += data
        finally:
            process.terminate()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"gitVersion"' in answer


def test_roles_are_reconciled_from_a_manifest(kubectl: Kubectl) -> None:
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "r", "namespace": kubectl.namespace},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
    }
    path = kubectl.home / "role.json"
    path.write_text(json.dumps(role))
    assert "reconciliation required create" in kubectl.run("auth", "reconcile", "-f", str(path)).err
    assert kubectl.json("get", "role", "r")["rules"] == role["rules"]
    assert "required" not in kubectl.run("auth", "reconcile", "-f", str(path)).err
