"""How defaults are laid over an object the way Go's decoder and defaulters together do it.  Inputs are never changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cluster.machinery.objects import Obj

_NO_DEFAULTS: Mapping[str, Any] = {}


def filled(
    obj: Obj, zero: Mapping[str, Any] = _NO_DEFAULTS, absent: Mapping[str, Any] = _NO_DEFAULTS
) -> dict[str, Any]:
    """A copy of `obj` without nulls and with defaults.

    `zero` holds fields whose zero value means unset (Go's plain values: "", 0), `absent` those where zero is a choice (Go's
    pointers).
    """
    copy = {key: value for key, value in obj.items() if value is not None}
    for key, value in zero.items():
        if not copy.get(key):
            copy[key] = value
    for key, value in absent.items():
        if key not in copy:
            copy[key] = value
    return copy


def each(target: dict[str, Any], field: str, change: Callable[[Obj], Obj]) -> None:
    """Replace every item of the list at `field` by its changed form; an absent list stays absent."""
    if items := target.get(field):
        target[field] = [change(item) for item in items]


def inner(target: dict[str, Any], field: str, change: Callable[[Obj], Obj]) -> None:
    """Replace the mapping at `field` by its changed form; an absent one stays absent."""
    if (value := target.get(field)) is not None:
        target[field] = change(value)
