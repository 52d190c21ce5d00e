"""Relative links of the documentation lead somewhere, to the heading where they name one; the README's commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.tidy.tree import ROOT, committed, text_of

PAGES = [path for path in committed() if path.suffix == ".md"]
LINK = re.compile(r"\[[^\]]*\]\((?!https?://|mailto:)([^)#\s]*)(#[^)\s]*)?\)")


def anchors_of(page: Path) -> set[str]:
    """As GitHub and GitLab make them: lower case, punctuation dropped, blanks to dashes."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text_of(page), flags=re.M | re.S), re.MULTILINE)
    return {"#" + re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_resolve(page: Path) -> None:
    for target, anchor in LINK.findall(text_of(page)):
        place = (ROOT / page.parent / target).resolve() if target else ROOT / page
        assert place.exists(), f"{page}: {target}"
        if anchor and place.suffix == ".md":
            assert anchor in anchors_of(place.relative_to(ROOT)), f"{page}: {target}{anchor}"


def test_every_page_of_the_docs_is_reachable_from_the_readme() -> None:
    reached, ahead = set[Path](), [Path("README.md")]
    while ahead:
        page = ahead.pop()
        reached.add(page)
        for target, _ in LINK.findall(text_of(page)):
            if target.endswith(".md"):
                found = (ROOT / page.parent / target).resolve().relative_to(ROOT)
                ahead += [found] if found not in reached else []
    assert {page for page in PAGES if page.parts[0] == "docs"} <= reached


def test_the_commands_that_the_documentation_shows_exist_in_dev() -> None:
    usage = re.findall(r"^  ([a-z]+)\b", text_of("dev").split('USAGE = """')[1].split('"""')[0], re.MULTILINE)
    for page in PAGES:
        shown = set(re.findall(r"\./dev ([a-z]+)", text_of(page)))
        assert shown <= set(usage), page


def test_the_readme_sets_up_with_two_commands() -> None:
    block = text_of("README.md").split("## Two commands")[1].split("```")[1]
    assert [line.split("#")[0].strip() for line in block.strip().splitlines()] == ["./dev up", "./dev test"]
