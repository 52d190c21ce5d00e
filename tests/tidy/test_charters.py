"""Every package says what belongs in it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(path for top in ("cluster", "reconciler") for path in (ROOT / top).rglob("__init__.py"))


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: str(path.parent.relative_to(ROOT)))
def test_a_package_has_a_charter(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))
