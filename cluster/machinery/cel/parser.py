"""CEL tokens to a tree: operator precedence and macros.  Upstream: cel-spec/doc/langdef.md, cel-go/parser.

Bounds: the text's size, the nesting of the tree.  What walks a tree may therefore recurse.
"""

from __future__ import annotations

from cluster.machinery.cel.lexer import Token, is_reserved, tokens_of
from cluster.machinery.cel.syntax import (
    Bind,
    Call,
    CelSyntaxError,
    Expr,
    Fold,
    Ident,
    ListOf,
    Literal,
    MapOf,
    Select,
    parts_of,
)
from cluster.machinery.cel.values import INT_MAX

SOURCE_MAX = 65536
"""Characters of one expression."""
DEPTH_MAX = 64
"""Levels of a tree, brackets included: deeper ones are refused, since what compiles and evaluates recurses."""

_BINARY = {"||": 1, "&&": 2, "<": 3, "<=": 3, ">": 3, ">=": 3, "==": 3, "!=": 3, "in": 3,
           "+": 4, "-": 4, "*": 5, "/": 5, "%": 5}  # fmt: skip
_FOLDS = {
    "all",
    "exists",
    "exists_one",
    "existsOne",
    "map",
    "filter",
    "transformList",
    "transformMap",
    "transformMapEntry",
}


def parse(source: str) -> Expr:
    """The tree of an expression.  Raises CelSyntaxError."""
    if len(source) > SOURCE_MAX:
        raise CelSyntaxError(f"expression code point size exceeds limit: size: {len(source)}, limit {SOURCE_MAX}", 0)
    parser = _Parser(tokens_of(source))
    expr = parser.expression()
    parser.expect_end()
    _refuse_deep(expr)
    return expr


