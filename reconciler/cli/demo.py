"""The examples as a Git repository of the user's own, with the image they run.

Only paths that we chose ourselves reach GitPython here, never text from a repository or the network.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.exit_codes import CommandError

if TYPE_CHECKING:
    from git import Repo

IMAGE = "examples.local/web:1"
RECORD = "examples.json"
INITIAL_SUBJECT = "Deploy the examples"


def examples_directory() -> Path:
    return Path(__file__).resolve().parents[2] / "examples-repo"


def make_repository(state_dir: Path) -> Path:
    """The user's copy of the examples, committed; an existing one is left as it is."""
    repository = state_dir / "repository"
    if (repository / ".git").is_dir():
        return repository
    source = examples_directory()
    if not source.is_dir():
        raise CommandError(
            "this installation has no examples", hint="name a Git repository or a folder: reconciler up SOURCE"
        )
    shutil.copytree(source, repository, dirs_exist_ok=True)
    from git import Repo  # a fifth of a second: only who makes or purges a repository pays

    with Repo.init(repository, initial_branch="main") as made:
        made.git.add(all=True)
        _ensure_identity(made)
        made.index.commit(INITIAL_SUBJECT)
    return repository


def has_commits_of_the_user(repository: Path) -> bool:
    """Anything beyond what `make_repository` made: further commits or uncommitted files."""
    if not (repository / ".git").is_dir():
        return False
    from git import Repo

    with Repo(repository) as found:
        count = sum(1 for _ in found.iter_commits(all=True, max_count=2))
        return count != 1 or found.is_dirty(untracked_files=True)


def make_image(state_dir: Path, *, sudo: bool) -> bool:
    """Build the examples' image from this host's own Python unless the engine has it; True if it was made now."""
    before = ["sudo", "--"] if sudo else []
    if subprocess.run([*before, "docker", "image", "inspect", IMAGE], capture_output=True).returncode == 0:
        return False
    build = examples_directory() / "images" / "build"
    finished = subprocess.run([*before, sys.executable, str(build), IMAGE], capture_output=True, text=True)
    if finished.returncode:
        raise CommandError(f"the examples' image could not be made: {finished.stderr.strip()}")
    (state_dir / RECORD).write_text(json.dumps({"image": IMAGE}))
    return True


def remove_image(state_dir: Path) -> None:
    """Remove the image that `make_image` made, if it did."""
    record = state_dir / RECORD
    if record.exists():
        subprocess.run(["docker", "image", "rm", json.loads(record.read_text())["image"]], capture_output=True)
        record.unlink()


def _ensure_identity(repository: Repo) -> None:
    """Git wants a name for a commit; where the user has configured none, this repository gets one."""
    with repository.config_reader() as reader:
        if reader.get_value("user", "email", default=""):
            return
    user = os.environ.get("USER") or "operator"
    with repository.config_writer() as writer:
        writer.set_value("user", "name", user)
        writer.set_value("user", "email", f"{user}@localhost")
