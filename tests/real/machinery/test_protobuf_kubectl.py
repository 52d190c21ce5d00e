"""What a real kubectl sends as protobuf decodes to what the same kubectl prints as JSON."""

from __future__ import annotations

import http.server
import json
import shutil
import subprocess
import threading

import pytest

from cluster.machinery.protobuf import decode
from cluster.resources.protobuf import protobuf_schema

SCHEMA = protobuf_schema()


class Capture(http.server.BaseHTTPRequestHandler):
    """Enough of an API for `kubectl create` to find it, and a note of every body."""

    bodies: list[tuple[str, bytes]]

    def do_GET(self):
        version = {"major": "1", "minor": "33", "gitVersion": "v1.33.0"}
        self.answer(200 if self.path.startswith("/version") else 404, version)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.bodies.append((self.headers["Content-Type"], body))
        self.answer(404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound"})

    def answer(self, code, content):
        data = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def api():
    handler = type("Handler", (Capture,), {"bodies": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", handler.bodies
    server.shutdown()
    server.server_close()
    thread.join()


def without_empties(value):
    """JSON from Go carries nulls and empty structs that mean nothing; so may the decoded form."""
    if isinstance(value, dict):
        parts = {key: without_empties(part) for key, part in value.items()}
        return {key: part for key, part in parts.items() if part not in (None, {}, [])}
    return [without_empties(item) for item in value] if isinstance(value, list) else value


@pytest.mark.needs("kubectl")
@pytest.mark.parametrize(
    "command",
    [
        "configmap c --from-literal=a=b --from-literal=n=5",
        "secret generic s --from-literal=password=hunter2",
        "deployment d --image=nginx:1 --replicas=0 --port=80",
        "deployment d --image=nginx:1 --image=busybox --replicas=3",
        "job j --image=busybox -- sleep 1",
        "cronjob c --image=busybox --schedule=*/5_*_*_*_*",
        "service clusterip s --tcp=80:8080",
        "service nodeport s --tcp=80:http --node-port=30080",
        "namespace n",
        "serviceaccount a",
        "clusterrole r --verb=get --non-resource-url=/metrics",
        "rolebinding r --role=r --serviceaccount=default:a",
        "ingress i --rule=example.com/*=svc:80",
        "quota q --hard=cpu=1,memory=1Gi,pods=0",
        "poddisruptionbudget p --selector=a=b --min-available=50%",
        "priorityclass p --value=1000 --global-default=false",
    ],
)
def test_a_created_object_decodes_to_its_json(api, command, tmp_path):
    url, bodies = api
    words = [word.replace("_", " ") for word in command.split()]
    kubectl = shutil.which("kubectl")
    run = [kubectl, f"--server={url}", f"--cache-dir={tmp_path}", "create"]
    environment = {"KUBECONFIG": "/dev/null", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    subprocess.run([*run, *words], capture_output=True, env=environment, timeout=60, check=False)
    printed = subprocess.run(
        [*run, words[0], "--dry-run=client", "-o", "json", *words[1:]],
        capture_output=True,
        env=environment,
        timeout=60,
        check=True,
    )
    content_type, body = bodies[0]
    assert content_type == "application/vnd.kubernetes.protobuf"
    assert without_empties(decode(body, SCHEMA)) == without_empties(json.loads(printed.stdout))