def _refuse_deep(root: Expr) -> None:
    level, depth = [root], 0
    while level:
        depth += 1
        if depth > DEPTH_MAX:
            raise CelSyntaxError(f"expression recursion limit exceeded: {DEPTH_MAX}", level[0].at)
        level = [part for expr in level for part in parts_of(expr)]


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._index = 0
        self._depth = 0

    def expression(self) -> Expr:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise CelSyntaxError(f"expression recursion limit exceeded: {DEPTH_MAX}", self._now.at)
        condition = self._binary(1)
        if self._now.text == "?" and self._now.kind == "mark":
            at = self._next().at
            first = self._binary(1)
            self._take(":")
            condition = Call("_?_:_", None, (condition, first, self.expression()), at)
        self._depth -= 1
        return condition

    def expect_end(self) -> None:
        if self._now.kind != "end":
            raise self._unexpected("<EOF>")

    @property
    def _now(self) -> Token:
        return self._tokens[self._index]

    def _next(self) -> Token:
        token = self._tokens[self._index]
        self._index += 1
        return token

    def _at(self, mark: str) -> bool:
        return self._now.kind == "mark" and self._now.text == mark

    def _take(self, mark: str) -> Token:
        if not self._at(mark):
            raise self._unexpected(f"'{mark}'")
        return self._next()

    def _unexpected(self, wanted: str) -> CelSyntaxError:
        return CelSyntaxError(f"Syntax error: mismatched input '{self._now.text}' expecting {wanted}", self._now.at)

    def _operator(self) -> str:
        token = self._now
        return token.text if token.kind == "mark" or (token.kind == "word" and token.text == "in") else ""

    def _binary(self, lowest: int) -> Expr:
        left = self._unary()
        while (level := _BINARY.get(self._operator(), 0)) >= lowest:
            token = self._next()
            right = self._binary(level + 1)
            name = {"in": "@in"}.get(token.text, f"_{token.text}_")
            if level <= 2 and isinstance(left, Call) and left.function == name:
                # One flat call: a long chain of && is not a deep tree.
                left = Call(name, None, (*left.args, right), left.at)
            else:
                left = Call(name, None, (left, right), token.at)
        return left

    def _unary(self) -> Expr:
        if not (self._at("!") or self._at("-")):
            return self._member()
        token, count = self._next(), 1
        while self._at(token.text):
            self._next()
            count += 1
        if token.text == "-" and self._now.kind == "literal" and type(self._now.value) in (int, float):
            literal = self._next()
            self._tokens[self._index - 1] = Token("literal", literal.text, token.at, -literal.value)
            self._index -= 1
            count -= 1
        operand = self._member() if not (self._at("!") or self._at("-")) else self._nested_unary()
        for _ in range(count % 2):
            operand = Call("!_" if token.text == "!" else "-_", None, (operand,), token.at)
        return operand

    def _nested_unary(self) -> Expr:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise CelSyntaxError(f"expression recursion limit exceeded: {DEPTH_MAX}", self._now.at)
        operand = self._unary()
        self._depth -= 1
        return operand

    def _member(self) -> Expr:
        expr = self._primary()
        while self._now.kind == "mark":
            match self._now.text:
                case "." | ".?":
                    optional = self._next().text == ".?"
                    at = self._tokens[self._index - 1].at
                    name = self._word(field=True)
                    if self._at("(") and not optional:
                        opened = self._now.at
                        expr = self._method(expr, name, self._arguments(), opened)
                    else:
                        expr = Select(expr, name, at, optional=optional)
                case "[" | "[?":
                    token = self._next()
                    index = self.expression()
                    self._take("]")
                    expr = Call("_[_]" if token.text == "[" else "_[?_]", None, (expr, index), token.at)
                case "{" | "{?" if _is_name(expr):
                    raise CelSyntaxError(f"undeclared reference to '{_name_of(expr)}' (in container '')", expr.at)
                case _:
                    break
        return expr

    def _primary(self) -> Expr:
        token = self._now
        if token.kind == "literal":
            self._next()
            if type(token.value) is int and token.value > INT_MAX:
                raise CelSyntaxError("invalid int literal", token.at)
            return Literal(token.value, token.at)
        if self._at("."):
            self._next()
            token = self._now
        if token.kind == "word" and token.text != "in":
            name = self._word(field=False)
            return self._function(name, token.at) if self._at("(") else Ident(name, token.at)
        if self._at("("):
            self._next()
            expr = self.expression()
            self._take(")")
            return expr
        if self._at("[") or self._at("[?"):
            return self._list()
        if self._at("{") or self._at("{?"):
            return self._map()
        raise CelSyntaxError(
            f"Syntax error: mismatched input '{token.text}' expecting "
            "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}",
            token.at,
        )

    def _word(self, *, field: bool) -> str:
        token = self._now
        if token.kind != "word" or token.text == "in":
            raise self._unexpected("IDENTIFIER")
        if not field and is_reserved(token.text):
            raise CelSyntaxError(f"reserved identifier: {token.text}", token.at)
        self._next()
        return token.text

    def _arguments(self) -> tuple[Expr, ...]:
        self._take("(")
        found: list[Expr] = []
        while not self._at(")"):
            found.append(self.expression())
            if not self._at(")"):
                self._take(",")
                if self._at(")"):
                    raise self._unexpected("an expression")
        self._next()
        return tuple(found)

    def _list(self) -> Expr:
        at = self._now.at
        optional: set[int] = set()
        items: list[Expr] = []
        first = self._next().text == "[?"
        while not self._at("]"):
            if first or self._at("?"):
                if not first:
                    self._next()
                optional.add(len(items))
            first = False
            items.append(self.expression())
            if not self._at("]"):
                self._take(",")
        self._next()
        return ListOf(tuple(items), frozenset(optional), at)

    def _map(self) -> Expr:
        at = self._now.at
        optional: set[int] = set()
        entries: list[tuple[Expr, Expr]] = []
        first = self._next().text == "{?"
        while not self._at("}"):
            if first or self._at("?"):
                if not first:
                    self._next()
                optional.add(len(entries))
            first = False
            key = self.expression()
            self._take(":")
            entries.append((key, self.expression()))
            if not self._at("}"):
                self._take(",")
        self._next()
        return MapOf(tuple(entries), frozenset(optional), at)

    def _function(self, name: str, at: int) -> Expr:
        args = self._arguments()
        if name == "has":
            if len(args) == 1 and isinstance(args[0], Select) and not args[0].optional:
                return Select(args[0].operand, args[0].field, at, test=True)
            if len(args) == 1:
                raise CelSyntaxError("invalid argument to has() macro", args[0].at)
        return Call(name, None, args, at)

    def _method(self, target: Expr, name: str, args: tuple[Expr, ...], at: int) -> Expr:
        if name == "bind" and target == Ident("cel", target.at) and len(args) == 3:
            return Bind(_variable(args[0]), args[1], args[2], at)
        if name in ("optMap", "optFlatMap") and len(args) == 2:
            return Bind(_variable(args[0]), target, args[1], at, optional=True, flat=name == "optFlatMap")
        if name in _FOLDS and (fold := _fold(target, name, args, at)):
            return fold
        return Call(name, target, args, at)


def _fold(target: Expr, name: str, args: tuple[Expr, ...], at: int) -> Fold | None:
    kind = "existsOne" if name == "exists_one" else name
    names: tuple[str, ...]
    if kind.startswith("transform"):
        if len(args) not in (3, 4):
            return None
        names, rest = (_variable(args[0]), _variable(args[1])), args[2:]
    elif kind in ("map", "filter") or len(args) == 2:
        if len(args) != 2 and not (kind == "map" and len(args) == 3):
            return None
        names, rest = (_variable(args[0]),), args[1:]
    elif len(args) == 3 and name != "exists_one":
        names, rest = (_variable(args[0]), _variable(args[1])), args[2:]
    else:
        return None
    if len(set(names)) < len(names):
        raise CelSyntaxError("duplicate variable name: " + names[0], args[1].at)
    return Fold(kind, target, names, rest[0] if len(rest) == 2 else None, rest[-1], at)


def _variable(expr: Expr) -> str:
    if not isinstance(expr, Ident):
        raise CelSyntaxError("argument must be a simple name", expr.at)
    return expr.name


def _is_name(expr: Expr) -> bool:
    return isinstance(expr, Ident) or (isinstance(expr, Select) and not expr.test and _is_name(expr.operand))


def _name_of(expr: Expr) -> str:
    if isinstance(expr, Select):
        return f"{_name_of(expr.operand)}.{expr.field}"
    return expr.name if isinstance(expr, Ident) else ""
