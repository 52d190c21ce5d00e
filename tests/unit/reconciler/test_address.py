"""What may be asked of git, and what is refused before git sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.errors import StageError
from reconciler.source.address import checked_commit, checked_directory, checked_path, checked_ref, checked_url


@pytest.mark.parametrize(
    "url",
    ["https://example.com/a/b.git", "ssh://git@example.com:2222/a/b", "git@example.com:team/repo.git"],
)
def test_addresses_people_use_pass(url: str) -> None:
    assert checked_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "--upload-pack=touch /tmp/x",
        "ext::sh -c whoami",
        "file:///etc",
        "git://example.com/a",
        "http://example.com/a",
        "https://user:secret@example.com/a",
        "https://token@example.com/a",
        "https://-oProxyCommand=x/a",
        "ssh://-oProxyCommand=x/a",
        "https://example.com/$HOME",
        "https://example.com/a/../../b",
        "https://example.com/a?x=y",
        "git@-oProxyCommand=x:a",
        "https://example.com/a\n--x",
        "/etc/passwd",
        "",
    ],
)
def test_addresses_that_could_be_more_are_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(StageError) as caught:
        checked_url(url)
    assert "secret" not in str(caught.value) or "Secret" in str(caught.value)
    assert "user:secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["main", "release/1.2", "feature/a_b-c", "v1.0.0"])
def test_refs_people_use_pass(name: str) -> None:
    assert checked_ref(name) == name


@pytest.mark.parametrize(
    "name",
    ["-x", "--upload-pack=x", "a..b", "a b", "a~1", "a^", "a:b", "a@{1}", "a.lock", "/a", "a/", "a/.b", "", "a\n"],
)
def test_refs_that_could_be_more_are_refused(name: str) -> None:
    with pytest.raises(StageError):
        checked_ref(name)


def test_a_commit_is_a_full_id() -> None:
    assert checked_commit("a" * 40)
    for wrong in ("a" * 39, "HEAD", "--help", "A" * 40):
        with pytest.raises(StageError):
            checked_commit(wrong)


def test_a_path_stays_inside() -> None:
    assert checked_path("./apps//web/") == "apps/web"
    for wrong in ("../x", "a/../../b", "a\0b", "a\\b"):
        with pytest.raises(StageError):
            checked_path(wrong)


def test_a_directory_lies_below_an_allowed_one_also_through_links(tmp_path: Path) -> None:
    allowed = tmp_path / "srv"
    (allowed / "repo").mkdir(parents=True)
    (allowed / "out").symlink_to("/etc")
    assert checked_directory(str(allowed / "repo"), (allowed,)) == allowed / "repo"
    for wrong in (str(allowed / "out"), "/etc", "relative", str(allowed / "absent")):
        with pytest.raises(StageError):
            checked_directory(wrong, (allowed,))
