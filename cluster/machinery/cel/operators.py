"""The operators at work: arithmetic within 64 bits, ordering, membership, indexing.  Values in, a value or CelError out.

Upstream: cel-spec/doc/langdef.md, cel-go/common/types.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from cluster.machinery.cel.values import (
    INT_MAX,
    INT_MIN,
    NONE,
    UINT_MAX,
    CelError,
    Duration,
    Optional,
    Timestamp,
    Uint,
    duration_of,
    equal,
    timestamp_of,
    type_name,
)

NO_OVERLOAD = "no such overload"


def whole(value: int) -> int:
    """An int result, if it fits."""
    if INT_MIN <= value <= INT_MAX:
        return value
    raise CelError("integer overflow")


def unsigned(value: int) -> Uint:
    if 0 <= value <= UINT_MAX:
        return Uint(value)
    raise CelError("unsigned integer overflow")


def add(left: Any, right: Any) -> Any:
    kind = type(left)
    if kind is type(right):
        match left:
            case bool():
                pass
            case Uint():
                return unsigned(int(left) + int(right))
            case int():
                return whole(left + right)
            case float() | str() | bytes():
                return left + right
            case Duration():
                return duration_of(left.nanos + right.nanos)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return [*left, *right]
    if isinstance(left, Timestamp) and isinstance(right, Duration):
        return timestamp_of(left.nanos + right.nanos)
    if isinstance(left, Duration) and isinstance(right, Timestamp):
        return timestamp_of(left.nanos + right.nanos)
    raise CelError(NO_OVERLOAD)


def subtract(left: Any, right: Any) -> Any:
    if type(left) is type(right):
        match left:
            case bool():
                pass
            case Uint():
                return unsigned(int(left) - int(right))
            case int():
                return whole(left - right)
            case float():
                return left - right
            case Duration() | Timestamp():
                return duration_of(left.nanos - right.nanos)
    if isinstance(left, Timestamp) and isinstance(right, Duration):
        return timestamp_of(left.nanos - right.nanos)
    raise CelError(NO_OVERLOAD)


def multiply(left: Any, right: Any) -> Any:
    if type(left) is type(right) and type(left) is not bool:
        match left:
            case Uint():
                return unsigned(int(left) * int(right))
            case int():
                return whole(left * right)
            case float():
                return left * right
    raise CelError(NO_OVERLOAD)


def divide(left: Any, right: Any) -> Any:
    if type(left) is type(right) and type(left) is not bool:
        match left:
            case int():
                if right == 0:
                    raise CelError("division by zero")
                quotient = abs(int(left)) // abs(int(right))
                if isinstance(left, Uint):
                    return Uint(quotient)
                return whole(quotient if (left < 0) == (right < 0) else -quotient)
            case float():
                if right:
                    return left / right
                if left == 0 or math.isnan(left):
                    return math.nan
                return math.copysign(math.inf, left) * math.copysign(1, right)
    raise CelError(NO_OVERLOAD)


def modulo(left: Any, right: Any) -> Any:
    if type(left) is type(right) and isinstance(left, int) and type(left) is not bool:
        if right == 0:
            raise CelError("modulus by zero")
        rest = abs(int(left)) % abs(int(right))
        return Uint(rest) if isinstance(left, Uint) else (-rest if left < 0 else rest)
    raise CelError(NO_OVERLOAD)


def negate(value: Any) -> Any:
    if type(value) is int:
        return whole(-value)
    if type(value) is float:
        return -value
    raise CelError(NO_OVERLOAD)


def compare(test: Callable[[Any, Any], Any]) -> Callable[[Any, Any], bool]:
    """An ordering operator from Python's."""

    def compared(left: Any, right: Any) -> bool:
        if type(left) is type(right):
            if isinstance(left, (int, float, str, bytes, Duration, Timestamp)):
                return bool(test(left, right))
        elif _is_number(left) and _is_number(right):
            return bool(test(left, right))
        raise CelError(NO_OVERLOAD)

    return compared


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and type(value) is not bool


def contains(item: Any, container: Any) -> bool:
    """`item in container`."""
    if isinstance(container, Mapping):
        return _key_of(item, container) is not _ABSENT
    if isinstance(container, (list, tuple)):
        if type(item) is str:
            return item in container
        return any(equal(item, other) for other in container)
    raise CelError(NO_OVERLOAD)


_ABSENT = object()


def _key_of(key: Any, mapping: Mapping[Any, Any]) -> Any:
    """The key as the mapping has it, numbers compared by value; _ABSENT when it has none."""
    try:
        if key in mapping:
            # True and 1 are one key to Python, and two to CEL.
            if type(key) is str or not isinstance(key, (bool, int, float)):
                return key
            return next((known for known in mapping if equal(known, key)), _ABSENT)
    except TypeError:
        raise CelError(f"unsupported key type: {type_name(key)}") from None
    return _ABSENT


def index(container: Any, key: Any) -> Any:
    """`container[key]`; of an optional, optionally."""
    if isinstance(container, Optional):
        return optional_index(container, key)
    if isinstance(container, Mapping):
        found = _key_of(key, container)
        if found is _ABSENT:
            raise CelError(f"no such key: {key_text(key)}")
        return container[found]
    if isinstance(container, (list, tuple)):
        at = _position(key)
        if 0 <= at < len(container):
            return container[at]
        raise CelError(f"index out of bounds: {at}")
    raise CelError(NO_OVERLOAD)


def optional_index(container: Any, key: Any) -> Optional:
    """`container[?key]`: an absent key or index is none, not an error."""
    if isinstance(container, Optional):
        if not container.present:
            return NONE
        container = container.value
    if isinstance(container, Mapping):
        found = _key_of(key, container)
        return NONE if found is _ABSENT else Optional(True, container[found])
    if isinstance(container, (list, tuple)):
        at = _position(key)
        return Optional(True, container[at]) if 0 <= at < len(container) else NONE
    raise CelError(NO_OVERLOAD)


def _position(key: Any) -> int:
    if _is_number(key) and key == int(key):
        return int(key)
    raise CelError(f"unsupported index type '{type_name(key)}' in list")


def key_text(key: Any) -> str:
    return str(key)[:64] if not isinstance(key, bool) else str(key).lower()
