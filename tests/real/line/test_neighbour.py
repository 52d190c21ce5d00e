"""A good neighbour: what was on the host before is untouched, and after a purge nothing of ours is left."""

from __future__ import annotations

import sys

import pytest

from tests.real.line.conftest import IMAGE, WEB, Line, eventually, git, host_state, make_image, run

pytestmark = pytest.mark.needs("docker", "root", "kubectl", "nft", "git", "ip")


@pytest.fixture
def neighbour():
    """A container of somebody else with a published port."""
    make_image()
    name = "line-neighbour"
    id_ = run(["docker", "run", "-d", "--name", name, "-p", "127.0.0.1:30999:8080", IMAGE, "web"]).stdout.strip()
    yield id_
    run(["docker", "rm", "-f", name])


def test_up_and_purge_leave_the_host_as_it_was(tmp_path, neighbour):
    repository = tmp_path / "repository"
    repository.mkdir()
    taken = WEB.replace(
        "{name: http, port: 80, targetPort: http}", "{name: http, port: 80, targetPort: http, nodePort: 30999}", 1
    )
    (repository / "web.yaml").write_text(WEB)
    run(["git", "init", "-q", "-b", "main", str(repository)])
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "Deploy web")
    before = host_state()
    started = run(["docker", "inspect", "-f", "{{.State.StartedAt}}", neighbour]).stdout
    line = Line(tmp_path / "state", repository, {})
    try:
        line.up()
        assert line.containers()
        # A port that somebody already listens on is refused by name, not taken.
        (repository / "web.yaml").write_text(taken)
        git(repository, "commit", "-qam", "Take a port")
        eventually(
            lambda: "30999" in line.reconciler("status", check=False).stdout, what="the refused port in the status"
        )
    finally:
        purged = run(
            [sys.executable, "-m", "reconciler.cli.main", "down", "--purge", "--state", str(line.state)],
            check=False,
            env=line.environment,
        )
    assert purged.returncode == 0, purged.stderr
    assert not line.state.exists()
    assert run(["docker", "inspect", "-f", "{{.State.StartedAt}}", neighbour]).stdout == started
    assert host_state() == before
