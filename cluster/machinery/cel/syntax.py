"""The shape of a parsed CEL expression: frozen nodes, each with the offset of the character it is reported at.

Upstream: cel-spec/doc/langdef.md.  Macros are nodes of their own (`Fold`, `Bind`, `Select.test`), not calls that were expanded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Literal:
    value: Any
    at: int


@dataclass(frozen=True, slots=True)
class Ident:
    name: str
    at: int


@dataclass(frozen=True, slots=True)
class Select:
    """`operand.field`; `test` for `has(operand.field)`, `optional` for `operand.?field`."""

    operand: Expr
    field: str
    at: int
    test: bool = False
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """`function(args)` or `target.function(args)`; operators are calls named as cel-go names them (`_+_`)."""

    function: str
    target: Expr | None
    args: tuple[Expr, ...]
    at: int


@dataclass(frozen=True, slots=True)
class ListOf:
    """`optional` has the indexes of items written `?item`."""

    items: tuple[Expr, ...]
    optional: frozenset[int]
    at: int


@dataclass(frozen=True, slots=True)
class MapOf:
    entries: tuple[tuple[Expr, Expr], ...]
    optional: frozenset[int]
    at: int


@dataclass(frozen=True, slots=True)
class Fold:
    """A macro over a list or map.  `variables` has one name, or two for the comprehensions over index and value.

    `kind` is the macro: all, exists, existsOne, map, filter, transformList, transformMap, transformMapEntry.
    `condition` is the filter of the mapping macros.
    """

    kind: str
    over: Expr
    variables: tuple[str, ...]
    condition: Expr | None
    body: Expr
    at: int


@dataclass(frozen=True, slots=True)
class Bind:
    """`cel.bind(name, value, body)`; with `optional`, `value.optMap(name, body)`; also `flat`, `value.optFlatMap(...)`."""

    name: str
    value: Expr
    body: Expr
    at: int
    optional: bool = False
    flat: bool = False


Expr: TypeAlias = Literal | Ident | Select | Call | ListOf | MapOf | Fold | Bind


class CelSyntaxError(ValueError):
    """What is wrong with an expression before it runs, and at which character."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.message = message
        self.at = at


def parts_of(expr: Expr) -> Iterator[Expr]:
    """The expressions directly inside `expr`."""
    match expr:
        case Select():
            yield expr.operand
        case Call():
            if expr.target is not None:
                yield expr.target
            yield from expr.args
        case ListOf():
            yield from expr.items
        case MapOf():
            for key, value in expr.entries:
                yield key
                yield value
        case Fold():
            yield expr.over
            if expr.condition is not None:
                yield expr.condition
            yield expr.body
        case Bind():
            yield expr.value
            yield expr.body
        case Literal() | Ident():
            return


def size_of(expr: Expr) -> int:
    """How many nodes an expression has: what evaluating it once costs, loops aside."""
    return 1 + sum(size_of(part) for part in parts_of(expr))


def located(source: str, error: CelSyntaxError) -> str:
    """An error as cel-go prints it: the place, what is wrong, the line and a mark below it."""
    before = source[: error.at]
    line, column = before.count("\n"), error.at - (before.rfind("\n") + 1)
    text = source.split("\n")[line] if source else ""
    return f"ERROR: <input>:{line + 1}:{column + 1}: {error.message}\n | {text}\n | {'.' * column}^"
