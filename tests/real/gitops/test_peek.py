"""A poll of an https remote at rest starts no process; a moved branch and a server of another kind are left to git."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from reconciler.source.command import Credentials, Git, no_credentials
from reconciler.source.git import GitRef, RemoteRepository
from reconciler.source.peek import Peek
from tests.real.gitops.https_remote import https_remote
from tests.real.gitops.repository import Repository

pytestmark = pytest.mark.needs("git")


@dataclass(frozen=True, slots=True)
class CountingGit(Git):
    runs: list[Sequence[str]] = field(default_factory=list)

    async def run(self, *arguments: str, **options: Any) -> tuple[int, bytes]:
        self.runs.append(arguments)
        return await Git.run(self, *arguments, **options)


async def test_a_poll_without_news_starts_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository(tmp_path / "repository")
    first = repository.commit("Begin", {"a.yaml": "a: 1\n"})
    plain = Git.prepare(tmp_path / "home")
    git = CountingGit(plain.program, plain.home)
    with https_remote(repository.path, tmp_path, git) as url:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.crt"))
        remote = RemoteRepository(
            git, url, GitRef(branch="main"), cache=tmp_path / "mirrors", credentials=no_credentials, timeout_s=20
        )
        try:
            assert (await remote.head()).id == first
            before = len(git.runs)
            assert (await remote.head()).id == first
            assert len(git.runs) == before
            second = repository.commit("Change", {"a.yaml": "a: 2\n"})
            assert (await remote.head()).id == second
            assert len(git.runs) > before
        finally:
            await remote.close()


async def test_a_server_whose_certificate_is_not_trusted_tells_nothing(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    repository.commit("Begin", {"a.yaml": "a: 1\n"})
    with https_remote(repository.path, tmp_path, Git.prepare(tmp_path / "home")) as url:
        peek = Peek(url, timeout_s=20)
        try:
            assert await peek.commit("HEAD", Credentials()) == ""
        finally:
            await peek.close()
