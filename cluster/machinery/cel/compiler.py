"""From a tree to typed closures, in one pass: types are checked, overloads chosen and names bound when compiling.

A closure takes the frame, a list: the meter first, then one slot a variable.  What evaluation costs is known per expression
but for loops and for functions of large values: only those meter themselves.  Upstream: cel-go/checker, cel-go/interpreter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from cluster.machinery.cel import types as t
from cluster.machinery.cel.access import field_of, has, junction, optional_field, present, truth
from cluster.machinery.cel.calls import binary_of, charged, checked, is_costly, size_estimate
from cluster.machinery.cel.folds import fold_of
from cluster.machinery.cel.operators import index, key_text, negate, optional_index
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
    size_of,
)
from cluster.machinery.cel.types import Overload, Type
from cluster.machinery.cel.values import NONE, CelError, Optional, TypeValue, Uint, type_name
from cluster.machinery.regex import compile_pattern

Frame: TypeAlias = list[Any]
Run: TypeAlias = Callable[[Frame], Any]


@dataclass(frozen=True, slots=True)
class Typed:
    """A compiled part: its type, its closure, its estimated cost, and its value when that is constant."""

    type: Type
    run: Run
    cost: float = 1
    literal: Any = None


_LITERALS = {bool: t.BOOL, int: t.INT, Uint: t.UINT, float: t.DOUBLE, str: t.STRING, bytes: t.BYTES, type(None): t.NULL}
_TYPE_NAMES = frozenset(
    ("bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type",
     "google.protobuf.Duration", "google.protobuf.Timestamp", "optional_type", "kubernetes.Quantity", "kubernetes.URL",
     "kubernetes.Semver", "net.IP", "net.CIDR")
)  # fmt: skip


class Compiler:
    """Compiles one expression.  Raises CelSyntaxError."""

    def __init__(
        self,
        variables: Mapping[str, Type],
        overloads: Mapping[str, tuple[Overload, ...]],
        implementations: Mapping[str, Callable[..., Any]],
    ) -> None:
        self._overloads = overloads
        self._implementations = implementations
        self._scope: dict[str, tuple[Type, int]] = {}
        for slot, (name, of_type) in enumerate(variables.items(), start=1):
            self._scope[name] = (of_type, slot)
        self.variable_slots = {name: slot for name, (_, slot) in self._scope.items()}
        self.frame_size = len(self._scope) + 1

    def typed(self, expr: Expr) -> Typed:
        match expr:
            case Literal():
                value = expr.value
                return Typed(_LITERALS[type(value)], lambda frame: value, 0, value)
            case Ident():
                return self._name(expr.name, expr.at)
            case Select():
                return self._select(expr)
            case Call():
                return self._call(expr)
            case ListOf():
                return self._list(expr)
            case MapOf():
                return self._map(expr)
            case Fold():
                return self._fold(expr)
            case Bind():
                return self._bind(expr)

    def _scoped(
        self, names: Sequence[str], kinds: Sequence[Type], parts: Sequence[Expr]
    ) -> tuple[list[int], list[Typed]]:
        """`parts` compiled with more variables, and the variables' slots."""
        outer = self._scope
        slots = list(range(self.frame_size, self.frame_size + len(names)))
        self.frame_size += len(names)
        self._scope = {**outer, **dict(zip(names, zip(kinds, slots, strict=True), strict=True))}
        typed = [self.typed(part) for part in parts]
        self._scope = outer
        return slots, typed

    def _name(self, name: str, at: int) -> Typed:
        if (found := self._scope.get(name)) is not None:
            of_type, slot = found
            return Typed(of_type, lambda frame: frame[slot])
        if name in _TYPE_NAMES:
            value = TypeValue(name)
            return Typed(t.TYPE, lambda frame: value)
        raise CelSyntaxError(f"undeclared reference to '{name}' (in container '')", at)

    def _select(self, expr: Select) -> Typed:
        dotted = _dotted(expr)
        if dotted and dotted.partition(".")[0] not in self._scope and dotted in _TYPE_NAMES and not expr.test:
            return self._name(dotted, expr.at)
        if dotted in self._scope and not expr.test:
            return self._name(dotted, expr.at)  # a variable with a dotted name: authorizer.requestResource
        operand = self.typed(expr.operand)
        run, field = operand.run, expr.field
        of_type = operand.type
        chained = of_type.kind == "optional_type"
        if chained:
            of_type = of_type.params[0] if of_type.params else t.DYN
        key, result, convert = self._field(of_type, field, expr.at)
        cost = operand.cost + 1
        if expr.test:
            return Typed(t.BOOL, lambda frame: has(run(frame), key), cost)
        if expr.optional or chained:
            return Typed(t.optional_of(result), lambda frame: optional_field(run(frame), key, convert), cost)
        if convert is not None:
            return Typed(result, lambda frame: convert(field_of(run(frame), key)), cost)

        def select(frame: Frame) -> Any:
            operand = run(frame)
            if type(operand) is dict:
                try:
                    return operand[key]
                except KeyError:
                    raise CelError(f"no such key: {key}") from None
            return field_of(operand, key)

        return Typed(result, select, cost)

    @staticmethod
    def _field(of_type: Type, name: str, at: int) -> tuple[str, Type, Callable[[Any], Any] | None]:
        match of_type.kind:
            case "object":
                found = of_type.fields.get(name)
                if found is None:
                    raise CelSyntaxError(f"undefined field '{name}'", at)
                return found.key, found.type, found.convert
            case "map":
                return name, of_type.params[1] if of_type.params else t.DYN, None
            case "dyn":
                return name, t.DYN, None
            case _:
                raise CelSyntaxError(f"type '{of_type}' does not support field selection", at)

    def _list(self, expr: ListOf) -> Typed:
        items = [self.typed(item) for item in expr.items]
        kinds = [self._unwrapped(item.type, at in expr.optional, expr.at) for at, item in enumerate(items)]
        runs = [item.run for item in items]
        optional = expr.optional
        of_type = Type("list", (t.joined(kinds),), size_max=len(items))
        cost = 1 + sum(item.cost for item in items)
        if all(isinstance(item, Literal) for item in expr.items) and not optional:
            constant = [item.value for item in expr.items if isinstance(item, Literal)]
            return Typed(of_type, lambda frame: constant, cost, constant)
        if not optional:
            return Typed(of_type, lambda frame: [run(frame) for run in runs], cost)

        def build(frame: Frame) -> list[Any]:
            made: list[Any] = []
            for at, run in enumerate(runs):
                value = run(frame)
                if at not in optional:
                    made.append(value)
                elif present(value):
                    made.append(value.value)
            return made

        return Typed(of_type, build, cost)

    @staticmethod
    def _unwrapped(of_type: Type, optional: bool, at: int) -> Type:
        if not optional or of_type.kind == "dyn":
            return of_type
        if of_type.kind != "optional_type":
            raise CelSyntaxError(f"expected type 'optional_type(any)' but found '{of_type}'", at)
        return of_type.params[0]

    def _map(self, expr: MapOf) -> Typed:
        keys = [self.typed(key) for key, _ in expr.entries]
        values = [self.typed(value) for _, value in expr.entries]
        for (key, _), typed in zip(expr.entries, keys, strict=True):
            if typed.type.kind not in ("string", "int", "uint", "bool", "dyn"):
                raise CelSyntaxError(f"unsupported map key type: {typed.type}", key.at)
        kinds = [self._unwrapped(value.type, at in expr.optional, expr.at) for at, value in enumerate(values)]
        of_type = Type("map", (t.joined(key.type for key in keys), t.joined(kinds)), size_max=len(keys))
        runs = [
            (key.run, value.run, at in expr.optional) for at, (key, value) in enumerate(zip(keys, values, strict=True))
        ]

        def build(frame: Frame) -> dict[Any, Any]:
            made: dict[Any, Any] = {}
            for run_key, run_value, optional in runs:
                key, value = run_key(frame), run_value(frame)
                if type_name(key) not in ("string", "int", "uint", "bool"):
                    raise CelError(f"unsupported key type: {type_name(key)}")
                if key in made:
                    raise CelError(f"Failed with repeated key: {key_text(key)}")
                if not optional:
                    made[key] = value
                elif present(value):
                    made[key] = value.value
            return made

        return Typed(of_type, build, 1 + sum(part.cost for part in (*keys, *values)))

    def _call(self, expr: Call) -> Typed:
        name = expr.function
        match name:
            case "_&&_" | "_||_" | "!_" | "_?_:_":
                return self._logical(expr)
        if expr.target is not None:
            dotted = _dotted(expr.target)
            if dotted and dotted.partition(".")[0] not in self._scope and f"{dotted}.{name}" in self._overloads:
                return self._function(f"{dotted}.{name}", [self.typed(arg) for arg in expr.args], expr, is_member=False)
            args = [self.typed(expr.target), *(self.typed(arg) for arg in expr.args)]
            return self._function(name, args, expr, is_member=True)
        args = [self.typed(arg) for arg in expr.args]
        kinds = [arg.type for arg in args]
        cost = 1 + sum(arg.cost for arg in args)
        match name:
            case "_[_]" | "_[?_]":
                return self._index(expr, args[0], args[1])
            case "-_":
                if kinds[0].kind not in ("int", "double", "dyn"):
                    raise _mismatch(name, kinds, expr.at)
                run = args[0].run
                return Typed(kinds[0], lambda frame: negate(run(frame)), cost)
        if len(args) == 2 and (made := binary_of(name, kinds[0], kinds[1], args[0].run, args[1].run)):
            return Typed(made[0], made[1], cost)
        if name.startswith(("_", "@")):
            raise _mismatch(name, kinds, expr.at)
        return self._function(name, args, expr, is_member=False)

    def _function(self, name: str, args: Sequence[Typed], expr: Call, *, is_member: bool) -> Typed:
        declared = self._overloads.get(name)
        if declared is None:
            raise CelSyntaxError(f"undeclared reference to '{name}' (in container '')", expr.at)
        kinds = [arg.type for arg in args]
        result, candidates = t.resolve(declared, kinds, is_member=is_member)
        if result is None:
            raise _mismatch(name, kinds, expr.at, is_member=is_member)
        implementation = self._implementations[name]
        runs = tuple(arg.run for arg in args)
        cost = 1 + sum(arg.cost for arg in args)
        if name in ("matches", "find", "findAll") and isinstance(pattern := args[1].literal, str):
            try:
                compile_pattern(pattern)
            except ValueError as error:
                raise CelSyntaxError(f"invalid {name} argument: {error}", expr.at) from None
        if any(kind.kind == "dyn" for kind in kinds):
            implementation = checked(implementation, candidates)
        return Typed(
            result, charged(name, implementation, runs) if is_costly(name) else _plain(implementation, runs), cost
        )

    def _index(self, expr: Call, container: Typed, key: Typed) -> Typed:
        of_type = container.type
        chained = of_type.kind == "optional_type"
        if chained:
            of_type = of_type.params[0] if of_type.params else t.DYN
        match of_type.kind:
            case "list" if key.type.kind in ("int", "dyn"):
                result = of_type.params[0]
            case "map" if t.fits(of_type.params[0], key.type, {}):
                result = of_type.params[1]
            case "dyn":
                result = t.DYN
            case _:
                raise _mismatch(expr.function, [container.type, key.type], expr.at)
        run, run_key, cost = container.run, key.run, container.cost + key.cost + 1
        if expr.function == "_[?_]" or chained:
            return Typed(t.optional_of(result), lambda frame: optional_index(run(frame), run_key(frame)), cost)
        return Typed(result, lambda frame: index(run(frame), run_key(frame)), cost)

    def _logical(self, expr: Call) -> Typed:
        args = [self.typed(arg) for arg in expr.args]
        cost = 1 + sum(arg.cost for arg in args)
        tests = args[:1] if expr.function == "_?_:_" else args
        if any(test.type.kind not in ("bool", "dyn") for test in tests):
            raise _mismatch(expr.function, [arg.type for arg in args], expr.at)
        if expr.function == "!_":
            run = args[0].run
            return Typed(t.BOOL, lambda frame: not truth(run(frame)), cost)
        if expr.function == "_?_:_":
            test, first, second = (arg.run for arg in args)
            result = args[1].type
            if result != args[2].type:
                if not (t.fits(result, args[2].type, {}) or t.fits(args[2].type, result, {})):
                    raise _mismatch(expr.function, [arg.type for arg in args], expr.at)
                result = t.joined((result, args[2].type))
            longest = 1 + args[0].cost + max(args[1].cost, args[2].cost)
            return Typed(result, lambda frame: first(frame) if truth(test(frame)) else second(frame), longest)
        return Typed(t.BOOL, junction([arg.run for arg in args], decides=expr.function == "_||_"), cost)

    def _fold(self, expr: Fold) -> Typed:
        over = self.typed(expr.over)
        kinds = _variables_of(over.type, len(expr.variables))
        if kinds is None:
            why = f"expression of type '{over.type}' cannot be range of a comprehension (must be list, map, or dynamic)"
            raise CelSyntaxError(why, expr.over.at)
        parts = (expr.body,) if expr.condition is None else (expr.body, expr.condition)
        slots, typed = self._scoped(expr.variables, kinds, parts)
        body, condition = typed[0], typed[1] if len(typed) > 1 else None
        for part, at in ((condition, expr.condition), (body if expr.kind in _TESTS else None, expr.body)):
            if part is not None and part.type.kind not in ("bool", "dyn"):
                raise CelSyntaxError(
                    f"expected type 'bool' but found '{part.type}'", at.at if at is not None else expr.at
                )
        result = _result_of(expr, over.type, body.type)
        once = size_of(expr.body) + (size_of(expr.condition) if expr.condition is not None else 0)
        run = fold_of(expr.kind, over.run, slots, condition.run if condition else None, body.run, once)
        each = body.cost + (condition.cost if condition else 0) + 1
        return Typed(result, run, over.cost + 1 + size_estimate(over.type) * each)

    def _bind(self, expr: Bind) -> Typed:
        value = self.typed(expr.value)
        given = value.type
        if expr.optional:
            if given.kind not in ("optional_type", "dyn"):
                raise _mismatch("optFlatMap" if expr.flat else "optMap", [given], expr.at)
            given = given.params[0] if given.params else t.DYN
        (slot,), (body,) = self._scoped((expr.name,), (given,), (expr.body,))
        run_value, run = value.run, body.run
        cost = value.cost + body.cost + 1
        if not expr.optional:

            def bind(frame: Frame) -> Any:
                frame[slot] = run_value(frame)
                return run(frame)

            return Typed(body.type, bind, cost)
        flat = expr.flat

        def opt_map(frame: Frame) -> Any:
            if not present(optional := run_value(frame)):
                return NONE
            frame[slot] = optional.value
            return run(frame) if flat else Optional(True, run(frame))

        return Typed(body.type if flat else t.optional_of(body.type), opt_map, cost)


