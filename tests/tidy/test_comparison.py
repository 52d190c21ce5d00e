"""Each feature that docs/comparison.md claims names a test, and that test exists."""

from __future__ import annotations

import re

from tests.tidy.tree import table_rows, text_of

PAGE = "docs/comparison.md"


def test_every_claim_names_a_test_that_exists() -> None:
    rows = table_rows(PAGE, "## What is there")
    assert rows
    for feature, cells in rows.items():
        named = re.search(r"`?(tests/[\w/]+\.py)::(test_\w+)`?", cells[-1])
        assert named, feature
        assert re.search(rf"^(?:async )?def {named[2]}\(", text_of(named[1]), re.MULTILINE), f"{feature}: {cells[-1]}"
