"""File events of a real repository: a moved branch is announced at once, the files of a folder together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.source import refs
from reconciler.source.watch import FileWatch
from tests.real.gitops.repository import Repository

pytestmark = pytest.mark.needs("git")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repo")
    made.commit("Begin", {"a.yaml": "a: 1\n"})
    return made


@pytest.fixture
def watch() -> Iterator[FileWatch]:
    made = FileWatch()
    yield made
    made.close()


async def test_a_commit_is_announced_once_its_branch_has_moved(repository: Repository, watch: FileWatch) -> None:
    layout = refs.layout_of(repository.path)
    moved: asyncio.Queue[str] = asyncio.Queue()
    git_dir = layout.git_dir

    def look() -> None:
        moved.put_nowait(refs.fingerprint_of(layout, "HEAD"))

    watch.add("r", (git_dir, git_dir / "refs" / "heads"), look, gather_s=0)
    commit = repository.commit("Change", {"a.yaml": "a: 2\n"})
    async with asyncio.timeout(10):
        while await moved.get() != commit:
            continue


async def test_events_within_the_gathering_time_are_one(repository: Repository, watch: FileWatch) -> None:
    calls: asyncio.Queue[None] = asyncio.Queue()
    folder = repository.path / "folder"
    folder.mkdir()
    watch.add("f", (folder,), lambda: calls.put_nowait(None), gather_s=0.5)
    for number in range(20):
        (folder / f"{number}.yaml").write_text("a: 1\n")
    async with asyncio.timeout(10):
        await calls.get()
    assert calls.empty()
