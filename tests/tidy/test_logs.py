"""Log records: a constant lower-case message and keys that docs/operations.md explains."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

from tests.tidy.tree import sources, table_rows, text_of

PAGE = "docs/operations.md"
LEVELS = ("debug", "info", "warning", "error", "log")
PASSED_ON = {Path("cluster/base/log.py")}
"""Hands on what libraries say, in their words."""


def records() -> Iterator[tuple[str, ast.Call, ast.expr]]:
    """Each call of the logger: its place, the call, its message."""
    for path in sources():
        if path in PASSED_ON:
            continue
        for node in ast.walk(ast.parse(text_of(path))):
            if _is_record(node):
                yield f"{path}:{node.lineno}", node, node.args[1 if _method(node) == "log" else 0]


def _is_record(node: ast.AST) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and _method(node) in LEVELS and "logger" in ast.unparse(node.func).split(".")[0]


def _method(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def messages_of(node: ast.expr) -> list[object]:
    if isinstance(node, ast.IfExp):
        return [*messages_of(node.body), *messages_of(node.orelse)]
    return [node.value if isinstance(node, ast.Constant) else None]


def test_a_message_is_constant_and_does_not_begin_like_a_sentence() -> None:
    bad = [
        place
        for place, _, node in records()
        for message in messages_of(node)
        if not isinstance(message, str) or (message[1:2].islower() and not message[0].islower()) or "{" in message
    ]
    assert not bad


def test_every_key_is_explained() -> None:
    known = set(table_rows(PAGE, "### Keys"))
    unknown = sorted(
        f"{place}: {keyword.arg}"
        for place, call, _ in records()
        for keyword in call.keywords
        if keyword.arg not in known
    )
    assert not unknown, f"explain them in {PAGE}, section Keys, or use a key that is there"


def test_no_key_is_explained_in_vain() -> None:
    used = {keyword.arg for _, call, _ in records() for keyword in call.keywords}
    assert set(table_rows(PAGE, "### Keys")) <= used
