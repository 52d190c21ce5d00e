"""The mirror of a remote: asked before fetched, followed through rewrites, replaced when damaged.

The remote is reached by path here, which only this test's git allows.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reconciler.errors import Fault, StageError
from reconciler.source.command import Credentials, Git, no_credentials
from reconciler.source.git import GitRef, RemoteRepository
from tests.real.gitops.repository import Repository

pytestmark = pytest.mark.needs("git")


class LocalGit(Git):
    """Git that may also reach other repositories of this host."""

    def environment(self, credentials: Credentials, *, network: bool) -> dict[str, str]:
        allowed = {"GIT_ALLOW_PROTOCOL": "file"} if network else {}
        return Git.environment(self, credentials, network=network) | allowed


@pytest.fixture
def origin(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "origin")


def remote(origin: Repository, tmp_path: Path, ref: GitRef | None = None) -> RemoteRepository:
    return RemoteRepository(
        LocalGit.prepare(tmp_path / "home"),
        str(origin.path),
        ref or GitRef(),
        cache=tmp_path / "cache",
        credentials=no_credentials,
        timeout_s=20,
    )


@pytest.fixture
async def source(origin: Repository, tmp_path: Path) -> AsyncIterator[RemoteRepository]:
    made = remote(origin, tmp_path)
    yield made
    await made.close()


async def test_each_commit_of_the_remote_is_seen_and_read(origin: Repository, source: RemoteRepository) -> None:
    first = origin.commit("one", {"a.yaml": "a: 1\n"})
    assert (await source.head()).id == first
    second = origin.commit("two", {"a.yaml": "a: 2\n"})
    head = await source.head()
    assert (head.id, head.subject) == (second, "two")
    (file,) = (await source.tree(head, "")).files
    assert await source.read([file.blob]) == {file.blob: b"a: 2\n"}
    assert await source.follows(head, first)


async def test_a_rewritten_branch_is_followed_and_known_as_rewritten(
    origin: Repository, source: RemoteRepository
) -> None:
    origin.commit("base")
    lost = origin.commit("one")
    await source.head()
    origin.git("reset", "-q", "--hard", "HEAD~1")
    other = origin.commit("other")
    head = await source.head()
    assert head.id == other
    assert not await source.follows(head, lost)


async def test_an_annotated_tag_and_a_commit_are_fetched(origin: Repository, tmp_path: Path) -> None:
    first = origin.commit("one")
    origin.git("tag", "-a", "v1", "-m", "version one")
    origin.commit("two")
    for ref in (GitRef(tag="v1"), GitRef(commit=first)):
        source = remote(origin, tmp_path, ref)
        assert (await source.head()).id == first
        await source.close()


async def test_a_damaged_mirror_is_replaced(origin: Repository, source: RemoteRepository, tmp_path: Path) -> None:
    origin.commit("one", {"a.yaml": "a: 1\n"})
    await source.head()
    (mirror,) = (tmp_path / "cache").iterdir()
    for path in (mirror / "objects").rglob("*"):
        if path.is_file():
            path.chmod(0o600)
            path.write_bytes(b"broken")
    second = origin.commit("two", {"a.yaml": "a: 2\n"})
    assert (await source.head()).id == second


async def test_a_remote_that_is_gone_is_a_network_fault_worth_a_retry(
    origin: Repository, source: RemoteRepository
) -> None:
    origin.commit("one")
    shutil.rmtree(origin.path)
    with pytest.raises(StageError) as caught:
        await source.head()
    assert (caught.value.fault, caught.value.retryable) == (Fault.NETWORK, True)


async def test_a_branch_that_does_not_exist_is_said_so(origin: Repository, tmp_path: Path) -> None:
    origin.commit("one")
    source = remote(origin, tmp_path, GitRef(branch="absent"))
    with pytest.raises(StageError, match="no refs/heads/absent"):
        await source.head()
