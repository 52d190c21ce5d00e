"""How calls run: operators specialised by their operands' static types, functions that meter themselves, runtime checks.

Upstream: cel-go/interpreter, apiserver/pkg/cel/library/cost.go.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cluster.machinery.cel import types as t
from cluster.machinery.cel.operators import (
    NO_OVERLOAD,
    add,
    compare,
    contains,
    divide,
    modulo,
    multiply,
    subtract,
)
from cluster.machinery.cel.types import Overload, Type
from cluster.machinery.cel.values import CelError, equal, is_set_equal

UNDECLARED_SIZE = 1000
"""Items assumed in lists that no schema describes, when costs are estimated."""
TEXT_PER_UNIT = 10
"""Characters that are looked at for one unit of cost."""

_ARITHMETIC: Mapping[str, tuple[Callable[[Any, Any], Any], frozenset[str]]] = {
    "_+_": (add, frozenset(("int", "uint", "double", "string", "bytes", "google.protobuf.Duration"))),
    "_-_": (subtract, frozenset(("int", "uint", "double", "google.protobuf.Duration"))),
    "_*_": (multiply, frozenset(("int", "uint", "double"))),
    "_/_": (divide, frozenset(("int", "uint", "double"))),
    "_%_": (modulo, frozenset(("int", "uint"))),
}
_ORDER = {"_<_": operator.lt, "_<=_": operator.le, "_>_": operator.gt, "_>=_": operator.ge}
_ORDERED = frozenset(("int", "uint", "double", "string", "bytes", "bool", "google.protobuf.Duration",
                      "google.protobuf.Timestamp"))  # fmt: skip
_NUMBERS = frozenset(("int", "uint", "double"))
_DURATION, _TIMESTAMP = t.DURATION.kind, t.TIMESTAMP.kind

Run = Callable[[list[Any]], Any]


def binary_of(name: str, left: Type, right: Type, run_left: Run, run_right: Run) -> tuple[Type, Run] | None:
    """The result's type and the closure of an operator; None when it takes no such operands."""
    if name in ("_==_", "_!=_"):
        return (
            _equality(left, right, run_left, run_right, negated=name == "_!=_") if t.comparable(left, right) else None
        )
    if name == "@in":
        return _membership(left, right, run_left, run_right)
    if name in _ORDER:
        return _ordering(name, left, right, run_left, run_right)
    if name in _ARITHMETIC:
        return _arithmetic(name, left, right, run_left, run_right)
    return None


def _equality(left: Type, right: Type, run_left: Run, run_right: Run, *, negated: bool) -> tuple[Type, Run]:
    if left.kind == right.kind and left.kind in ("int", "string", "bool"):
        if negated:
            return t.BOOL, lambda frame: not equal(run_left(frame), run_right(frame))
        return t.BOOL, lambda frame: equal(run_left(frame), run_right(frame))
    test = _list_test(left, right) or equal

    def compared(frame: list[Any]) -> bool:
        a, b = run_left(frame), run_right(frame)
        if type(a) in _CONTAINERS and type(b) in _CONTAINERS:
            frame[0].spend(min(weight_of(a), weight_of(b)))
        return test(a, b) is not negated

    return t.BOOL, compared


_CONTAINERS = frozenset((list, dict, tuple))


def weight_of(value: Any) -> int:
    """How many values there are in a value: what a deep comparison visits."""
    if type(value) is dict:
        return 1 + sum(weight_of(part) if type(part) in _CONTAINERS else 1 for part in value.values())
    if type(value) in (list, tuple):
        return 1 + sum(weight_of(part) if type(part) in _CONTAINERS else 1 for part in value)
    return 1


def _list_test(left: Type, right: Type) -> Callable[[Any, Any], bool] | None:
    """Lists that are sets or maps by their schema are equal in any order."""
    if "set" in (left.list_type, right.list_type) or "map" in (left.list_type, right.list_type):
        return lambda a, b: is_set_equal(a, b)
    return None


