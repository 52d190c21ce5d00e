"""Every example deploys, its containers simulated, and each directory of the tree is part of what was deployed."""

from __future__ import annotations

import shutil
from pathlib import Path

import orjson
import pytest

from tests.real.gitops.commands import Commands, serving, until
from tests.real.gitops.repository import Repository

pytestmark = pytest.mark.needs("git")

EXAMPLES = Path(__file__).resolve().parents[3] / "examples-repo" / "apps"


def test_every_example_becomes_healthy(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "examples")
    shutil.copytree(EXAMPLES, repository.path / "apps")
    commit = repository.commit("Deploy the examples")
    state = tmp_path / "state"
    options = ("--runtime", "simulated", "--source", str(repository.path), "--path", "apps")
    with serving(state, *options):
        run = Commands(state / "kubeconfig")
        until(lambda: run("status", "bootstrap").code == 0, what="every example is healthy")
        (application,) = orjson.loads(run("status", "-o", "json").out)
        assert application["status"]["revision"] == commit
        assert application["status"]["problems"] == []
        (deployed,) = orjson.loads(run("history", "bootstrap", "-o", "json").out)
    origins = [action["origin"] for action in deployed["spec"]["actions"]]
    examples = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())
    assert examples == sorted({origin.split("/")[1] for origin in origins})
    assert {action["action"] for action in deployed["spec"]["actions"]} == {"Create"}
