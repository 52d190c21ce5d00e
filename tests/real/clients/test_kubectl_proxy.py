"""The proxy subresource as people meet it: `kubectl get --raw`, and a browser's requests through `kubectl proxy`."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.real.clients.served import Kubectl, until

pytestmark = pytest.mark.needs("kubectl")


class Web(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/old":
            self.send_response(302)
            self.send_header("Location", "/new")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        said = {"path": self.path, "credentials": self.headers.get("Authorization")}
        self._say(json.dumps(said).encode())

    def do_POST(self) -> None:
        self._say(self.rfile.read(int(self.headers["Content-Length"])).upper())

    def _say(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return None


@pytest.fixture
def base(kubectl: Kubectl, namespace: str) -> Iterator[str]:
    """The path of a Service's proxy; behind it, by a hand-written EndpointSlice, is a server of this host."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        route.connect(("192.0.2.1", 9))  # sends nothing: asks which address this host would use
        address = route.getsockname()[0]
    server = ThreadingHTTPServer((address, 0), Web)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"ports": [{"name": "http", "port": 80}]},
        }
        slice_ = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address]}],
            "ports": [{"name": "http", "port": server.server_address[1]}],
        }
        kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": [service, slice_]}))
        yield f"/api/v1/namespaces/{namespace}/services/web:http/proxy"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_service_answers_raw_requests_and_a_redirect_leads_back(kubectl: Kubectl, base: str) -> None:
    assert json.loads(kubectl("get", "--raw", f"{base}/a/b?c=d")) == {"path": "/a/b?c=d", "credentials": None}
    assert json.loads(kubectl("get", "--raw", f"{base}/old"))["path"] == "/new"


def test_a_browser_goes_through_kubectl_proxy(kubectl: Kubectl, base: str) -> None:
    environment = {**os.environ, "KUBECONFIG": str(kubectl.server.kubeconfig), "HOME": str(kubectl.home)}
    command = ["timeout", "30", "kubectl", "proxy", "--port=0"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            here = until(process.stdout.readline, what="kubectl proxy serves").split()[-1]
            with urllib.request.urlopen(f"http://{here}{base}/x", data=b"hello", timeout=20) as answer:
                assert answer.read() == b"HELLO"
        finally:
            process.terminate()
