"""docs/architecture.md and docs/limits.md say what the code is: layers, packages, kinds."""

from __future__ import annotations

import re
import tomllib

from cluster.resources.catalog import builtin_catalog
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


def test_the_limits_name_every_kind_that_is_served() -> None:
    told = re.search(r"\*\*Kinds\.\*\* Served: (.*?)\. Every other kind", text_of("docs/limits.md"), re.DOTALL)
    assert told
    named = set(re.findall(r"[A-Z]\w+", told[1]))
    served = {descriptor.resource.kind for descriptor in builtin_catalog() if "list" in descriptor.resource.verbs}
    assert named - {"CRD"} == served, "docs/limits.md, Kinds: say what is served and what is not"


def test_the_limits_refuse_no_kind_that_is_served() -> None:
    told = re.search(r"Every other kind is refused[^:]*: (.*?)\.\n", text_of("docs/limits.md"), re.DOTALL)
    assert told
    served = {descriptor.resource.kind for descriptor in builtin_catalog()}
    assert not served & set(re.findall(r"[A-Z]\w+", told[1])), "docs/limits.md, Kinds: these are served now"
