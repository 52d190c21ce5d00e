"""The straight line: from the end of `git commit` to the changed container running, against `docker run -d` of its image.

Also what the daemon costs at rest: time until ready, memory, processor.  Run it alone on a quiet host with Docker, as
root: `python -m tests.bench.line_bench [ROUNDS | --examples]`.  What it measures against is measured in turns, in the same run.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.daemon import ROOT, Daemon, git, running_daemon
from tests.bench.processes import cpu_s, pss_mib
from tests.bench.report import Row, print_table

ROUNDS = 7
IDLE_S = 20.0
SETTLE_S = 2.5
"""Between two commits: the old pod ends and the sandboxes are made again."""
IMAGE = "examples.local/web:1"

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: line}
spec:
  selector: {matchLabels: {app: line}}
  template:
    metadata: {labels: {app: line}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: web
          image: examples.local/web:1
          args: [web]
          env: [{name: VERSION, value: "ROUND"}]
          ports: [{name: http, containerPort: 8080}]
          readinessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 1}
"""


def measure(rounds: int) -> list[Row]:
    subprocess.run([sys.executable, str(ROOT / "examples-repo/images/build"), IMAGE], check=True, capture_output=True)
    commits: list[float] = []
    peers: list[float] = []
    with running_daemon({"line.yaml": MANIFEST}, restarts=1) as daemon:
        daemon.kubectl("wait", "--for=create", "deployment/line", "--timeout=30s")
        daemon.kubectl("rollout", "status", "deployment/line", "--timeout=60s")
        for number in range(rounds):
            time.sleep(SETTLE_S)
            commits.append(one_commit(daemon, number))
            daemon.kubectl("rollout", "status", "deployment/line", "--timeout=60s")
            time.sleep(SETTLE_S)
            peers.append(one_docker_run(number))
        time.sleep(SETTLE_S)
        before, begun = cpu_s(daemon.pid), time.perf_counter()
        time.sleep(IDLE_S)
        percent = 100 * (cpu_s(daemon.pid) - before) / (time.perf_counter() - begun)
        memory = pss_mib(daemon.pid)
        command_s = statistics.median(daemon.command_s("status") for _ in range(5))
    print("commit to running, ms: ", *(f"{1000 * value:.0f}" for value in commits))
    print("docker run -d, ms:     ", *(f"{1000 * value:.0f}" for value in peers))
    return [
        Row("commit -> running", 1000 * statistics.median(commits), "ms", 1.0, 1000 * statistics.median(peers)),
        Row("start -> ready", daemon.ready_s, "s", 1.0),
        Row("`reconciler status`, start to end", 1000 * command_s, "ms", 150),
        Row("memory at rest, one pod", memory, "MiB", 110),
        Row("processor at rest, one pod", percent, "%", 0.5),
    ]


def measure_examples() -> list[Row]:
    """What everything in one process costs at rest, a whole minute after the examples became healthy."""
    subprocess.run([sys.executable, str(ROOT / "examples-repo/images/build")], check=True, capture_output=True)
    examples = ROOT / "examples-repo"
    files = {str(path.relative_to(examples)): path.read_text() for path in (examples / "apps").rglob("*.yaml")}
    with running_daemon(files) as daemon:
        for name in sorted(path.name for path in (examples / "apps").iterdir()):
            daemon.kubectl("wait", "--for=create", f"deployment/{name}", "--timeout=60s")
            daemon.kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")
        time.sleep(60)
        before, begun = cpu_s(daemon.pid), time.perf_counter()
        time.sleep(IDLE_S)
        percent = 100 * (cpu_s(daemon.pid) - before) / (time.perf_counter() - begun)
        return [
            Row("memory at rest, the examples", pss_mib(daemon.pid), "MiB", 110),
            Row("processor at rest, the examples", percent, "%", 0.5),
        ]


def one_commit(daemon: Daemon, number: int) -> float:
    """Seconds from the end of `git commit` to the engine's word that the container with that commit's value runs."""
    path = daemon.repository / "line.yaml"
    path.write_text(MANIFEST.replace("ROUND", f"round-{number}"))
    git(daemon.repository, "add", "-A")
    filters = {"label": [f"io.reconciler.managed={daemon.cluster_id}", "io.kubernetes.container.name=web"]}
    with started_containers(filters) as started:
        git(daemon.repository, "commit", "-qm", f"Round {number}")
        committed_at = time.time()
        for container, at in started:
            environment = subprocess.run(
                ["docker", "inspect", "-f", "{{json .Config.Env}}", container], capture_output=True, check=True
            ).stdout
            if f"VERSION=round-{number}" in json.loads(environment):
                return at - committed_at
    raise RuntimeError("the engine ended its events")


def one_docker_run(number: int) -> float:
    name = f"line-bench-peer-{number}"
    begun = time.perf_counter()
    subprocess.run(["docker", "run", "-d", "--name", name, IMAGE, "web"], check=True, capture_output=True)
    taken = time.perf_counter() - begun
    subprocess.run(["docker", "rm", "-f", name], check=True, capture_output=True)
    return taken


@contextmanager
def started_containers(filters: dict[str, list[str]]) -> Iterator[Iterator[tuple[str, float]]]:
    """Containers as they start: the id, and when by the engine's clock."""
    words = ["docker", "events", "--filter", "event=start", "--format", "{{.ID}} {{.TimeNano}}"]
    words += [word for name, values in filters.items() for value in values for word in ("--filter", f"{name}={value}")]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout is None:
            raise RuntimeError("a process started with a pipe has none")
        time.sleep(0.3)  # the events' beginning is announced by nothing
        yield ((line.split()[0], int(line.split()[1]) / 1e9) for line in process.stdout)
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    if "--examples" in sys.argv:
        print_table(measure_examples())
    else:
        print_table(measure(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS))
