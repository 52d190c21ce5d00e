"""YAML in and out, for API bodies and Git alike: hostile text in, plain JSON values with line numbers out.

The C parser delivers events; nothing recurses over the input, so depth is checked before it can hurt, and aliases are
counted by what they expand to.  Upstream oracle: what kubectl makes of the same text.
Deliberate difference: duplicate keys are refused.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import yaml
from yaml._yaml import CParser
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from cluster.machinery.objects import Obj
from cluster.machinery.yaml_dump import dump
from cluster.machinery.yaml_scalars import key_text, resolve_plain

__all__ = ["LIMITS", "Document", "Limits", "YamlError", "dump", "load_documents"]

_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on one text.  `nodes_max` counts every value, those an alias repeats included."""

    size_max_bytes: int = 3 * 1024 * 1024
    depth_max: int = 100
    nodes_max: int = 500_000
    documents_max: int = 10_000


LIMITS = Limits()


class YamlError(ValueError):
    """The text is not acceptable YAML: `message` for people, `line` and `column` from 1 (0: unknown)."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(f"line {line}, column {column}: {message}" if line else message)
        self.message = message
        self.line = line
        self.column = column


@dataclass(slots=True, eq=False)
class Marks:
    """The line of a value and of what is below it."""

    line: int
    below: dict[str | int, Marks] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Document:
    """One object and where it stood: `line` is its first line, from 1."""

    obj: Obj
    line: int
    marks: Marks

    def line_of(self, path: str) -> int:
        """The line of the field at `path` (`spec.containers[0].image`, `labels[a.b/c]`), or of the nearest thing above it."""
        marks = self.marks
        for match in _PATH_PART.finditer(path):
            name: str | int = match[0] if match[1] is None else match[1]
            below = marks.below.get(int(name)) if isinstance(name, str) and name.isdigit() else None
            below = below or marks.below.get(name)
            if below is None:
                break
            marks = below
        return marks.line


_PATH_PART = re.compile(r"[^.\[\]]+|\[([^\]]*)\]")


def load_documents(data: bytes | str, *, limits: Limits = LIMITS) -> tuple[Document, ...]:
    """Every document of the text that is not empty.  Raises YamlError; a document that is no mapping is an error too."""
    try:
        raw = data.encode() if isinstance(data, str) else bytes(data)
    except UnicodeEncodeError as error:
        raise YamlError("the text is not valid Unicode") from error
    if len(raw) > limits.size_max_bytes:
        raise YamlError(f"the text has {len(raw)} bytes, at most {limits.size_max_bytes} are accepted")
    if raw.lstrip()[:1] == b"{" and (document := _json_document(raw, limits)) is not None:
        return (document,)
    documents: list[Document] = []
    for value, marks, line, column in _Loader(raw, limits).documents():
        if value is None:
            continue
        if not isinstance(value, dict):
            raise YamlError("a document must be a mapping", line, column)
        documents.append(Document(value, line, marks))
        if len(documents) > limits.documents_max:
            raise YamlError(f"more than {limits.documents_max} documents", line, column)
    return tuple(documents)


class _DuplicateKeyError(ValueError):
    pass


def _json_document(raw: bytes, limits: Limits) -> Document | None:
    """A text that is one JSON object; None when it is not, and YAML has to find out what it is.

    A YAML parser refuses some JSON (surrogate pairs).  Only the first line is known of it.
    """
    if max(raw.count(b"{"), raw.count(b"[")) > limits.nodes_max:
        raise YamlError(f"more than {limits.nodes_max} values")
    try:
        value = orjson.loads(raw)  # strict: no lone surrogates, no infinities, no endless integers
        json.loads(raw, object_pairs_hook=_unique_pairs)  # the only one that shows duplicates
    except _DuplicateKeyError as error:
        raise YamlError(str(error)) from error
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    if _depth_over(value, limits.depth_max):
        raise YamlError(f"nested deeper than {limits.depth_max} levels")
    line = raw[: len(raw) - len(raw.lstrip())].count(b"\n") + 1
    return Document(value, line, Marks(line))


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKeyError(f"duplicate key {key[:64]!r}")
            seen.add(key)
    return made


def _depth_over(value: Any, depth: int) -> bool:
    if depth < 0:
        return True
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_depth_over(part, depth - 1) for part in parts if isinstance(part, dict | list))


@dataclass(slots=True, eq=False)
class _Frame:
    """A collection that is being read."""

    value: dict[str, Any] | list[Any]
    marks: Marks
    anchor: str | None
    nodes_before: int
    key: str | None = None
    key_line: int = 0
    merging: bool = False
    merges: list[Mapping[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Anchored:
    value: Any
    marks: Marks
    nodes: int


class _Loader:
    """One text's events turned into values, iteratively."""

    def __init__(self, raw: bytes, limits: Limits) -> None:
        self._parser = CParser(raw)
        self._limits = limits
        self._nodes = 0

    def documents(self) -> Iterator[tuple[Any, Marks, int, int]]:
        """Each document's value, marks, first line and column."""
        while True:
            event = self._next()
            if isinstance(event, StreamEndEvent):
                return
            if isinstance(event, DocumentStartEvent):
                yield self._document()

    def _next(self) -> Any:
        try:
            return self._parser.get_event()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            text = ": ".join(part for part in (error.context, error.problem) if part) or "malformed YAML"
            if mark is None:
                raise YamlError(text) from error
            raise YamlError(text, mark.line + 1, mark.column + 1) from error
        except yaml.YAMLError as error:
            raise YamlError(str(getattr(error, "reason", "malformed YAML"))) from error

    def _document(self) -> tuple[Any, Marks, int, int]:
        anchors: dict[str, _Anchored] = {}
        frames: list[_Frame] = []
        result: tuple[Any, Marks, int, int] = (None, Marks(0), 0, 0)
        while True:
            event = self._next()
            line, column = event.start_mark.line + 1, event.start_mark.column + 1
            if isinstance(event, DocumentEndEvent):
                return result
            frame = frames[-1] if frames else None
            wants_key = frame is not None and isinstance(frame.value, dict) and frame.key is None and not frame.merging
            self._nodes += 1
            if isinstance(event, ScalarEvent):
                value, marks = self._scalar(event, line, column), Marks(line)
                if frame is not None and wants_key:
                    self._take_key(frame, event, value, line, column)
                    continue
                if event.anchor:
                    anchors[event.anchor] = _Anchored(value, marks, 1)
            elif isinstance(event, MappingStartEvent | SequenceStartEvent):
                if wants_key:
                    raise YamlError("a key must be a plain value", line, column)
                if len(frames) >= self._limits.depth_max:
                    raise YamlError(f"nested deeper than {self._limits.depth_max} levels", line, column)
                self._refuse_tag(event, line, column)
                made: dict[str, Any] | list[Any] = {} if isinstance(event, MappingStartEvent) else []
                frames.append(_Frame(made, Marks(line), event.anchor, self._nodes))
                continue
            elif isinstance(event, MappingEndEvent | SequenceEndEvent):
                done = frames.pop()
                value, marks = done.value, done.marks
                for merged in done.merges:
                    value = {**merged, **value} if isinstance(value, dict) else value
                if done.anchor:
                    anchors[done.anchor] = _Anchored(value, marks, self._nodes - done.nodes_before + 1)
                frame = frames[-1] if frames else None
                line, column = marks.line, 1
            elif isinstance(event, AliasEvent):
                name = event.anchor or ""
                anchored = anchors.get(name)
                if anchored is None:
                    raise YamlError(f"unknown or recursive alias {name[:64]!r}", line, column)
                self._nodes += anchored.nodes
                value, marks = anchored.value, anchored.marks
                if frame is not None and wants_key:
                    self._take_key(frame, None, value, line, column)
                    continue
            else:
                raise YamlError("malformed YAML", line, column)
            if self._nodes > self._limits.nodes_max:
                raise YamlError(f"more than {self._limits.nodes_max} values, aliases expanded", line, column)
            if frame is None:
                result = (value, marks, line, column)
            else:
                _put(frame, value, marks, line, column)

    def _take_key(self, frame: _Frame, event: ScalarEvent | None, value: Any, line: int, column: int) -> None:
        if event is not None and event.value == "<<" and event.implicit[0] and event.tag is None:
            frame.merging = True
            return
        key = key_text(value) if not isinstance(value, dict | list) else None
        if key is None:
            raise YamlError("a key must be a plain value", line, column)
        if key in frame.value:
            raise YamlError(f"duplicate key {key[:64]!r}", line, column)
        frame.key, frame.key_line = key, line

    def _refuse_tag(self, event: MappingStartEvent | SequenceStartEvent, line: int, column: int) -> None:
        wanted = "map" if isinstance(event, MappingStartEvent) else "seq"
        if event.tag not in (None, "!", _TAG + wanted):
            raise YamlError(f"unsupported tag {event.tag[:64]!r}", line, column)

    def _scalar(self, event: ScalarEvent, line: int, column: int) -> Any:
        text: str = event.value
        try:
            if event.tag is None:
                return resolve_plain(text) if event.implicit[0] else text
            return _tagged(event.tag, text)
        except ValueError as error:
            raise YamlError(str(error), line, column) from error


