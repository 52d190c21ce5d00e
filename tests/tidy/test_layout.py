"""Files: one subject each, named for it, in a place that says what they test."""

from __future__ import annotations

from pathlib import Path

from tests.tidy.tree import committed, sources, text_of

LINES_MAX = 600
LONGER: dict[str, int] = {}
"""Files that are longer, with their present length; this list only shrinks."""

SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers", "base_utils", "stuff"}


def test_no_file_is_long() -> None:
    lengths = {str(path): text_of(path).count("\n") for path in committed() if path.suffix == ".py"}
    too_long = {path: lines for path, lines in lengths.items() if lines > LONGER.get(path, LINES_MAX)}
    assert not too_long, "split them by subject"


def test_the_list_of_long_files_only_shrinks() -> None:
    assert all(text_of(path).count("\n") > LINES_MAX for path in LONGER), "take it off the list"


def test_no_name_says_nothing() -> None:
    assert not [str(path) for path in committed() if SAY_NOTHING & {*path.parts[:-1], path.stem}]


def test_unit_tests_mirror_the_packages() -> None:
    packages = {path.parts[1] for path in sources() if len(path.parts) > 2 and path.parts[0] == "cluster"}
    directories = {path.parts[2] for path in committed() if path.parts[:2] == ("tests", "unit") and len(path.parts) > 3}
    stages = {path.parts[1] for path in sources() if len(path.parts) > 2 and path.parts[0] == "reconciler"}
    assert directories <= packages | stages | {"cluster", "reconciler"}
    assert packages <= directories, "a package without unit tests"


def test_a_test_module_is_named_for_what_it_tests() -> None:
    stray = [
        str(path)
        for path in committed()
        if path.parts[:2] == ("tests", "unit") and "def test_" in _python(path) and not path.name.startswith("test_")
    ]
    assert not stray, "pytest does not find tests in them"


def _python(path: Path) -> str:
    return text_of(path) if path.suffix == ".py" else ""
