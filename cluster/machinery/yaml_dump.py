"""Values as tidy YAML: block style, two spaces, lists at their key's indentation, as kubectl prints them.

A string goes without quotes only where no YAML reader could take it for something else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from cluster.machinery.yaml_scalars import is_plain_string

_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_BLOCK_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\t]| \n| \\Z")


def dump(obj: Any) -> str:
    """The value as one YAML document ending in a newline; keys keep their order."""
    lines: list[str] = []
    _write(obj, "", "", lines)
    return "\n".join(lines) + "\n"


def _write(value: Any, lead: str, indent: str, lines: list[str]) -> None:
    """Append the value; `lead` is what its first line already holds (a key or dashes), `indent` is for the others."""
    if isinstance(value, dict | Mapping) and value:
        for index, (key, part) in enumerate(value.items()):
            start = (lead if index == 0 else indent) + _key(str(key)) + ":"
            _write_field(part, start, indent, lines)
    elif isinstance(value, list | tuple) and value:
        for index, item in enumerate(value):
            _write(item, (lead if index == 0 else indent) + "- ", indent + "  ", lines)
    else:
        first, *rest = _scalar(value, indent)
        lines.append(lead + first)
        lines.extend(rest)


def _write_field(part: Any, start: str, indent: str, lines: list[str]) -> None:
    if isinstance(part, dict | Mapping) and part:
        lines.append(start)
        _write(part, indent + "  ", indent + "  ", lines)
    elif isinstance(part, list | tuple) and part:
        lines.append(start)
        _write(part, indent, indent, lines)
    else:
        first, *rest = _scalar(part, indent + "  ")
        lines.append(f"{start} {first}")
        lines.extend(rest)


def _key(text: str) -> str:
    return text if is_plain_string(text) else _quoted(text)


def _scalar(value: Any, indent: str) -> list[str]:
    if not isinstance(value, str):
        if isinstance(value, dict | Mapping):
            return ["{}"]
        if isinstance(value, list | tuple):
            return ["[]"]
        return [orjson.dumps(value).decode()]
    if "\n" in value.rstrip("\n") and value[0] not in " \n" and not _BLOCK_UNSAFE.search(value):
        body = value.rstrip("\n")
        ending = len(value) - len(body)
        mark = "|-" if ending == 0 else "|" if ending == 1 else "|+"
        text = [indent + line if line else "" for line in body.split("\n")]
        return [mark, *text, *[""] * (ending - 1)]
    return [value if is_plain_string(value) else _quoted(value)]


def _quoted(text: str) -> str:
    written = orjson.dumps(text).decode()
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", written)
