"""The examples become a repository of the user's own, which is never thrown away once it has work of theirs."""

from __future__ import annotations

import subprocess

import pytest

from reconciler.cli import demo

pytestmark = pytest.mark.needs("git")


@pytest.fixture(autouse=True)
def no_identity(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")


def git(repository, *words):
    return subprocess.run(["git", "-C", str(repository), *words], check=True, capture_output=True, text=True).stdout


def test_the_examples_are_committed_even_where_git_knows_no_name(tmp_path):
    repository = demo.make_repository(tmp_path)
    assert git(repository, "log", "--format=%s").strip() == demo.INITIAL_SUBJECT
    assert git(repository, "status", "--porcelain") == ""
    assert git(repository, "branch", "--show-current").strip() == "main"
    assert "apps/web/web.yaml" in git(repository, "ls-files")


def test_a_second_call_changes_nothing(tmp_path):
    repository = demo.make_repository(tmp_path)
    before = git(repository, "rev-parse", "HEAD")
    demo.make_repository(tmp_path)
    assert git(repository, "rev-parse", "HEAD") == before


def test_only_what_is_untouched_may_be_thrown_away(tmp_path):
    repository = demo.make_repository(tmp_path)
    assert not demo.has_commits_of_the_user(repository)
    (repository / "mine.yaml").write_text("a: b\n")
    assert demo.has_commits_of_the_user(repository)
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "mine")
    assert demo.has_commits_of_the_user(repository)
    assert not demo.has_commits_of_the_user(tmp_path / "absent")
