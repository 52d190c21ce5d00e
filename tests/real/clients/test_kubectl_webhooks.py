"""Webhooks and aggregated servers, real HTTPS servers on this host, as people meet them through kubectl."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cluster.base.pki import create_ca, issue_serving
from tests.real.clients.manifests import config_map
from tests.real.clients.served import Kubectl, until

pytestmark = pytest.mark.needs("kubectl")

FLUNDERS = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": "wardle.example.com/v1",
    "resources": [
        {"name": "flunders", "singularName": "flunder", "namespaced": True, "kind": "Flunder", "verbs": ["get", "list"]}
    ],
}


class Answers(BaseHTTPRequestHandler):
    """Denies names that begin with `bad`, labels what it is asked to change, converts routes, and serves flunders."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review["request"]
        if review["kind"] == "ConversionReview":
            objects = [route_in(obj, request["desiredAPIVersion"]) for obj in request["objects"]]
            answer = {"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": objects}
            self._say({"kind": review["kind"], "apiVersion": review["apiVersion"], "response": answer})
            return
        response: dict[str, Any] = {"uid": request["uid"], "allowed": True}
        if self.path.startswith("/mutate"):
            patch = [{"op": "add", "path": "/metadata/labels", "value": {"seen": "yes"}}]
            response |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode()}
        elif request["name"].startswith("bad"):
            response |= {"allowed": False, "status": {"code": 403, "reason": "Forbidden", "message": "a bad name"}}
        self._say({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})

    def do_GET(self) -> None:
        if self.path == "/apis/wardle.example.com/v1":
            self._say(FLUNDERS)
            return
        user = self.headers.get("X-Remote-User", "")
        flunder = {"apiVersion": "wardle.example.com/v1", "kind": "Flunder", "metadata": {"name": "one"}, "user": user}
        if self.path.partition("?")[0].endswith("/one"):
            self._say(flunder)
        else:
            self._say(
                {"apiVersion": "wardle.example.com/v1", "kind": "FlunderList", "metadata": {}, "items": [flunder]}
            )

    def _say(self, obj: Any) -> None:
        body = json.dumps(obj).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return None


def route_in(obj: Any, api_version: str) -> Any:
    """v1 of a route has `hostPort`, v2 `host` and `port`."""
    spec = dict(obj["spec"])
    if api_version.endswith("/v2") and "hostPort" in spec:
        spec["host"], _, spec["port"] = spec.pop("hostPort").partition(":")
    elif api_version.endswith("/v1") and "host" in spec:
        spec["hostPort"] = f"{spec.pop('host')}:{spec.pop('port')}"
    return {**obj, "apiVersion": api_version, "spec": spec}


def route_definition(group: str, peer: Peer) -> str:
    """Routes in two versions, stored in v1, with a column of each version's own."""

    def version(name: str, *fields: str) -> Any:
        properties = {field: {"type": "string"} for field in fields}
        schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}
        return {
            "name": name,
            "served": True,
            "storage": name == "v1",
            "schema": {"openAPIV3Schema": schema},
            "additionalPrinterColumns": [{"name": "To", "type": "string", "jsonPath": f".spec.{fields[0]}"}],
        }

    webhook = {
        "clientConfig": {"url": f"https://127.0.0.1:{peer.port}/convert", "caBundle": peer.bundle},
        "conversionReviewVersions": ["v1"],
    }
    spec = {
        "group": group,
        "scope": "Namespaced",
        "names": {"plural": "routes", "singular": "route", "kind": "Route", "listKind": "RouteList"},
        "conversion": {"strategy": "Webhook", "webhook": webhook},
        "versions": [version("v1", "hostPort"), version("v2", "host", "port")],
    }
    obj = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": spec}
    return json.dumps({**obj, "metadata": {"name": f"routes.{group}"}})


def test_a_custom_resource_is_used_in_both_versions(kubectl: Kubectl, namespace: str, peer: Peer) -> None:
    group = f"{namespace.replace('-', '')}.example.com"
    kubectl("apply", "-f", "-", stdin=route_definition(group, peer))
    kubectl("wait", "--for=condition=Established", f"crd/routes.{group}", "--timeout=10s")
    try:
        two: dict[str, Any] = {"apiVersion": f"{group}/v2", "kind": "Route", "metadata": {"name": "r"}}
        two["spec"] = {"host": "h", "port": "1"}
        kubectl("apply", "-f", "-", stdin=json.dumps(two))
        assert kubectl("apply", "-f", "-", stdin=json.dumps(two)).endswith("unchanged\n")
        assert kubectl.json("get", f"routes.v1.{group}", "r")["spec"] == {"hostPort": "h:1"}
        assert kubectl("get", f"routes.v1.{group}").splitlines()[1].split() == ["r", "h:1"]
        assert kubectl("get", f"routes.v2.{group}").splitlines()[1].split() == ["r", "h"]
        two["spec"]["port"] = "2"
        kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(two))
        kubectl("patch", f"routes.v1.{group}", "r", "--type=merge", "-p", '{"spec":{"hostPort":"k:3"}}')
        kubectl("wait", "--for=jsonpath={.spec.host}=k", f"routes.v2.{group}/r", "--timeout=10s")
        seen = kubectl("get", f"routes.v2.{group}", "r", "-o", "jsonpath={.spec.host}:{.spec.port}")
        assert seen == "k:3"
        watch = kubectl.run(
            "get", "--raw", f"/apis/{group}/v2/namespaces/{namespace}/routes?watch=true&timeoutSeconds=1"
        )
        assert [json.loads(line)["object"]["spec"] for line in watch.out.splitlines()] == [{"host": "k", "port": "3"}]
    finally:
        kubectl("delete", "crd", f"routes.{group}")


