"""What `up` proposes to try fits what was deployed."""

from __future__ import annotations

import re
from pathlib import Path

from reconciler.cli.demo import examples_directory
from reconciler.cli.up import EXAMPLE, next_steps


def test_only_the_examples_are_edited_and_only_a_repository_is_reverted(tmp_path: Path) -> None:
    folder, repository, examples = tmp_path / "folder", tmp_path / "repository", tmp_path / "examples"
    for place in (folder, repository / ".git", examples / ".git", (examples / EXAMPLE).parent):
        place.mkdir(parents=True)
    (examples / EXAMPLE).touch()
    assert [len(re.findall("git", " ".join(next_steps(place, "reconciler")))) for place in (folder, repository)] == [
        0,
        1,
    ]
    assert f'sed -i \'s/Hello/Good day/; s/value: "1"/value: "2"/\' {EXAMPLE}' in next_steps(examples, "reconciler")[1]


def test_the_proposed_edit_finds_what_it_changes() -> None:
    text = (examples_directory() / EXAMPLE).read_text()
    assert "Hello" in text
    assert 'value: "1"' in text


def test_a_remote_is_only_looked_at() -> None:
    assert next_steps(Path("https://git.example.org/team/deploy.git"), "reconciler") == [
        "kubectl get pods,services -A",
        "reconciler status",
    ]
