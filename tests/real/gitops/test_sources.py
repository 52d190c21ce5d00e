"""Sources against real git repositories and real folders."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reconciler.content import TooLarge
from reconciler.errors import StageError
from reconciler.source.command import Git, no_credentials
from reconciler.source.folder import Folder
from reconciler.source.git import GitRef, LocalRepository, RemoteRepository
from tests.real.gitops.repository import Repository

pytestmark = pytest.mark.needs("git")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repo")


@pytest.fixture
def git(tmp_path: Path) -> Git:
    return Git.prepare(tmp_path / "home")


@pytest.fixture
async def local(repository: Repository, git: Git) -> AsyncIterator[LocalRepository]:
    source = LocalRepository(git, repository.path, GitRef())
    yield source
    await source.close()


async def test_a_commit_says_who_what_and_when(repository: Repository, local: LocalRepository) -> None:
    commit = repository.commit("Add a page\n\nwith reasons", {"a.yaml": "a: 1\n"})
    head = await local.head()
    assert (head.id, head.author, head.subject) == (commit, "Ada <ada@example.com>", "Add a page")
    assert head.committed_at[:2] == "20"


async def test_files_are_found_by_path_and_read_by_id(repository: Repository, local: LocalRepository) -> None:
    repository.commit("x", {"apps/a.yaml": "a: 1\n", "apps/deep/b.yaml": "b: 2\n", "other.yaml": "c: 3\n"})
    tree = await local.tree(await local.head(), "apps")
    assert [file.path for file in tree.files] == ["apps/a.yaml", "apps/deep/b.yaml"]
    contents = await local.read([file.blob for file in tree.files])
    assert list(contents.values()) == [b"a: 1\n", b"b: 2\n"]
    (single,) = (await local.tree(await local.head(), "other.yaml")).files
    assert single.path == "other.yaml"


async def test_a_link_is_named_and_not_followed(repository: Repository, local: LocalRepository) -> None:
    (repository.path / "leak.yaml").symlink_to("/etc/passwd")
    repository.commit("x", {"a.yaml": "a: 1\n"})
    tree = await local.tree(await local.head(), "")
    assert ([file.path for file in tree.files], list(tree.skipped)) == (["a.yaml"], ["leak.yaml"])


async def test_a_work_tree_that_was_not_committed_changes_nothing(
    repository: Repository, local: LocalRepository
) -> None:
    repository.commit("x", {"a.yaml": "a: 1\n"})
    before = local.fingerprint()
    repository.write({"a.yaml": "a: 2\n"})
    (file,) = (await local.tree(await local.head(), "")).files
    assert await local.read([file.blob]) == {file.blob: b"a: 1\n"}
    assert local.fingerprint() == before


async def test_the_fingerprint_changes_with_each_commit_also_when_refs_are_packed(
    repository: Repository, local: LocalRepository
) -> None:
    repository.commit("x", {"a.yaml": "a: 1\n"})
    first = local.fingerprint()
    repository.git("pack-refs", "--all")
    assert local.fingerprint() == first
    repository.commit("y", {"a.yaml": "a: 2\n"})
    assert local.fingerprint() != first


async def test_descent_is_told_from_a_rewritten_history(repository: Repository, local: LocalRepository) -> None:
    first = repository.commit("one")
    second = repository.commit("two")
    assert await local.follows(await local.head(), first)
    repository.git("reset", "-q", "--hard", first)
    repository.commit("another two")
    assert not await local.follows(await local.head(), second)
    assert not await local.follows(await local.head(), "f" * 40)


async def test_a_branch_a_tag_and_a_commit_can_be_followed(repository: Repository, git: Git) -> None:
    first = repository.commit("one")
    repository.git("tag", "-a", "v1", "-m", "version one")
    repository.git("branch", "release")
    second = repository.commit("two")
    wanted = {GitRef(branch="release"): "one", GitRef(tag="v1"): "one", GitRef(commit=first): "one", GitRef(): "two"}
    for ref, subject in wanted.items():
        source = LocalRepository(git, repository.path, ref)
        assert (await source.head()).subject == subject
        await source.close()
    assert second != first


async def test_an_oversized_file_is_reported_and_others_are_read(
    repository: Repository, local: LocalRepository
) -> None:
    repository.commit("x", {"a.yaml": "a: 1\n", "big.yaml": "x" * (5 * 1024 * 1024)})
    tree = await local.tree(await local.head(), "")
    contents = await local.read([file.blob for file in tree.files])
    assert [isinstance(data, TooLarge) for data in contents.values()] == [False, True]


async def test_a_reader_whose_process_was_killed_goes_on(repository: Repository, local: LocalRepository) -> None:
    repository.commit("x", {"a.yaml": "a: 1\n"})
    head = await local.head()
    child = local._reader._child
    assert child is not None
    child.kill()
    await child.wait()
    assert (await local.head()) == head


async def test_a_repository_of_another_user_is_read(repository: Repository, local: LocalRepository) -> None:
    commit = repository.commit("x")
    if os.geteuid() == 0:
        for path in (repository.path, *repository.path.rglob("*")):
            os.chown(path, 12345, 12345, follow_symlinks=False)
    assert (await local.head()).id == commit


async def test_a_remote_over_a_forbidden_protocol_is_refused_by_git_too(git: Git, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    source = RemoteRepository(
        git, f"ext::touch {marker}", GitRef(), cache=tmp_path / "cache", credentials=no_credentials, timeout_s=10
    )
    with pytest.raises(StageError, match="ls-remote failed"):
        await source.head()
    assert not marker.exists()


async def test_a_hostile_configuration_of_a_local_repository_runs_nothing(
    repository: Repository, local: LocalRepository, tmp_path: Path
) -> None:
    marker = tmp_path / "executed"
    for setting in ("core.fsmonitor", "core.sshCommand", "core.pager", "diff.external", "core.askPass"):
        repository.git("config", setting, f"touch {marker}")
    repository.git("config", "remote.origin.url", f"ext::touch {marker}")
    repository.git("config", "remote.origin.promisor", "true")
    repository.git("config", "extensions.partialClone", "origin")
    with (repository.path / ".git" / "config").open("a") as config:
        config.write("[core]\n\trepositoryformatversion = 1\n")
    (repository.path / ".git" / "refs" / "heads" / "main").write_text("a" * 40 + "\n")
    with pytest.raises(StageError):
        await local.head()
    assert not marker.exists()


async def test_a_folder_is_its_content(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.yaml").write_text("a: 1\n")
    (tmp_path / "sub" / "b.yaml").write_text("b: 1\n")
    (tmp_path / ".hidden.yaml").write_text("x: 1\n")
    (tmp_path / "link.yaml").symlink_to("/etc/passwd")
    folder = Folder(tmp_path)
    first = await folder.head()
    tree = await folder.tree(first, "")
    assert [file.path for file in tree.files] == ["a.yaml", "sub/b.yaml"]
    assert list(tree.skipped) == ["link.yaml"]
    (tmp_path / "a.yaml").write_text("a: 2\n")
    second = await folder.head()
    assert second.id != first.id
    (tmp_path / "a.yaml").write_text("a: 1\n")
    assert (await folder.head()).id == first.id


async def test_a_folder_that_changes_while_it_is_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: 1\n")
    folder = Folder(tmp_path)
    (file,) = (await folder.tree(await folder.head(), "")).files
    (tmp_path / "a.yaml").write_text("a: 2\n")
    with pytest.raises(StageError, match="being written") as caught:
        await folder.read([file.blob])
    assert caught.value.retryable


async def test_what_editors_write_on_the_way_is_no_content(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: 1\n")
    folder = Folder(tmp_path)
    before = (await folder.head(), folder.fingerprint())
    for name in (".a.yaml.swp", "a.yaml~", "#a.yaml#", "4913", "sedAb12xY", "a.yaml.tmp", "a.yaml___jb_tmp___"):
        (tmp_path / name).write_text("a: 2\n")
    assert (await folder.head(), folder.fingerprint()) == before
    for name in ("sedative.yaml", "orig.yaml", "4913.yaml"):
        (tmp_path / name).write_text("a: 3\n")
    after = await folder.tree(await folder.head(), "")
    assert [file.path for file in after.files] == ["4913.yaml", "a.yaml", "orig.yaml", "sedative.yaml"]
