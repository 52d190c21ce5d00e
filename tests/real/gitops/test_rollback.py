"""A rollback in a clone while the server is down: the commit is pushed, one path is taken back, the rest stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.real.gitops.commands import Commands
from tests.real.gitops.repository import Repository

pytestmark = pytest.mark.needs("git")


@pytest.fixture
def run(tmp_path: Path) -> Commands:
    """No cluster answers there."""
    return Commands(tmp_path / "no-kubeconfig")


@pytest.fixture
def clone(tmp_path: Path) -> Repository:
    """With a bare repository as its remote: shop/deep/a is at 2, and so is other/b."""
    made = Repository(tmp_path / "clone")
    made.git("config", "user.name", "Grace")
    made.git("config", "user.email", "grace@example.com")
    made.git("init", "-q", "--bare", "-b", "main", str(tmp_path / "remote.git"))
    made.git("remote", "add", "origin", str(tmp_path / "remote.git"))
    made.commit("one", {"shop/deep/a": "1", "shop/deep/c": "1", "other/b": "1"})
    made.commit("two", {"shop/deep/a": "2", "other/b": "2"})
    made.commit("three", {"other/b": "3"})
    made.git("push", "-q", "-u", "origin", "main")
    return made


def test_without_a_server_the_last_change_of_the_path_is_taken_back_and_pushed(
    run: Commands, clone: Repository
) -> None:
    done = run("rollback", "shop", "--repository", str(clone.path), "--directory", "shop/deep")
    assert done.code == 0, done
    pushed = clone.git("ls-remote", "origin", "refs/heads/main").split()[0]
    assert pushed == clone.git("rev-parse", "HEAD")
    assert clone.git("diff", "--name-only", "HEAD~1", "HEAD") == "shop/deep/a"
    assert (clone.path / "shop" / "deep" / "a").read_text() == "1"
    assert clone.git("status", "--porcelain") == ""


def test_what_a_commit_brought_is_gone_and_what_it_removed_is_back(run: Commands, clone: Repository) -> None:
    good = clone.git("rev-parse", "HEAD")
    (clone.path / "shop" / "deep" / "c").unlink()
    clone.commit("four", {"shop/deep/new": "1"})
    clone.git("push", "-q", "origin", "main")
    assert run("rollback", "shop", "--repository", str(clone.path), "--directory", "shop", "--to", good).code == 0
    assert clone.git("rev-parse", "HEAD^{tree}") == clone.git("rev-parse", f"{good}^{{tree}}")


def test_a_path_that_was_not_there_is_removed_with_nothing_else(run: Commands, clone: Repository) -> None:
    good = clone.git("rev-parse", "HEAD")
    clone.commit("four", {"shop/later/x": "1"})
    clone.git("push", "-q", "origin", "main")
    assert run("rollback", "x", "--repository", str(clone.path), "--directory", "shop/later", "--to", good).code == 0
    assert clone.git("ls-tree", "-r", "--name-only", "HEAD").split() == ["other/b", "shop/deep/a", "shop/deep/c"]


def test_a_clone_that_is_behind_rolls_back_what_the_remote_has(
    run: Commands, clone: Repository, tmp_path: Path
) -> None:
    clone.git("clone", "-q", str(tmp_path / "remote.git"), str(tmp_path / "other"))
    other = Repository(tmp_path / "other")
    newer = other.commit("four", {"shop/deep/a": "4"})
    other.git("push", "-q", "origin", "main")
    assert run("rollback", "x", "--repository", str(clone.path), "--directory", "shop").code == 0
    assert clone.git("rev-parse", "HEAD~1") == newer
    assert (clone.path / "shop" / "deep" / "a").read_text() == "2"


def test_without_a_server_the_path_must_be_said(run: Commands, clone: Repository) -> None:
    done = run("rollback", "shop", "--repository", str(clone.path))
    assert (done.code, "--directory" in done.err) == (3, True)
