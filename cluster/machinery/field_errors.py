"""What is wrong with a field, worded as upstream words it: builders of Causes for 422 answers.

Upstream: apimachinery/pkg/util/validation/field/errors.go.  Paths look like `spec.containers[0].name`,
map keys like `labels[a/b]`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from cluster.machinery.errors import Cause

VALUE_TEXT_MAX = 1024
"""Longest quotation of a bad value, in characters; the rest is cut and marked with an ellipsis."""


def invalid(path: str, value: Any, why: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {quoted(value)}: {why}", path)


def type_invalid(path: str, value: Any, why: str) -> Cause:
    return Cause("FieldValueTypeInvalid", f"Invalid value: {quoted(value)}: {why}", path)


def required(path: str, why: str = "") -> Cause:
    return Cause("FieldValueRequired", f"Required value: {why}" if why else "Required value", path)


def duplicate(path: str, value: Any) -> Cause:
    return Cause("FieldValueDuplicate", f"Duplicate value: {quoted(value)}", path)


def not_supported(path: str, value: Any, supported: Iterable[Any]) -> Cause:
    """`supported` is listed in the order given."""
    listed = ", ".join(quoted(choice) for choice in supported)
    return Cause("FieldValueNotSupported", f"Unsupported value: {quoted(value)}: supported values: {listed}", path)


def forbidden(path: str, why: str) -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {why}", path)


def too_long(path: str, max_bytes: int) -> Cause:
    return Cause("FieldValueTooLong", f"Too long: may not be more than {max_bytes} bytes", path)


def too_many(path: str, actual: int, most: int) -> Cause:
    return Cause("FieldValueTooMany", f"Too many: {actual}: must have at most {most} items", path)


def not_found(path: str, value: Any) -> Cause:
    return Cause("FieldValueNotFound", f"Not found: {quoted(value)}", path)


def child(path: str, name: str) -> str:
    """The path of field `name` below `path`; the root is the empty path."""
    return f"{path}.{name}" if path else name


def quoted(value: Any) -> str:
    """A value as messages show it: strings in quotes, the rest as JSON, null as a quoted word."""
    if value is None:
        return '"null"'
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    return text if len(text) <= VALUE_TEXT_MAX else text[:VALUE_TEXT_MAX] + "..."
