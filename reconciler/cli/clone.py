"""A person's own clone of a repository: their git with their configuration, identity, credentials and hooks.

The daemon never uses this: what it reads is run by `source.command` with nothing of the host's configuration.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from reconciler.cli.exit_codes import CommandError
from reconciler.source.going_back import Person


@dataclass(frozen=True, slots=True)
class Clone:
    """A work tree or bare repository at `directory`."""

    directory: Path

    def git(self, *arguments: str) -> str:
        """Raises CommandError with git's own words."""
        done = self._run(*arguments)
        if done.returncode:
            said = (done.stderr or done.stdout).strip()
            raise CommandError(f"git {arguments[0]}: {said or f'exit code {done.returncode}'}")
        return done.stdout.strip()

    def asks(self, *arguments: str) -> str:
        """As `git`, but a failure is the empty answer."""
        done = self._run(*arguments)
        return "" if done.returncode else done.stdout.strip()

    @property
    def common_dir(self) -> Path:
        return Path(self.git("rev-parse", "--path-format=absolute", "--git-common-dir"))

    @property
    def is_bare(self) -> bool:
        return self.git("rev-parse", "--is-bare-repository") == "true"

    def person(self) -> Person:
        name, _, rest = self.git("var", "GIT_COMMITTER_IDENT").partition(" <")
        return Person(name, rest.partition(">")[0])

    def commit_of(self, name: str) -> str:
        """The full id.  Raises CommandError when there is no such commit."""
        found = self.asks("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        if not found:
            raise CommandError(f"the repository {self.directory} has no commit {name}", hint="is the clone up to date?")
        return found

    def remote_of(self, url: str) -> str:
        """The remote with this address; empty when none has it."""
        for name in self.git("remote").splitlines():
            if _same(self.asks("remote", "get-url", name), url):
                return name
        return ""

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                ["git", *arguments],
                cwd=self.directory,
                env={**os.environ, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
        except FileNotFoundError as error:
            raise CommandError("git is not installed, or the directory does not exist") from error


def clone_at(directory: Path) -> Clone:
    """Raises CommandError when there is no repository."""
    clone = Clone(directory)
    if not directory.is_dir() or not clone.asks("rev-parse", "--git-dir"):
        raise CommandError(f"{directory} is no Git repository", hint="name a clone with --repository")
    return clone


def _same(ours: str, theirs: str) -> bool:
    return bool(ours) and ours.removesuffix("/").removesuffix(".git") == theirs.removesuffix("/").removesuffix(".git")