_TESTS = frozenset(("all", "exists", "existsOne", "filter"))


def _variables_of(of_type: Type, count: int) -> tuple[Type, ...] | None:
    match of_type.kind:
        case "list":
            return of_type.params if count == 1 else (t.INT, of_type.params[0])
        case "map":
            return of_type.params[:count]
        case "dyn":
            return (t.DYN,) * count
        case _:
            return None


def _result_of(expr: Fold, over: Type, body: Type) -> Type:
    match expr.kind:
        case "map" | "transformList":
            return Type("list", (body,), size_max=over.size_max)
        case "filter":
            item = over.params[0] if over.params else t.DYN
            return Type("list", (item,), size_max=over.size_max)
        case "transformMap":
            key = t.INT if over.kind == "list" else over.params[0] if over.params else t.DYN
            return Type("map", (key, body), size_max=over.size_max)
        case "transformMapEntry":
            return body if body.kind == "map" else t.DYN
        case _:
            return t.BOOL


def _plain(implementation: Callable[..., Any], runs: tuple[Run, ...]) -> Run:
    if len(runs) == 1:
        (first,) = runs
        return lambda frame: implementation(first(frame))
    return lambda frame: implementation(*[run(frame) for run in runs])


def _mismatch(name: str, kinds: Sequence[Type], at: int, *, is_member: bool = False) -> CelSyntaxError:
    if is_member:
        shown = f"{kinds[0]}.({', '.join(str(kind) for kind in kinds[1:])})"
    else:
        shown = f"({', '.join(str(kind) for kind in kinds)})"
    return CelSyntaxError(f"found no matching overload for '{name}' applied to '{shown}'", at)


def _dotted(expr: Expr) -> str:
    if isinstance(expr, Ident):
        return expr.name
    if isinstance(expr, Select) and not expr.test and not expr.optional and (before := _dotted(expr.operand)):
        return f"{before}.{expr.field}"
    return ""
