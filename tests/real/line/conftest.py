"""One running cluster for the whole file of tests: `reconciler up` on a Git repository of the test's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
IMAGE = "examples.local/web:1"

WEB = """
apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data: {greeting: Hello}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: examples.local/web:1
          args: [web]
          env:
            - {name: VERSION, value: "1"}
            - name: GREETING
              valueFrom: {configMapKeyRef: {name: web, key: greeting}}
          ports: [{name: http, containerPort: 8080}]
          readinessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 1}
          resources: {requests: {cpu: 10m, memory: 16Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: visits}
spec:
  selector: {matchLabels: {app: visits}}
  template:
    metadata: {labels: {app: visits}}
    spec:
      securityContext: {fsGroup: 1000}
      containers:
        - name: visits
          image: examples.local/web:1
          args: [visits]
          ports: [{name: http, containerPort: 8080}]
          readinessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 1}
          volumeMounts: [{name: data, mountPath: /data}]
      volumes: [{name: data, emptyDir: {}}]
---
apiVersion: v1
kind: Service
metadata: {name: visits}
spec:
  selector: {app: visits}
  ports: [{port: 80, targetPort: http}]
"""


@dataclass
class Line:
    """A running `up`, and the ways a user would talk to it."""

    state: Path
    repository: Path
    answer: dict[str, Any]

    def reconciler(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return run([sys.executable, "-m", "reconciler.cli.main", *words], check=check, env=self.environment)

    def kubectl(self, *words: str, check: bool = True, stdin: str | None = None) -> str:
        return run(["kubectl", *words], check=check, env=self.environment, stdin=stdin).stdout

    def get(self, *words: str) -> Any:
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def up(self, *options: str) -> dict[str, Any]:
        words = ["up", str(self.repository), "--state", str(self.state), "--detach", "--json", *options]
        finished = run([sys.executable, "-m", "reconciler.cli.main", *words], check=False, env=self.environment)
        log = (self.state / "daemon.log").read_text()[-6000:] if (self.state / "daemon.log").exists() else ""
        assert finished.returncode == 0, f"{finished.stderr}\n{finished.stdout}\n{log}"
        self.answer = json.loads(finished.stdout)
        return self.answer

    def commit(self, message: str, change: Callable[[str], str]) -> str:
        """Change web.yaml, commit, return the commit."""
        path = self.repository / "web.yaml"
        path.write_text(change(path.read_text()))
        git(self.repository, "commit", "-qam", message)
        return git(self.repository, "rev-parse", "HEAD")

    def containers(self, *filters: str) -> dict[str, str]:
        """Application containers of the cluster: id to name."""
        cluster_id = json.loads((self.state / "cluster.json").read_text())["cluster_id"]
        words = [f"label=io.reconciler.managed={cluster_id}", *filters]
        out = run(
            [
                "docker",
                "ps",
                "--no-trunc",
                "--format",
                "{{.ID}} {{.Names}}",
                *[w for f in words for w in ("--filter", f)],
            ]
        ).stdout
        return dict(line.split(" ", 1) for line in out.splitlines())

    def exec_python(self, workload: str, code: str) -> str:
        interpreter = os.path.realpath(sys.executable)
        return self.kubectl("exec", workload, "--", interpreter, "-c", textwrap.dedent(code))

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), "KUBECONFIG": str(self.state / "kubeconfig")}


def run(
    command: list[str], *, check: bool = True, env: dict[str, str] | None = None, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    finished = subprocess.run(command, capture_output=True, text=True, env=env, input=stdin, timeout=400, cwd=ROOT)
    if check and finished.returncode:
        raise AssertionError(
            f"{' '.join(command)} ended with {finished.returncode}:\n{finished.stdout}\n{finished.stderr}"
        )
    return finished


def git(repository: Path, *words: str) -> str:
    who = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    return run(["git", "-C", str(repository), *who, *words]).stdout.strip()


def eventually(look: Callable[[], Any], *, within_s: float = 30.0, what: str = "") -> Any:
    """The first truthy look; fails with the last one."""
    deadline = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what or look}; last look: {found!r}"
        time.sleep(0.1)
    return found


def make_image() -> None:
    """The image the manifests name, from this host's Python; an existing one is used."""
    if run(["docker", "image", "inspect", IMAGE], check=False).returncode:
        run([sys.executable, str(ROOT / "examples-repo" / "images" / "build"), IMAGE])


def host_state() -> dict[str, str]:
    """What a good neighbour leaves as it was.  Counters and link states change by themselves."""
    links = [line.split()[0].partition("@")[0] for line in run(["ip", "-brief", "link"]).stdout.splitlines()]
    return {
        "containers": run(["docker", "ps", "-a", "--format", "{{.ID}} {{.Names}}"]).stdout,
        "images": "\n".join(sorted(run(["docker", "images", "-q", "--no-trunc"]).stdout.split())),
        "nft": run(["nft", "--stateless", "list", "ruleset"]).stdout,
        "iptables": "\n".join(
            line for line in run(["iptables-save"]).stdout.splitlines() if not line.startswith(("#", ":"))
        ),
        "links": "\n".join(name for name in links if not name.startswith("veth")),
        "mounts": "\n".join(line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()),
        "addresses": run(["ip", "-4", "-oneline", "address", "show", "scope", "global"]).stdout,
    }


@pytest.fixture(scope="package")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    base = tmp_path_factory.mktemp("line")
    repository = base / "repository"
    repository.mkdir()
    (repository / "web.yaml").write_text(WEB)
    run(["git", "init", "-q", "-b", "main", str(repository)])
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "Deploy web")
    make_image()
    made = Line(base / "state", repository, {})
    try:
        made.up()
        yield made
    finally:
        if (made.state / "daemon.log").exists():
            shutil.copy(made.state / "daemon.log", base / "daemon.log")
        run(
            [sys.executable, "-m", "reconciler.cli.main", "down", "--purge", "--state", str(made.state)],
            check=False,
            env=made.environment,
        )
