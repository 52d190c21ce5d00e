"""docs/operations.md has a row for every setting, with its default."""

from __future__ import annotations

import dataclasses

from cluster.config import Settings
from tests.tidy.tree import table_rows


def test_every_setting_has_its_row_with_its_default() -> None:
    rows = table_rows("docs/operations.md", "## Settings")
    fields = {field.name: field.default for field in dataclasses.fields(Settings) if field.name != "state_dir"}
    assert set(rows) == set(fields)
    for name, default in fields.items():
        if default is not dataclasses.MISSING:
            shown = {False: "false", True: "true", (): "none", "": "none"}.get(default, default)  # type: ignore[arg-type]
            assert rows[name][0].strip("`") == str(shown), name
