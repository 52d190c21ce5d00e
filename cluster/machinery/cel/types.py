"""CEL's static types, which of them fit where, and the declarations of functions.

Upstream: cel-go/checker/types.go, common/types.  A declaration is written as its signature: `list(A).indexOf(A) int`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster.machinery.cel.values import type_name


@dataclass(frozen=True, slots=True)
class Type:
    """`kind` is CEL's name of the type ("int", "list", "map", "object", "dyn", ...) or "param" in declarations.

    `params` are a list's item, a map's key and value, an optional's value.  `name` tells objects and params apart;
    `fields` are an object's, by the names that expressions use.  The rest is known of types that a schema declares:
    `size_max` bounds the items, entries or characters, `bytes_min` is the shortest JSON, `list_type` and `list_keys` are a
    list's merge rules.
    """

    kind: str
    params: tuple[Type, ...] = ()
    name: str = ""
    fields: Mapping[str, Field] = field(default_factory=dict, compare=False, repr=False)
    size_max: float | None = field(default=None, compare=False)
    bytes_min: int = field(default=2, compare=False)
    list_type: str = field(default="", compare=False)
    list_keys: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        if self.kind in ("object", "param"):
            return self.name
        if self.params:
            return f"{self.kind}({', '.join(str(param) for param in self.params)})"
        return self.kind


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an object: its type, its real name, which expressions may have to escape, and how its JSON becomes a value
    of the type (None: as it is)."""

    type: Type
    key: str
    convert: Callable[[Any], Any] | None = None


BOOL, INT, UINT, DOUBLE = Type("bool"), Type("int"), Type("uint"), Type("double")
STRING, BYTES, NULL, DYN = Type("string"), Type("bytes"), Type("null_type"), Type("dyn")
DURATION, TIMESTAMP = Type("google.protobuf.Duration"), Type("google.protobuf.Timestamp")
TYPE = Type("type")

_NULLABLE = frozenset(("object", "dyn", "google.protobuf.Duration", "google.protobuf.Timestamp", "optional_type"))
_NUMBERS = frozenset(("int", "uint", "double"))


def list_of(item: Type) -> Type:
    return Type("list", (item,))


def map_of(key: Type, value: Type) -> Type:
    return Type("map", (key, value))


def optional_of(value: Type) -> Type:
    return Type("optional_type", (value,))


def fits(wanted: Type, given: Type, bound: dict[str, Type]) -> bool:
    """Whether a value of type `given` may stand where `wanted` is declared; type parameters are bound as they are met."""
    if wanted.kind == "param":
        known = bound.get(wanted.name)
        if known is None or known.kind == "dyn":
            bound[wanted.name] = given if known is None or given.kind != "dyn" else known
            return True
        if fits(known, given, bound):
            return True
        if fits(given, known, bound):
            bound[wanted.name] = given
            return True
        return False
    if wanted.kind == "dyn" or given.kind == "dyn" or given.kind == "error":
        return True
    if given.kind == "null_type" and wanted.kind in _NULLABLE:
        return True
    if wanted.kind != given.kind:
        return False
    if wanted.kind == "object":
        return wanted.name == given.name
    return len(wanted.params) == len(given.params) and all(
        fits(a, b, bound) for a, b in zip(wanted.params, given.params, strict=True)
    )


def comparable(left: Type, right: Type) -> bool:
    """Whether `==` may be asked of the two: the same type, or two kinds of numbers."""
    if left.kind in _NUMBERS and right.kind in _NUMBERS:
        return True
    if fits(left, right, {}) or fits(right, left, {}):
        return True
    return (
        left.kind == right.kind
        and left.kind in ("list", "map")
        and all(comparable(a, b) for a, b in zip(left.params, right.params, strict=True))
    )


def joined(types: Iterable[Type]) -> Type:
    """The one type of several values: theirs, or dyn when they differ."""
    found: Type | None = None
    for given in types:
        if found is None or (found.kind == "null_type" and given.kind in _NULLABLE):
            found = given
        elif found != given and not (given.kind == "null_type" and found.kind in _NULLABLE):
            return DYN
    return DYN if found is None else found


def filled(declared: Type, bound: Mapping[str, Type]) -> Type:
    """A declared type with its parameters replaced by what they were bound to; unbound ones are dyn."""
    if declared.kind == "param":
        return bound.get(declared.name, DYN)
    if not declared.params:
        return declared
    return Type(declared.kind, tuple(filled(param, bound) for param in declared.params), declared.name)


def may_be(declared: Type, value: Any) -> bool:
    """Whether a runtime value is of a declared type, looking no deeper than its outside."""
    match declared.kind:
        case "param" | "dyn":
            return True
        case "object":
            return isinstance(value, Mapping)
        case kind:
            return kind == type_name(value)


@dataclass(frozen=True, slots=True)
class Overload:
    """One way to call a function.  A member's first parameter is its target."""

    function: str
    params: tuple[Type, ...]
    result: Type
    is_member: bool


def resolve(
    overloads: Sequence[Overload], args: Sequence[Type], *, is_member: bool
) -> tuple[Type | None, tuple[Overload, ...]]:
    """The type of a call and the overloads it may mean; None when no overload takes such arguments."""
    candidates: list[Overload] = []
    results: list[Type] = []
    for overload in overloads:
        bound: dict[str, Type] = {}
        if overload.is_member != is_member or len(overload.params) != len(args):
            continue
        if all(fits(wanted, given, bound) for wanted, given in zip(overload.params, args, strict=True)):
            candidates.append(overload)
            results.append(filled(overload.result, bound))
    return (joined(results) if candidates else None), tuple(candidates)


_ALIASES = {"Duration": DURATION, "Timestamp": TIMESTAMP, "null": NULL, "optional": Type("optional_type")}


def declare(text: str) -> Mapping[str, tuple[Overload, ...]]:
    """Overloads by function name, from one signature a line.  Single capital letters are type parameters."""
    found: dict[str, list[Overload]] = {}
    for line in text.strip().splitlines():
        overload = _signature(line.strip())
        found.setdefault(overload.function, []).append(overload)
    return {name: tuple(overloads) for name, overloads in found.items()}


def _signature(line: str) -> Overload:
    """`string.find(string) string` is a member, `::sets.contains(list(A), list(A)) bool` a function with a dotted name."""
    is_member = not line.startswith("::")
    text = line.removeprefix("::")
    before, _, result = text.rpartition(" ")
    opened = _opening(before)
    head, params = before[:opened], before[opened + 1 : -1]
    types = [_type(part) for part in _split(params)]
    if is_member:
        target, _, name = head.rpartition(".")
        return Overload(name, (_type(target), *types), _type(result), is_member=True)
    return Overload(head, tuple(types), _type(result), is_member=False)


def _opening(text: str) -> int:
    """Where the bracket opens that the text ends with."""
    depth = 0
    for index in range(len(text) - 1, -1, -1):
        depth += {")": 1, "(": -1}.get(text[index], 0)
        if not depth:
            return index
    raise ValueError(f"unbalanced signature: {text}")


def _split(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for index, letter in enumerate(text):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and not depth:
            parts.append(text[start:index].strip())
            start = index + 1
    last = text[start:].strip()
    return [*parts, last] if last else parts


def _type(text: str) -> Type:
    name, bracket, rest = text.partition("(")
    params = tuple(_type(part) for part in _split(rest[:-1])) if bracket else ()
    if len(name) == 1 and name.isupper():
        return Type("param", name=name)
    alias = _ALIASES.get(name)
    return Type(alias.kind if alias else name, params)
