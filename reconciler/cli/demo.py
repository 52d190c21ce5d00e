"""The examples as a Git repository of the user's own, with the image they run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from reconciler.cli.exit_codes import CommandError

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
    _git(repository, "init", "--quiet", "--initial-branch=main")
    _git(repository, "add", "--all")
    _git(repository, *_identity(repository), "commit", "--quiet", "--message", INITIAL_SUBJECT)
    return repository


def has_commits_of_the_user(repository: Path) -> bool:
    """Anything beyond what `make_repository` made: further commits or uncommitted files."""
    if not (repository / ".git").is_dir():
        return False
    count = _git(repository, "rev-list", "--count", "--all").strip()
    return count != "1" or bool(_git(repository, "status", "--porcelain").strip())


def make_image(state_dir: Path) -> bool:
    """Build the examples' image from this host's own Python unless the engine has it; True if it was made now."""
    if subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True).returncode == 0:
        return False
    finished = subprocess.run(
        [sys.executable, str(examples_directory() / "images" / "build"), IMAGE], capture_output=True, text=True
    )
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


def _identity(repository: Path) -> list[str]:
    """Git refuses to commit without a name; the user's own is used where there is one."""
    configured = subprocess.run(["git", "-C", str(repository), "config", "user.email"], capture_output=True)
    if configured.returncode == 0:
        return []
    user = os.environ.get("USER") or "operator"
    return ["-c", f"user.name={user}", "-c", f"user.email={user}@localhost"]


def _git(repository: Path, *words: str) -> str:
    finished = subprocess.run(["git", "-C", str(repository), *words], capture_output=True, text=True)
    if finished.returncode:
        raise CommandError(f"git {words[0]} failed in {repository}: {finished.stderr.strip()}")
    return finished.stdout
