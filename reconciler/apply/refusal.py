"""What a server's refusal of an object may tell: its message, unless that repeats a Secret's content.  Pure.

The one place where messages about objects enter what users, logs, Events and Runs see.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cluster.machinery.errors import ApiError
from cluster.machinery.objects import Obj, field_of

ECHO_CHARS = 6
"""So many characters of a value in a row in a message are an echo; shorter values must stand there whole."""

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def refusal_of(obj: Obj, error: ApiError) -> str:
    """The server's message.  Of a Secret: without it when it echoes values, then only the fields at fault are named.

    A server may quote what it was sent: validation quotes values, a patch that does not fit is quoted as a whole.
    """
    if obj.get("kind") != "Secret" or not _echoes(error.message, _values(obj)):
        return error.message
    fields = sorted({cause.field for cause in error.causes if cause.field})
    told = [field for field in fields if not _echoes(field, _values(obj))]
    at = f" at {', '.join(told)}" if told else ""
    return f"{error.reason}{at}: the server's message repeats the Secret's values and is not shown"


def _echoes(message: str, values: Iterator[str]) -> bool:
    pieces = {message[start : start + ECHO_CHARS] for start in range(len(message) - ECHO_CHARS + 1)}
    for value in values:
        if len(value) < ECHO_CHARS:
            if value and value in message:
                return True
        elif any(value[start : start + ECHO_CHARS] in pieces for start in range(len(value) - ECHO_CHARS + 1)):
            return True
    return False


def _values(secret: Obj) -> Iterator[str]:
    """Every form in which a value of the Secret may be quoted."""
    for field in ("data", "stringData"):
        table = secret.get(field)
        for value in _leaves(table):
            yield value
            if field == "data":
                yield from _decoded(value)
            else:
                yield base64.b64encode(value.encode()).decode()
    annotation = field_of(secret, "metadata", "annotations", LAST_APPLIED, default="")
    if annotation:
        yield str(annotation)


def _leaves(value: Any) -> Iterator[str]:
    """Texts and numbers at any depth: what is malformed is quoted too."""
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _leaves(each)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for each in value:
            yield from _leaves(each)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _decoded(value: str) -> Iterator[str]:
    try:
        yield base64.b64decode(value).decode("utf-8", "replace")
    except binascii.Error:
        return
