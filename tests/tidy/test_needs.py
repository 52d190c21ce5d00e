"""Tests name only real parts that tests/conftest.py knows how to find; complete runs install what they can."""

from __future__ import annotations

import ast

from tests.conftest import PARTS
from tests.tidy.tree import committed, text_of


def test_every_part_that_a_test_needs_is_known() -> None:
    unknown: list[str] = []
    for path in committed():
        if path.parts[0] != "tests" or path.suffix != ".py":
            continue
        for node in ast.walk(ast.parse(text_of(path))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.needs":
                named = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
                unknown += [f"{path}:{node.lineno}: {part}" for part in named if part not in PARTS]
    assert not unknown


def test_the_licence_of_what_is_shipped_with_the_code_is_there() -> None:
    assert "Apache License" in text_of("cluster/resources/data/NOTICE")