def _put(frame: _Frame, value: Any, marks: Marks, line: int, column: int) -> None:
    if isinstance(frame.value, list):
        frame.marks.below[len(frame.value)] = marks
        frame.value.append(value)
    elif frame.merging:
        merged = value if isinstance(value, list) else [value]
        if not all(isinstance(part, dict) for part in merged):
            raise YamlError("map merge requires map or sequence of maps as the value", line, column)
        frame.merges.extend(merged)
        frame.merging = False
    elif frame.key is not None:
        frame.value[frame.key] = value
        frame.marks.below[frame.key] = Marks(frame.key_line, marks.below)
        frame.key = None


def _tagged(tag: str, text: str) -> Any:
    """An explicitly tagged scalar; its text must be of that type.  Raises ValueError."""
    kind = tag.removeprefix(_TAG)
    if kind in ("!", "str"):
        return text
    if kind == "binary":
        try:
            return base64.b64decode("".join(text.split()), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ValueError("!!binary value is not base64 of text") from error
    value = resolve_plain(text)
    fits = {
        "bool": isinstance(value, bool),
        "int": isinstance(value, int) and not isinstance(value, bool),
        "float": isinstance(value, int | float) and not isinstance(value, bool),
        "null": value is None,
    }.get(kind)
    if fits is None:
        raise ValueError(f"unsupported tag {tag[:64]!r}")
    if not fits:
        raise ValueError(f"the value is no !!{kind}")
    return value
