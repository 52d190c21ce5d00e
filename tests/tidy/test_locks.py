"""The locks: every dependency of pyproject.toml, each pinned with hashes, and no address of an index."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.tidy.tree import text_of

LOCKS = (".ci/runtime.lock", ".ci/dev.lock")
PROJECT = tomllib.loads(text_of("pyproject.toml"))


def name_of(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0]).lower()


def pinned(lock: str) -> dict[str, str]:
    """Name to version."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", text_of(lock), re.MULTILINE)
    return {name_of(name): version for name, version in found}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_what_the_project_depends_on(lock: str) -> None:
    wanted = list(PROJECT["project"]["dependencies"])
    if lock == ".ci/dev.lock":
        wanted += PROJECT["dependency-groups"]["dev"]
    assert {name_of(each) for each in wanted} <= set(pinned(lock)), "./dev lock brings them in step"


def test_both_locks_pin_the_same_versions() -> None:
    dev = pinned(".ci/dev.lock")
    assert {name: dev.get(name) for name in pinned(".ci/runtime.lock")} == pinned(".ci/runtime.lock")


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_index(lock: str) -> None:
    assert not re.search(r"://|--(?:extra-)?index-url|--find-links|--trusted-host", text_of(lock))


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_its_hashes(lock: str) -> None:
    blocks = re.split(r"^(?=[A-Za-z0-9])", text_of(lock), flags=re.MULTILINE)
    assert not [block.splitlines()[0] for block in blocks if "==" in block and "--hash=sha256:" not in block]


def test_every_dependency_has_its_reason() -> None:
    block = text_of("pyproject.toml").split("\ndependencies = [")[1].split("]\n")[0]
    assert not [line for line in block.splitlines() if line.strip() and "#" not in line]