class Peer:
    def __init__(self, port: int, bundle: str) -> None:
        self.port = port
        self.bundle = bundle


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    now = datetime.now(UTC)
    ca = create_ca("peer-ca", now=now)
    pair = issue_serving(ca, "peer", ["localhost", "127.0.0.1"], now=now)
    (tmp_path / "peer.pem").write_bytes(pair.certificate + pair.key)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "peer.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield Peer(server.server_address[1], base64.b64encode(ca.certificate).decode())
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def configuration(kind: str, namespace: str, peer: Peer, path: str) -> str:
    obj = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": f"{namespace}-{kind.lower()}"},
        "webhooks": [
            {
                "name": f"{kind.lower()}.example.com",
                "clientConfig": {"url": f"https://127.0.0.1:{peer.port}/{path}", "caBundle": peer.bundle},
                "rules": [
                    {
                        "operations": ["CREATE", "UPDATE"],
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "resources": ["configmaps"],
                        # Left out, kubectl would send it anew each time: a list of rules is replaced as a whole.
                        "scope": "*",
                    }
                ],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }
        ],
    }
    return json.dumps(obj)


def test_a_webhook_changes_and_another_refuses(kubectl: Kubectl, namespace: str, peer: Peer) -> None:
    for kind, path in (("Mutating", "mutate"), ("Validating", "validate")):
        kubectl("apply", "-f", "-", stdin=configuration(kind, namespace, peer, path))
        again = kubectl("apply", "-f", "-", stdin=configuration(kind, namespace, peer, path))
        assert again.endswith("unchanged\n")
    try:
        kubectl("apply", "-f", "-", stdin=config_map("good", a="1"))
        assert kubectl.json("get", "configmap", "good")["metadata"]["labels"] == {"seen": "yes"}
        said = kubectl.refused("apply", "-f", "-", stdin=config_map("bad", a="1"))
        assert "Error from server (Forbidden)" in said
        assert 'admission webhook "validating.example.com" denied the request: a bad name' in said
        listed = kubectl("get", "validatingwebhookconfigurations", f"{namespace}-validating")
        assert listed.splitlines()[0].split() == ["NAME", "WEBHOOKS", "AGE"]
    finally:
        for kind in ("mutating", "validating"):
            kubectl("delete", f"{kind}webhookconfiguration", f"{namespace}-{kind}")
    kubectl("apply", "-f", "-", stdin=config_map("bad", a="1"))


def test_an_aggregated_api_is_used_like_any_other(kubectl: Kubectl, namespace: str, peer: Peer) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "wardle"},
        "spec": {"type": "ExternalName", "externalName": "localhost"},
    }
    api_service = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1.wardle.example.com"},
        "spec": {
            "group": "wardle.example.com",
            "version": "v1",
            "groupPriorityMinimum": 1000,
            "versionPriority": 15,
            # The certificate is for the host behind the Service, not for the Service.
            "insecureSkipTLSVerify": True,
            "service": {"namespace": namespace, "name": "wardle", "port": peer.port},
        },
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(service))
    kubectl("apply", "-f", "-", stdin=json.dumps(api_service))
    try:
        kubectl("wait", "--for=condition=Available", "apiservice/v1.wardle.example.com", "--timeout=20s")
        assert "flunders" in kubectl("api-resources", "--api-group=wardle.example.com", "-o", "name")
        assert kubectl.json("get", "flunders.wardle.example.com", "one")["user"] == "kubernetes-admin"
        assert "one" in kubectl("get", "flunders.wardle.example.com", "-o", "name")
    finally:
        kubectl("delete", "apiservice", "v1.wardle.example.com")
    gone = lambda: kubectl.run("get", "--raw", "/apis/wardle.example.com/v1").code != 0  # noqa: E731
    until(gone, what="the aggregated API is gone")
