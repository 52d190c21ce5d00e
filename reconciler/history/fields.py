"""Every field of a live object with who owns it, and the lines that declare it.  Pure.

Owners come from metadata.managedFields; lines from the marks a YAML parse keeps.  A field that no entry names was filled in
by the server.  What several managers own has several owners.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from cluster.machinery.fieldsets import SELF, FieldSet, text_of
from cluster.machinery.managed_fields import entries_of, fields_of
from cluster.machinery.objects import Obj
from cluster.machinery.yaml import Document, Marks

_NEVER_OWNED = frozenset({
    "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "selfLink", "managedFields",
    "deletionTimestamp", "deletionGracePeriodSeconds", "generateName",
})  # fmt: skip
"""System metadata: nobody's."""


class Owner(NamedTuple):
    """One manager as the server recorded it; `time` (RFC 3339) is that of its last change to any of its fields."""

    manager: str
    operation: str
    subresource: str
    time: str


@dataclass(frozen=True, slots=True)
class LiveField:
    """A leaf, or a list or map owned as a whole.  `words` are FieldsV1's, with `i:` for a plain position in a list."""

    words: tuple[str, ...]
    path: str
    indexed: str
    owners: tuple[Owner, ...]

    def is_at(self, wanted: str) -> bool:
        """Is it the field that `wanted` names, or below it?  List items by key or by index, quotes left out or not."""
        if not wanted:
            return True
        plain = wanted.lstrip(".").replace('"', "")
        return any(_begins(path.replace('"', ""), plain) for path in (self.path, self.indexed))


class Span(NamedTuple):
    """Lines from `start` up to, not including, `end`; `exact` False when only something above the field was found."""

    start: int
    end: int
    exact: bool


class _Claim(NamedTuple):
    owner: Owner
    below: FieldSet


def live_fields(obj: Obj) -> Sequence[LiveField]:
    """In the order of the object, without apiVersion, kind and system metadata."""
    claims = [
        _Claim(
            Owner(
                str(entry.get("manager", "")),
                str(entry.get("operation", "")),
                str(entry.get("subresource", "")),
                str(entry.get("time", "")),
            ),
            fields_of(entry),
        )
        for entry in entries_of(obj)
    ]
    found: list[LiveField] = []
    for name, value in obj.items():
        if name in ("apiVersion", "kind"):
            continue
        if name == "metadata":
            value = {key: below for key, below in value.items() if key not in _NEVER_OWNED}
        word = f"f:{name}"
        found += _below(value, (word,), (word,), _under(claims, word), ())
    return found


def _under(claims: Sequence[_Claim], word: str) -> Sequence[_Claim]:
    return [_Claim(claim.owner, claim.below[word]) for claim in claims if word in claim.below]


def _below(
    value: Any,
    words: tuple[str, ...],
    places: tuple[str, ...],
    claims: Sequence[_Claim],
    inherited: tuple[Owner, ...],
) -> Iterator[LiveField]:
    """`inherited` own something above as a whole."""
    whole = tuple(claim.owner for claim in claims if not claim.below)
    owners = tuple(dict.fromkeys((*whole, *inherited)))
    leads_on = any(word != SELF for claim in claims for word in claim.below)
    if isinstance(value, Mapping) and value and (leads_on or not owners):
        for name, part in value.items():
            word = f"f:{name}"
            yield from _below(part, (*words, word), (*places, word), _under(claims, word), whole)
    elif isinstance(value, list) and value and (leads_on or not owners):
        for index, part in enumerate(value):
            word = _item_word(part, index, claims)
            yield from _below(part, (*words, word), (*places, f"i:{index}"), _under(claims, word), whole)
    else:
        listed = tuple(claim.owner for claim in claims)
        owners = owners or tuple(dict.fromkeys(listed))
        yield LiveField(words, _text(words), _text(places), owners)


def _item_word(item: Any, index: int, claims: Sequence[_Claim]) -> str:
    """How managedFields call this item of a list: by its keys, by its value, or by its position."""
    for claim in claims:
        for word in claim.below:
            kind, _, rest = word.partition(":")
            if (kind == "k" and _has_keys(item, orjson.loads(rest))) or (kind == "v" and orjson.loads(rest) == item):
                return word
    return f"i:{index}"


def _has_keys(item: Any, keys: Mapping[str, Any]) -> bool:
    """A key that is absent was defaulted by the server (`protocol: TCP`)."""
    return isinstance(item, Mapping) and all(item.get(name, value) == value for name, value in keys.items())


def _text(words: Sequence[str]) -> str:
    return "".join(map(text_of, words)).lstrip(".")


def _begins(path: str, wanted: str) -> bool:
    return path == wanted or (path.startswith(wanted) and path[len(wanted)] in ".[")


def span_of(document: Document, obj: Obj, marks: Marks, words: Sequence[str], *, last_line: int) -> Span:
    """The lines of `document` that declare the field; `obj` and `marks` are the object's within it (a List has several).

    `last_line` is the last of the document.  A field that is not declared there gets the place of what is above it.
    """
    value: Any = obj
    exact = True
    for word in words:
        step = _step(value, word)
        below = marks.below.get(step) if step is not None else None
        if step is None or below is None:
            exact = False
            break
        marks, value = below, value[step]
    lines = sorted(set(_lines(marks)))
    following = [line for line in _lines(document.marks) if line > lines[-1]]
    return Span(marks.line, min(following, default=last_line + 1), exact)


def _step(value: Any, word: str) -> str | int | None:
    kind, _, rest = word.partition(":")
    if isinstance(value, Mapping):
        return rest if kind == "f" and rest in value else None
    if not isinstance(value, list):
        return None
    if kind == "k":
        keys = orjson.loads(rest)
        return next((index for index, item in enumerate(value) if _has_keys(item, keys)), None)
    if kind == "v":
        wanted = orjson.loads(rest)
        return next((index for index, item in enumerate(value) if item == wanted), None)
    return int(rest) if kind == "i" and int(rest) < len(value) else None


def _lines(marks: Marks) -> Iterator[int]:
    yield marks.line
    for below in marks.below.values():
        yield from _lines(below)
