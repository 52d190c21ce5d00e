"""docs/fields.md says of each served field what the enforcement tables say, and where that is observed."""

from __future__ import annotations

import pytest

from cluster.resources.enforcement import FORBIDDEN_VALUES, Level
from tests.tidy.fields import NO_TEST, PAGE, TABLES, is_observed_in
from tests.tidy.tree import ROOT, table_rows, text_of

UNOBSERVED_MAX = 7
"""Enforced fields whose effect no test observes yet; this only falls."""


@pytest.mark.parametrize("title", TABLES)
def test_the_page_says_what_the_tables_say(title: str) -> None:
    rows = table_rows(PAGE, f"## {title}")
    told = {field: cells[0].split(",")[0] for field, cells in rows.items()}
    assert told == {field: level.value for field, level in TABLES[title].items()}, "python -m tests.tidy.fields"


@pytest.mark.parametrize("title", TABLES)
def test_a_forbidden_value_is_named(title: str) -> None:
    for field, cells in table_rows(PAGE, f"## {title}").items():
        assert (field in FORBIDDEN_VALUES) == ("is forbidden" in cells[0])


@pytest.mark.parametrize("title", TABLES)
def test_an_enforced_field_names_a_test_that_knows_it(title: str) -> None:
    for field, cells in table_rows(PAGE, f"## {title}").items():
        test = cells[1].strip("`")
        if TABLES[title][field] is Level.ENFORCED and test != NO_TEST:
            assert (ROOT / test).is_file(), test
            assert is_observed_in(field, test), f"{test} does not name {field}"


def test_fewer_and_fewer_fields_are_enforced_without_a_test() -> None:
    assert text_of(PAGE).count(f"| enforced | {NO_TEST} |") <= UNOBSERVED_MAX
