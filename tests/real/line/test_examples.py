"""The examples on real containers: `up` without a source makes them the user's own repository and they answer."""

from __future__ import annotations

import json
import re
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.real.line.conftest import Line, eventually, run

pytestmark = pytest.mark.needs("docker", "root", "kubectl", "nft", "git", "ip")


def test_every_example_becomes_healthy_and_answers(tmp_path: Path):
    line = Line(tmp_path / "state", tmp_path / "state" / "repository", {})
    try:
        words = ["up", "--state", str(line.state), "--detach", "--json"]
        line.answer = json.loads(line.reconciler(*words).stdout)
        assert [(app["sync"], app["health"]) for app in line.answer["applications"]] == [("Synced", "Healthy")]
        for deployment in line.get("deployments")["items"]:
            assert deployment["status"]["readyReplicas"] == deployment["spec"].get("replicas", 1)
        names = {pod["metadata"]["labels"]["app"] for pod in line.get("pods")["items"]}
        assert names == {path.name for path in (line.repository / "apps").iterdir()}

        def answers() -> bool:
            with urllib.request.urlopen(line.answer["url"], timeout=3) as answer:
                return re.search(rb"visit \d+\n", answer.read()) is not None

        eventually(answers, what="web answers with what visits counted")
    finally:
        purged = run(
            [sys.executable, "-m", "reconciler.cli.main", "down", "--purge", "--state", str(line.state)],
            check=False,
            env=line.environment,
        )
    assert purged.returncode == 0, purged.stderr
