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
    """Denies names that begin with `bad`, labels what it is asked to change, and serves flunders."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review["request"]
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
