"""Sets of field paths, in the very form that managedFields stores: FieldsV1 as nested dictionaries.

A set is a trie: `{"f:spec": {"f:replicas": {}}}`.  Below the root an empty node is a member, a node with `"."` is a member with
members below it, any other only leads to them.  Words are `f:field`, `k:{"key":"value"}`, `v:value`, `i:index`.  The empty root
is the empty set.  Nothing here changes a set: results share what they can, and are the first argument itself when equal.

Upstream: structured-merge-diff/fieldpath (Set, PathElement, serialize).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import orjson

FieldSet: TypeAlias = Mapping[str, Any]

EMPTY: FieldSet = {}
MEMBER: FieldSet = {}
SELF = "."


def union(a: FieldSet, b: FieldSet) -> FieldSet:
    """Members of either."""
    if not b:
        return a
    return _joined(a, b) if a else b


def difference(a: FieldSet, b: FieldSet) -> FieldSet:
    """Members of `a` that are not members of `b`; what lies below a member of `b` stays."""
    return (_subtracted(a, b, below=False) or EMPTY) if a and b else a


def difference_below(a: FieldSet, b: FieldSet) -> FieldSet:
    """Members of `a` that are neither members of `b` nor below one."""
    return (_subtracted(a, b, below=True) or EMPTY) if a and b else a


def intersection(a: FieldSet, b: FieldSet) -> FieldSet:
    """Members of both."""
    return (_common(a, b) or EMPTY) if a and b else EMPTY


def is_member(node: FieldSet) -> bool:
    """Whether a node below the root stands for a member."""
    return not node or SELF in node


def has_path(a: FieldSet, path: tuple[str, ...]) -> bool:
    """Whether the path, given in words, is a member."""
    node = a
    for word in path:
        if (below := node.get(word)) is None:
            return False
        node = below
    return bool(path) and is_member(node)


def paths(a: FieldSet) -> Iterator[str]:
    """Every member as people read it (`.spec.containers[name="c"].image`), in sorted order."""
    return _paths(a, "")


def _paths(node: FieldSet, prefix: str) -> Iterator[str]:
    for word in sorted(node):
        if word == SELF:
            continue
        path = prefix + text_of(word)
        if is_member(node[word]):
            yield path
        yield from _paths(node[word], path)


def text_of(word: str) -> str:
    """One word as messages show it: `.name`, `[name="c",port=80]`, `[="x"]`, `[0]`."""
    kind, _, rest = word.partition(":")
    match kind:
        case "f":
            return f".{rest}"
        case "k":
            keys: Mapping[str, Any] = orjson.loads(rest)
            return "[" + ",".join(f"{name}={orjson.dumps(keys[name]).decode()}" for name in sorted(keys)) + "]"
        case "v":
            return f"[={rest}]"
        case _:
            return f"[{rest}]"


def _made(children: dict[str, Any], member: bool) -> FieldSet | None:
    if not children:
        return MEMBER if member else None
    return {SELF: MEMBER, **children} if member else children


def _joined(a: FieldSet, b: FieldSet) -> FieldSet:
    if a is b:
        return a
    if not a:
        return b if is_member(b) else {SELF: MEMBER, **b}
    if not b:
        return a if SELF in a else {SELF: MEMBER, **a}
    changed: dict[str, Any] = {}
    for word, below in b.items():
        mine = a.get(word)
        if mine is None:
            changed[word] = below
        elif (joined := _joined(mine, below)) is not mine:
            changed[word] = joined
    return {**a, **changed} if changed else a


def _subtracted(a: FieldSet, b: FieldSet, *, below: bool) -> FieldSet | None:
    gone_here = is_member(b)
    if gone_here and below:
        return None
    member = is_member(a)
    changed: dict[str, FieldSet | None] = {}
    for word, other in b.items():
        if word == SELF or (mine := a.get(word)) is None:
            continue
        rest = _subtracted(mine, other, below=below)
        if rest is not mine:
            changed[word] = rest
    if not changed and not (member and gone_here):
        return a
    children = {word: node for word, node in a.items() if word != SELF and word not in changed}
    children |= {word: node for word, node in changed.items() if node is not None}
    return _made(children, member and not gone_here)


def _common(a: FieldSet, b: FieldSet) -> FieldSet | None:
    small, large = (a, b) if len(a) <= len(b) else (b, a)
    children: dict[str, Any] = {}
    for word, node in small.items():
        if word != SELF and (other := large.get(word)) is not None and (both := _common(node, other)) is not None:
            children[word] = both
    return _made(children, is_member(a) and is_member(b))
