"""Where a live field or a container comes from, asked of a served cluster whose containers are simulated."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.errors import StageError
from reconciler.source.annotate import annotate
from reconciler.source.command import Git
from tests.real.gitops.commands import Commands, serving, until
from tests.real.gitops.repository import Repository

pytestmark = pytest.mark.needs("git")

WEB = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data:
  greeting: Hello
  notice: |
    one
    two
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: "examples.local/web:1"
          ports:
            - containerPort: 80
"""


class World:
    def __init__(self, run: Commands, repository: Repository, first: str) -> None:
        self.run = run
        self.repository = repository
        self.first = first

    def rows(self, *words: str) -> dict[str, list[str]]:
        """The table's rows by their first cell."""
        done = self.run(*words)
        assert done.code == 0, done
        return {line.split()[0]: line.split() for line in done.out.splitlines()[1:]}

    def synced(self, commit: str) -> None:
        assert commit[:8] in self.run("sync", "bootstrap").out


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    base = tmp_path_factory.mktemp("answers")
    repository = Repository(base / "repository")
    first = repository.commit("Deploy web", {"web.yaml": WEB})
    state = base / "state"
    with serving(state, "--runtime", "simulated", "--source", str(repository.path)):
        run = Commands(state / "kubeconfig")
        until(lambda: run("status").code == 0, what="the first commit is deployed")
        yield World(run, repository, first)


def test_each_field_is_blamed_on_the_commit_that_wrote_its_line(world: World) -> None:
    second = world.repository.commit("Greet", {"web.yaml": WEB.replace("Hello", "Good day").replace("two", "three")})
    world.synced(second)
    rows = world.rows("blame", "configmap/web")
    assert rows["data.greeting"][1:4] == ["git", second[:8], "Ada"]
    assert rows["data.greeting"][-1] == "web.yaml:5"
    assert rows["data.notice"][2] == second[:8], "a line within a block of text is the field's"
    rows = world.rows("blame", "deploy/default/web", "spec.template.spec.containers[name=web]")
    assert rows['spec.template.spec.containers[name="web"].image'][1:4] == ["git", world.first[:8], "Ada"]
    assert rows['spec.template.spec.containers[name="web"].image'][-1] == "web.yaml:20"
    assert rows['spec.template.spec.containers[name="web"].imagePullPolicy'][1:] == ["server", "(default)"]
    port = rows['spec.template.spec.containers[name="web"].ports[containerPort=80,protocol="TCP"].containerPort']
    assert port[-1] == "web.yaml:22"


@pytest.mark.needs("kubectl")
def test_a_field_that_a_person_or_a_controller_set_is_blamed_on_them(world: World) -> None:
    kubectl = shutil.which("kubectl")
    assert kubectl
    environment = {**os.environ, "KUBECONFIG": str(world.run.kubeconfig)}
    subprocess.run(
        [kubectl, "scale", "deployment/web", "--replicas=2"], check=True, env=environment, capture_output=True
    )
    rows = world.rows("blame", "deployment/web", "spec.replicas")
    assert rows["spec.replicas"][1] == "person"
    assert rows["spec.replicas"][2].startswith("(kubectl")
    status = world.run("blame", "deployment/web", "status.replicas")
    assert "controller (" in status.out, status


def test_without_the_repository_the_objects_last_run_is_named(world: World, tmp_path: Path) -> None:
    done = world.run("blame", "cm/web", "data.greeting", "--repository", str(tmp_path / "absent"))
    assert "web.yaml:~1" in done.out, done
    assert "--repository" in done.err


async def test_a_hostile_repository_runs_nothing_when_its_lines_are_blamed(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "hostile")
    commit = repository.commit("Deploy", {"web.yaml": WEB})
    marker = tmp_path / "executed"
    for setting in ("diff.hostile.textconv", "core.fsmonitor", "core.pager", "diff.external"):
        repository.git("config", setting, f"touch {marker}; cat")
    (repository.path / ".git" / "info").mkdir(exist_ok=True)
    (repository.path / ".git" / "info" / "attributes").write_text("*.yaml diff=hostile filter=hostile\n")
    git = Git.prepare(tmp_path / "home")
    lines = await annotate(git, repository.path / ".git", commit, "web.yaml")
    assert [line.text for line in lines] == WEB.splitlines()
    assert not marker.exists()
    with pytest.raises(StageError):
        await annotate(git, repository.path / ".git", "--output=x", "web.yaml")


def test_what_is_not_there_is_said(world: World) -> None:
    assert "has no field spec.nothing" in world.run("blame", "deployment/web", "spec.nothing").err
    assert "does not serve a kind 'gadget'" in world.run("blame", "gadget/web").err
    assert world.run("blame", "web").code == 2


def test_a_deployment_is_traced_from_its_commit_to_a_ready_container(world: World) -> None:
    commit = world.repository.commit("Three", {"web.yaml": WEB.replace("spec:\n  sel", "spec:\n  replicas: 3\n  sel")})
    world.synced(commit)
    newer = world.repository.commit("Second image", {"web.yaml": WEB.replace("web:1", "web:2")})
    world.synced(newer)
    done = world.run("trace", "deployment/web")
    assert done.code == 0, done
    rows = done.out.splitlines()
    stages = ["committed", "seen", "planned", "applied", "ReplicaSet", "Pod", "bound", "started", "ready"]
    assert [next(stage for stage in stages if f"   {stage}" in row) for row in rows[1:]] == stages
    assert f'{newer[:8]} "Second image" by Ada (web.yaml:10)' in rows[1]
    assert "unknown" not in done.out
    pods = world.run("tree", "bootstrap").out
    (pod,) = [line.split()[-2] for line in pods.splitlines() if " Pod web-" in line][:1]
    line = world.run("why", f"pod/{pod}").out
    assert line.startswith(f'Pod default/{pod}: committed {newer[:8]} "Second image" by Ada (web.yaml:10)')
    assert len(line.splitlines()) == 1
    config = world.run("why", "configmap/web").out
    assert "-> applied" in config
    assert "Pod" not in config


def test_a_container_that_cannot_come_says_what_it_waits_for(world: World) -> None:
    greedy = WEB.replace("image: ", "resources: {requests: {cpu: 5000}}\n          image: ").replace("web}", "greedy}")
    world.repository.commit("Greedy", {"greedy.yaml": greedy})
    until(lambda: "not bound: Unschedulable" in world.run("why", "deployment/greedy").out, what="the pod is refused")
    done = world.run("trace", "deployment/greedy")
    assert done.code == 1
    assert "Insufficient cpu" in done.out
    tree = world.run("tree")
    assert tree.code == 1
    assert "ReplicaSet greedy-" in tree.out
    events = world.run("events", "bootstrap", "--warnings").out
    assert "FailedScheduling" in events
    assert "Normal" not in events
    (world.repository.path / "greedy.yaml").unlink()
    world.synced(world.repository.commit("Modest"))
