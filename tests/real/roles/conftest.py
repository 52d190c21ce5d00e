"""A server without root and an agent with it, as two processes on this host, and the ways to hurt them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
IMAGE = "examples.local/web:1"
NOBODY = "64123"
"""A user and a group that own nothing on any host."""

PYTHON = os.path.realpath(sys.executable)
WEB = f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: web
          image: {IMAGE}
          args: [web]
          ports: [{{name: http, containerPort: 8080}}]
          readinessProbe: {{httpGet: {{path: /healthz, port: http}}, periodSeconds: 1}}
          livenessProbe:
            exec: {{command: [{PYTHON}, -c, "import os, sys; sys.exit(os.path.exists('/tmp/sick'))"]}}
            periodSeconds: 1
            timeoutSeconds: 10
            failureThreshold: 1
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  type: NodePort
  selector: {{app: web}}
  ports: [{{name: http, port: 80, targetPort: http}}]
"""


class Roles:
    """Both processes and their state directories."""

    def __init__(self) -> None:
        # Not below pytest's directory, into which nobody but root may look.
        self.directory = Path(tempfile.mkdtemp(prefix="roles-"))
        self.directory.chmod(0o755)
        self.server_state, self.agent_state = self.directory / "server", self.directory / "agent"
        self.server_state.mkdir()
        os.chown(self.server_state, int(NOBODY), int(NOBODY))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, role: str) -> None:
        words = [sys.executable, "-m", "reconciler.cli.main", role]
        if role == "server":
            unprivileged = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--inh-caps=-all"]
            words = [*unprivileged, *words, "--state", str(self.server_state), "--port", str(self.port)]
        else:
            words += ["--state", str(self.agent_state), "--kubeconfig", str(self.handed_over)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": "/nonexistent"}
        with self.log(role).open("ab") as log:
            self.processes[role] = subprocess.Popen(
                words, env=environment, cwd=self.directory, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def kill(self, role: str) -> None:
        self.processes[role].kill()
        self.processes[role].wait(10)

    def stop(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            process.wait(30)
        for state in (self.agent_state, self.server_state):
            run([sys.executable, "-m", "reconciler.cli.main", "down", "--purge", "--state", str(state)], cwd=ROOT)
        shutil.rmtree(self.directory)

    def log(self, role: str) -> Path:
        return self.directory / f"{role}.log"

    @property
    def handed_over(self) -> Path:
        return self.server_state / "agent" / "kubeconfig"

    def kubectl(self, *words: str, stdin: str | None = None, kubeconfig: Path | None = None, check: bool = True) -> str:
        path = kubeconfig or self.server_state / "kubeconfig"
        finished = run(["kubectl", "--kubeconfig", str(path), *words], stdin=stdin, check=check)
        return finished.stdout + (finished.stderr if not check else "")

    def get(self, *words: str) -> Any:
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def settled(self) -> bool:
        """The API says that node and pods are as they should be."""
        try:
            nodes, pods = self.get("nodes")["items"], self.get("pods")["items"]
        except AssertionError:
            return False
        return len(pods) == 2 and all(_is_ready(each) for each in (*nodes, *pods))

    def containers(self) -> list[str]:
        """The ids of the running application containers, by age."""
        cluster_id = json.loads((self.server_state / "cluster.json").read_text())["cluster_id"]
        words = ["--filter", f"label=io.reconciler.managed={cluster_id}", "--filter", "name=^k8s_web_"]
        return sorted(run(["docker", "ps", "--no-trunc", "-q", *words]).stdout.split())

    def inside(self, container: str, code: str, *, check: bool = True) -> str:
        """Run Python in a container, past every part of ours."""
        return run(["docker", "exec", container, PYTHON, "-c", textwrap.dedent(code)], check=check).stdout


def _is_ready(obj: Any) -> bool:
    conditions = obj.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def run(
    command: list[str], *, check: bool = True, stdin: str | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    finished = subprocess.run(command, capture_output=True, text=True, input=stdin, timeout=120, cwd=cwd)
    if check and finished.returncode:
        raise AssertionError(
            f"{' '.join(command)} ended with {finished.returncode}:\n{finished.stdout}\n{finished.stderr}"
        )
    return finished


def eventually(look: Callable[[], Any], *, within_s: float = 30.0, what: str) -> Any:
    """The first truthy look; fails with the last one."""
    deadline = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}; last look: {found!r}"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="package")
def roles() -> Iterator[Roles]:
    """Both roles with two ready pods of a Deployment behind a Service."""
    if run(["docker", "image", "inspect", IMAGE], check=False).returncode:
        run([sys.executable, str(ROOT / "examples-repo" / "images" / "build"), IMAGE])
    made = Roles()
    try:
        made.start("agent")
        made.start("server")
        eventually(made.handed_over.exists, what="a kubeconfig for the agent")
        made.kubectl("apply", "-f", "-", stdin=WEB)
        eventually(made.settled, within_s=60, what="two pods are ready")
        yield made
    except BaseException:
        for role in ("server", "agent"):
            print(f"--- {role}\n{made.log(role).read_text()[-6000:]}")
        raise
    finally:
        made.stop()