def _membership(left: Type, right: Type, run_left: Run, run_right: Run) -> tuple[Type, Run] | None:
    match right.kind:
        case "list" if t.comparable(right.params[0], left):
            pass
        case "map" if t.comparable(right.params[0], left):
            return t.BOOL, lambda frame: contains(run_left(frame), run_right(frame))
        case "dyn":
            pass
        case _:
            return None

    def member(frame: list[Any]) -> bool:
        item, container = run_left(frame), run_right(frame)
        if type(container) is list:
            frame[0].spend(len(container) // TEXT_PER_UNIT + 1)
        return contains(item, container)

    return t.BOOL, member


def _ordering(name: str, left: Type, right: Type, run_left: Run, run_right: Run) -> tuple[Type, Run] | None:
    test = _ORDER[name]
    same = left.kind == right.kind and left.kind in _ORDERED
    numbers = {left.kind, right.kind} <= _NUMBERS
    open_ended = "dyn" in (left.kind, right.kind) and {left.kind, right.kind} <= (_ORDERED | {"dyn"})
    if not (same or numbers or open_ended):
        return None
    compared = compare(test)
    return t.BOOL, lambda frame: compared(run_left(frame), run_right(frame))


def _arithmetic(name: str, left: Type, right: Type, run_left: Run, run_right: Run) -> tuple[Type, Run] | None:
    function, kinds = _ARITHMETIC[name]
    pair = (left.kind, right.kind)
    if "dyn" in pair:
        result = t.DYN
    elif left.kind == right.kind and left.kind in kinds:
        result = left
    elif name == "_+_" and pair in ((_TIMESTAMP, _DURATION), (_DURATION, _TIMESTAMP)):
        result = t.TIMESTAMP
    elif name == "_-_" and pair in ((_TIMESTAMP, _DURATION), (_TIMESTAMP, _TIMESTAMP)):
        result = t.TIMESTAMP if right.kind == _DURATION else t.DURATION
    elif name == "_+_" and pair == ("list", "list") and t.comparable(left, right):
        result = Type("list", (t.joined((left.params[0], right.params[0])),))
        function = _merge_of(left) or function
    else:
        return None
    if result.kind in ("int", "double", "uint", _DURATION, _TIMESTAMP) or name != "_+_":
        return result, lambda frame: function(run_left(frame), run_right(frame))

    def grown(frame: list[Any]) -> Any:
        made = function(run_left(frame), run_right(frame))
        if type(made) is list:
            frame[0].spend(len(made))
        elif type(made) in (str, bytes):
            frame[0].spend(len(made) // TEXT_PER_UNIT)
        return made

    return result, grown


def _merge_of(left: Type) -> Callable[[Any, Any], Any] | None:
    """`+` of lists that are sets or maps by their schema: no item twice, the right one's values."""
    if left.list_type == "set":
        return lambda a, b: [*a, *(item for item in b if not any(equal(item, other) for other in a))]
    if left.list_type == "map":
        keys = left.list_keys

        def merge(a: Sequence[Any], b: Sequence[Any]) -> list[Any]:
            merged = {tuple(item.get(key) for key in keys): item for item in a}
            merged.update({tuple(item.get(key) for key in keys): item for item in b})
            return list(merged.values())

        return merge
    return None


_PRODUCTS = frozenset(("sets.contains", "sets.equivalent", "sets.intersects"))
_TEXTS = ("contains", "startsWith", "endsWith", "lowerAscii", "upperAscii", "replace", "split", "substring", "trim", "join",
          "format", "strings.quote", "bytes", "string", "matches", "find", "findAll", "validate")  # fmt: skip
_LINEAR = frozenset(
    (
        *_TEXTS,
        "indexOf",
        "lastIndexOf",
        "sum",
        "min",
        "max",
        "isSorted",
        "quantity",
        "isQuantity",
        "url",
        "isURL",
        "getQuery",
    )
)


def is_costly(name: str) -> bool:
    """Whether what a function does grows with its arguments."""
    return name in _LINEAR or name in _PRODUCTS


def charged(name: str, implementation: Callable[..., Any], runs: Sequence[Run]) -> Run:
    """The closure of a call that pays for the size of its arguments, and of its result, first."""

    def call(frame: list[Any]) -> Any:
        args = [run(frame) for run in runs]
        sizes = [_size_of(arg) for arg in args]
        if name in _PRODUCTS:
            units = (sizes[0] + 1) * (sizes[1] + 1)
        elif name in ("matches", "find", "findAll"):
            units = (sizes[0] + 1) * (1 + len(args[1]) // 4)
        else:
            units = 1 + sum(sizes)
        frame[0].spend(units)
        made = implementation(*args)
        if type(made) in (str, list):
            frame[0].spend(_size_of(made))
        return made

    return call


def _size_of(value: Any) -> int:
    if type(value) in (str, bytes):
        return len(value) // TEXT_PER_UNIT
    return weight_of(value) if type(value) in _CONTAINERS else 0


def checked(implementation: Callable[..., Any], candidates: Sequence[Overload]) -> Callable[..., Any]:
    """An implementation behind a look at the runtime types of arguments that were not known when compiling."""

    def call(*args: Any) -> Any:
        for overload in candidates:
            if all(t.may_be(wanted, arg) for wanted, arg in zip(overload.params, args, strict=True)):
                return implementation(*args)
        raise CelError(NO_OVERLOAD)

    return call


def size_estimate(of_type: Type) -> float:
    """The most items a list or map can have, as far as its schema tells; a guess for what has none."""
    return UNDECLARED_SIZE if of_type.size_max is None else of_type.size_max
