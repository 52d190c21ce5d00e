"""The commands against a served cluster whose containers are simulated: what they print and how they end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.gitops.commands import Commands, Outcome, serving, until
from tests.real.gitops.repository import Repository

pytestmark = pytest.mark.needs("git")

WEB = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data: {greeting: Hello}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "examples.local/web:1"}]}
---
apiVersion: v1
kind: Secret
metadata: {name: web}
stringData: {password: correct-horse}
"""

BROKEN = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: one
  name: two
"""

MISTAKEN = """\
kind: ConfigMap
metadata: {name: x}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: mistaken}
spec:
  selector: {matchLabels: {app: mistaken}}
  template:
    metadata: {labels: {app: mistaken}}
    spec: {containerz: []}
"""


class World:
    def __init__(self, run: Commands, repository: Repository, base: Path) -> None:
        self.run = run
        self.repository = repository
        self.base = base

    def synced(self, commit: str) -> Outcome:
        done = self.run("sync", "bootstrap")
        assert commit[:8] in done.out, done
        return done


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    base = tmp_path_factory.mktemp("commands")
    repository = Repository(base / "repository")
    repository.commit("Deploy web", {"web.yaml": WEB})
    state = base / "state"
    with serving(state, "--runtime", "simulated", "--source", str(repository.path)):
        run = Commands(state / "kubeconfig")
        until(lambda: run("status").code == 0, what="the first commit is deployed")
        yield World(run, repository, base)


def test_status_tells_which_commit_runs_and_exits_0_when_all_is_well(world: World) -> None:
    commit = world.repository.commit("Greet politely", {"web.yaml": WEB.replace("Hello", "Good day")})
    assert world.synced(commit).code == 0
    done = world.run("status", "bootstrap")
    assert done.code == 0
    header, row = done.out.splitlines()
    assert header.split() == ["NAMESPACE", "NAME", "SYNC", "HEALTH", "REVISION", "AUTHOR", "SUBJECT", "SYNCED"]
    assert row.split()[:8] == [
        "reconciler-system", "bootstrap", "Synced", "Healthy", commit[:8], "Ada", "Greet", "politely",
    ]  # fmt: skip


def test_every_mistake_is_shown_with_its_file_and_line_at_once(world: World) -> None:
    broken = world.repository.commit("Break it", {"bad.yaml": BROKEN, "typo.yaml": MISTAKEN})
    synced = world.synced(broken)
    assert synced.code == 1
    done = world.run("status")
    assert done.code == 1
    _, _, _, head, *problems = done.out.splitlines()
    assert head == f"reconciler-system/bootstrap at {broken[:8]}: Failed:"
    assert [problem.split(": ")[0].strip() for problem in problems] == ["bad.yaml:5", "typo.yaml:1", "typo.yaml:4"]
    assert "duplicate key 'name'" in problems[0]
    assert "containerz" in problems[2]
    newest = world.run("history", "bootstrap", "latest").out
    assert all(problem.strip() in newest for problem in problems)
    for name in ("bad.yaml", "typo.yaml"):
        (world.repository.path / name).unlink()
    assert world.synced(world.repository.commit("Repair it")).code == 0


def test_history_names_the_commit_the_author_and_what_changed(world: World) -> None:
    commit = world.repository.commit("Add a map", {"map.yaml": WEB.split("---")[0].replace("web", "map")})
    world.synced(commit)
    done = world.run("history", "bootstrap")
    assert done.code == 0
    # The request itself may be on record too: the commit is applied before or because of it.
    (row,) = [line for line in done.out.splitlines() if "Add a map" in line and "+1" in line]
    assert all(word in row for word in (commit[:8], "Ada", "Succeeded"))
    details = world.run("history", "bootstrap", row.split()[0]).out
    assert "Create   ConfigMap default/map   declared   map.yaml:1" in details


def test_diff_exits_0_without_a_difference_1_with_one_and_2_when_it_cannot_tell(world: World) -> None:
    world.synced(world.repository.commit("Begin again", {"web.yaml": WEB}))
    folder = str(world.repository.path)
    same = world.run("diff", folder)
    assert (same.code, same.out) == (0, "")
    world.repository.write({"web.yaml": WEB.replace("Hello", "Bye").replace("correct", "battery")})
    other = world.run("diff", folder)
    assert other.code == 1
    assert "-  greeting: Hello\n+  greeting: Bye" in other.out
    assert "horse" not in other.out
    assert 'password: "*** (' in other.out
    world.repository.write({"typo.yaml": MISTAKEN})
    unknown = world.run("diff", folder)
    assert unknown.code == 2
    assert "typo.yaml:1: apiVersion is missing" in unknown.err
    assert "typo.yaml:4: Deployment.apps default/mistaken:" in unknown.err
    absent = world.run("diff", str(world.base / "absent"))
    assert (absent.code, absent.out) == (2, "")
    assert "No such file or directory" in absent.err
    assert "Traceback" not in absent.err
    (world.repository.path / "typo.yaml").unlink()
    world.repository.git("checkout", "-q", ".")


def test_diff_of_a_ref_sees_the_commit_and_not_the_files(world: World) -> None:
    world.synced(world.repository.commit("Begin", {"web.yaml": WEB}))
    commit = world.repository.commit("Say bye", {"web.yaml": WEB.replace("Hello", "Bye")})
    world.synced(commit)
    folder = str(world.repository.path)
    world.repository.write({"web.yaml": "not: yaml: at all"})
    assert world.run("diff", folder, "--ref", "main").code == 0
    before = world.run("diff", folder, "--ref", "HEAD~1")
    assert before.code == 1
    assert "-  greeting: Bye\n+  greeting: Hello" in before.out
    absent = world.run("diff", folder, "--ref", "no-such-branch")
    assert absent.code == 2
    assert "no commit 'no-such-branch'" in absent.err
    world.repository.git("checkout", "-q", ".")


def test_a_suspended_application_is_left_alone_until_it_is_resumed(world: World) -> None:
    commit = world.repository.commit("Begin", {"web.yaml": WEB})
    world.synced(commit)
    said = world.run("suspend", "bootstrap", "--for", "2h", "--reason", "the database moves").out
    assert said.startswith("reconciler-system/bootstrap suspended by ")
    assert said.endswith("Z: the database moves\n")
    until(lambda: said.split(" ", 1)[1].strip() in world.run("status").out, what="the status says so")
    later = world.repository.commit("Later", {"web.yaml": WEB.replace("Hello", "Later")})
    asked = world.run("sync", "bootstrap")
    assert asked.code == 1
    assert later[:8] not in asked.out.splitlines()[1]
    assert world.run("resume", "bootstrap").out == "reconciler-system/bootstrap resumed\n"
    until(lambda: later[:8] in world.run("status").out and world.run("status").code == 0, what="the later commit")


def test_an_unknown_application_and_an_absent_cluster_are_told_in_words(world: World, tmp_path: Path) -> None:
    unknown = world.run("status", "nothing")
    assert unknown.code == 3
    assert unknown.err.splitlines() == [
        "reconciler: there is no application nothing",
        "  known applications: reconciler-system/bootstrap",
    ]
    absent = Commands(tmp_path / "absent")("status")
    assert absent.code == 3
    assert "No such file" in absent.err
    assert "reconciler up" in absent.err


def test_serve_refuses_what_does_not_fit_together(world: World, tmp_path: Path) -> None:
    kubeconfig = str(world.run.kubeconfig)
    running = world.run("serve", "--state", str(world.base / "state"), "--kubeconfig", kubeconfig)
    assert (running.code, "another daemon runs" in running.err) == (3, True)
    state = str(tmp_path / "state")
    assert world.run("serve", "--state", state, "--context", "x").code == 2
    wrong = world.run("serve", "--state", state, "--kubeconfig", kubeconfig, "--context", "x")
    assert (wrong.code, "no context named 'x'" in wrong.err) == (2, True)


def test_a_rollback_is_a_commit_and_the_daemon_stays_on(world: World) -> None:
    world.repository.git("config", "user.name", "Grace")
    world.repository.git("config", "user.email", "grace@example.com")
    good = world.repository.commit("Good", {"web.yaml": WEB.replace("Hello", "Good morning")})
    assert world.synced(good).code == 0
    bad = world.repository.commit("Bad", {"web.yaml": WEB.replace("Hello", "Go away")})
    assert world.synced(bad).code == 0
    done = world.run("rollback", "bootstrap", "-m", "People complained")
    assert done.code == 0, done
    head = world.repository.git("rev-parse", "HEAD")
    assert done.out.splitlines() == [
        f"reconciler-system/bootstrap goes back to {good[:8]} Good",
        f"commit {head[:8]} made on main",
    ]
    assert "Good morning" in (world.repository.path / "web.yaml").read_text()
    assert world.repository.git("log", "-1", "--format=%an|%s|%b").splitlines()[0] == (
        'Grace|Roll back "Bad" for reconciler-system/bootstrap|People complained'
    )
    assert world.synced(head).code == 0
    again = world.run("rollback", "bootstrap", "--to", good)
    assert (again.code, again.err) == (3, f"reconciler: the repository is already as it was at {good[:8]}\n")
