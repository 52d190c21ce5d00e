"""docs/architecture.md says what the code is: layers and packages."""

from __future__ import annotations

import re
import tomllib

from tests.tidy.tree import sources, table_rows, text_of

CONTRACTS = {
    each["name"]: each for each in tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]["contracts"]
}


def told_layers(program: str) -> list[set[str]]:
    """The layers as the page draws them, top first."""
    drawn = re.search(rf"^{program}: +(.*(?:\n {{3,}}.*)*)", text_of("docs/architecture.md"), re.MULTILINE)
    assert drawn
    return [set(re.findall(r"\w+", layer)) for layer in drawn[1].split(">")]


def checked_layers(program: str) -> list[set[str]]:
    return [set(re.findall(r"\w+", layer)) for layer in CONTRACTS[f"{program} is layered"]["layers"]]


def test_the_page_draws_the_layers_that_are_checked() -> None:
    assert told_layers("cluster") == checked_layers("cluster")
    assert told_layers("reconciler") == checked_layers("reconciler")


def test_every_package_has_its_row() -> None:
    named = set(
        re.findall(r"`([\w/]+)`", " ".join(f"`{row}`" for row in table_rows("docs/architecture.md", "## Packages")))
    )
    packages = {"/".join(path.parts[:2]) for path in sources() if len(path.parts) > 2 and path.parts[0] == "cluster"}
    assert packages <= {name.strip("`") for name in named}, "add it to the table of packages"
