"""A plan before the fact, held against what then happens; and as a gate, with a real push."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.real.gitops.commands import ROOT, Commands, serving, until
from tests.real.gitops.repository import Repository
from tests.tidy.tree import text_of

pytestmark = pytest.mark.needs("git")

COMMITS = int(os.environ.get("PLANNED_COMMITS", "6"))
"""How many generated commits are planned and then made; more in the nightly run."""


def deployment(name: str, image: int, replicas: int = 1) -> str:
    return (
        f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  replicas: {replicas}\n"
        f"  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n"
        f'    spec: {{containers: [{{name: c, image: "examples.local/web:{image}"}}]}}\n'
    )


def config(name: str, value: int) -> str:
    return f'apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{value: "{value}"}}\n'


class World:
    def __init__(self, run: Commands, repository: Repository, origin: Path) -> None:
        self.run = run
        self.repository = repository
        self.origin = origin

    def planned(self, *words: str) -> tuple[int, set[tuple[str, str]]]:
        """The exit code, and the actions with their objects."""
        done = self.run("plan", "bootstrap", *words)
        assert "Traceback" not in done.err, done
        verbs = ("Create", "Update", "Prune", "Hold", "Refuse")
        cells = [line.split() for line in done.out.splitlines() if line.split()[:1] and line.split()[0] in verbs]
        return done.code, {(row[0], f"{row[1]} {row[2]}") for row in cells}

    def pushed(self) -> str:
        self.repository.git("push", "-q", "origin", "main")
        commit = self.repository.git("rev-parse", "HEAD")
        assert commit[:8] in self.run("sync", "bootstrap").out
        return commit

    def happened(self, commit: str) -> set[tuple[str, str]]:
        runs = orjson.loads(self.run("history", "bootstrap", "-o", "json").out)
        return {
            (action["action"], action["object"])
            for run in runs
            if run["spec"]["revision"] == commit
            for action in run["spec"].get("actions", ())
        }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    base = tmp_path_factory.mktemp("plan")
    origin = base / "origin.git"
    repository = Repository(base / "clone")
    repository.git("checkout", "-q", "-B", "main")
    repository.commit("Begin", {"web.yaml": deployment("web", 1), "map.yaml": config("map", 1)})
    subprocess.run(["git", "clone", "-q", "--bare", str(repository.path), str(origin)], check=True)
    repository.git("remote", "add", "origin", str(origin))
    state = base / "state"
    with serving(state, "--runtime", "simulated", "--source", str(origin)):
        run = Commands(state / "kubeconfig")
        until(lambda: run("status").code == 0, what="the first commit is deployed")
        yield World(run, repository, origin)


def test_what_a_plan_says_of_generated_commits_is_what_then_happens(world: World) -> None:
    chance = random.Random(20)
    place = str(world.repository.path)
    files = ("a.yaml", "b.yaml", "c.yaml")
    for number in range(COMMITS):
        for name in chance.sample(files, 2):
            target = world.repository.path / name
            if target.exists() and chance.random() < 0.4:
                target.unlink()
            else:
                made = chance.choice((deployment, config))
                target.write_text(made(name[0], chance.randrange(1000)))
        world.repository.commit(f"Commit {number}")
        _, planned = world.planned("--repository", place)
        assert planned == world.happened(world.pushed()), number
    assert world.planned("--repository", place) == (0, set())
    assert world.planned() == (0, set()), "the bare repository itself is read as well"


def test_a_plan_counts_restarts_and_shows_every_mistake_with_its_place(world: World) -> None:
    scaled = deployment("web", 2, replicas=3)
    world.repository.write({"web.yaml": scaled, "typo.yaml": deployment("typo", 1).replace("containers", "containerz")})
    done = world.run("plan", "bootstrap", "--repository", str(world.repository.path), "--working-tree")
    assert done.code == 2, done
    assert "restarts 1 pods" in done.out
    assert "containerz" in done.out
    assert "typo.yaml:1" in done.out
    (world.repository.path / "typo.yaml").unlink()
    world.repository.git("checkout", "-q", ".")


def test_the_documented_hook_lets_a_good_push_through_and_refuses_a_bad_one(world: World) -> None:
    page = text_of("docs/operations.md")
    script = page.split("```sh\n#!/bin/sh\n# Refuses a push")[1].split("```")[0]
    command = f"'{sys.executable}' -m reconciler.cli.main"
    hook = world.origin / "hooks" / "pre-receive"
    settings = f"export PYTHONPATH='{ROOT}' KUBECONFIG='{world.run.kubeconfig}'\n"
    hook.write_text(
        f"#!/bin/sh\n{settings}# Refuses a push{script}".replace("    reconciler plan", f"    {command} plan")
    )
    hook.chmod(0o755)
    before = world.repository.git("rev-parse", "HEAD")
    world.repository.commit("Bad", {"bad.yaml": deployment("bad", 1).replace("containers", "containerz")})
    push = subprocess.run(
        ["git", "push", "-q", "origin", "main"], cwd=world.repository.path, capture_output=True, text=True
    )
    assert push.returncode != 0
    assert "containerz" in push.stderr
    world.repository.git("reset", "-q", "--hard", before)
    world.repository.commit("Good", {"good.yaml": config("good", 1)})
    world.pushed()
    hook.unlink()
