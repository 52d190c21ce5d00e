"""Jobs, load and drains through the real kubectl on real containers."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest
import yaml

from tests.real.line.conftest import IMAGE, Line, eventually

pytestmark = pytest.mark.needs("docker", "root", "kubectl", "nft", "git", "ip")
PYTHON = os.path.realpath(sys.executable)


def job(name: str, code: str, **spec: Any) -> str:
    container = {"name": "main", "image": IMAGE, "command": [PYTHON, "-c", code]}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return yaml.safe_dump(
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": template, **spec}}
    )


def test_an_indexed_job_completes_and_one_that_fails_says_why(line: Line) -> None:
    echo = "import os; print('index', os.environ['JOB_COMPLETION_INDEX'], os.uname().nodename)"
    line.kubectl("apply", "-f", "-", stdin=job("each", echo, completions=2, parallelism=2, completionMode="Indexed"))
    line.kubectl("apply", "-f", "-", stdin=job("broken", "raise SystemExit(3)", backoffLimit=0))
    line.kubectl("wait", "--for=condition=complete", "job/each", "--timeout=60s")
    assert line.get("job/each")["status"]["completedIndexes"] == "0,1"
    pod = line.kubectl("get", "pods", "-l", "batch.kubernetes.io/job-completion-index=1", "-o", "name").strip()
    assert line.kubectl("logs", pod) == "index 1 each-1\n"
    line.kubectl("wait", "--for=condition=failed", "job/broken", "--timeout=60s")
    reasons = [condition["reason"] for condition in line.get("job/broken")["status"]["conditions"]]
    assert reasons == ["BackoffLimitExceeded", "BackoffLimitExceeded"]
    line.kubectl("delete", "job", "each", "broken")
    eventually(lambda: not line.get("pods", "-l", "batch.kubernetes.io/job-name")["items"], what="their pods are gone")


def test_top_shows_what_a_busy_pod_uses(line: Line) -> None:
    line.kubectl("run", "busy", f"--image={IMAGE}", "--command", "--", PYTHON, "-c", "while True: pass")
    try:
        line.kubectl("wait", "--for=condition=ready", "pod/busy", "--timeout=60s")

        def used() -> tuple[int, int] | None:
            words = line.kubectl("top", "pod", "busy", "--no-headers", check=False).split()
            if len(words) != 3:
                return None
            cpu, memory = int(words[1].removesuffix("m")), int(words[2].removesuffix("Mi"))
            return (cpu, memory) if cpu > 50 else None

        cpu, memory = eventually(used, what="the pod is seen to work")
        assert 50 < cpu <= 1500
        assert 1 <= memory < 500
        assert len(line.kubectl("top", "node", "--no-headers").split()) == 5
    finally:
        line.kubectl("delete", "pod", "busy", "--grace-period=0", "--force")


def test_a_drain_waits_for_the_disruption_budget(line: Line) -> None:
    budget = {
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}},
    }  # fmt: skip
    line.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(budget))
    node = line.get("nodes")["items"][0]["metadata"]["name"]
    try:
        eventually(lambda: line.get("pdb/web").get("status", {}).get("currentHealthy") == 2, what="both pods count")
        drain = ["drain", node, "--pod-selector=app=web", "--ignore-daemonsets", "--delete-emptydir-data", "--force"]
        blocked = line.kubectl(*drain, "--timeout=3s", "--dry-run=none", check=False)
        assert "evicting pod" in blocked or not blocked
        assert len(line.get("pods", "-l", "app=web")["items"]) == 2
        line.kubectl("delete", "pdb", "web")
        before = {pod["metadata"]["uid"] for pod in line.get("pods", "-l", "app=web")["items"]}
        line.kubectl(*drain, "--timeout=90s")
        after = {pod["metadata"]["uid"] for pod in line.get("pods", "-l", "app=web")["items"]}
        assert not before & after
    finally:
        line.kubectl("delete", "pdb", "web", "--ignore-not-found")
        line.kubectl("uncordon", node)
    line.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
