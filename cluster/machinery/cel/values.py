"""What expressions compute with: JSON values as they are, and a frozen value for each type that JSON has not.

Python's bool, int, float, str, bytes, list, dict and None stand for themselves (int is CEL's int, floats its double).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cluster.machinery.quantity import Quantity

INT_MAX = 2**63 - 1
INT_MIN = -(2**63)
UINT_MAX = 2**64 - 1
DURATION_MAX_NS = INT_MAX
SECOND_NS = 10**9
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIME_MIN_S, TIME_MAX_S = -62135596800, 253402300799
"""The years 1 to 9999, in seconds from the epoch."""


class CelError(Exception):
    """The expression cannot be evaluated on these values; the text says why."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class OverBudget(CelError):
    """Evaluation was stopped: unlike other errors, no operator absorbs this one."""


class Uint(int):
    """CEL's uint: an int of its own type."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    nanos: int

    def __str__(self) -> str:
        """Seconds with as many decimals as needed: `3600s`, `0.5s`."""
        sign, nanos = ("-", -self.nanos) if self.nanos < 0 else ("", self.nanos)
        whole, part = divmod(nanos, SECOND_NS)
        return f"{sign}{whole}" + (f".{part:09}".rstrip("0") if part else "") + "s"


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """Nanoseconds from the epoch."""

    nanos: int

    @property
    def at(self) -> datetime:
        return EPOCH + timedelta(seconds=self.nanos // SECOND_NS)

    def __str__(self) -> str:
        part = self.nanos % SECOND_NS
        text = self.at
        return f"{text:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + (f".{part:09}".rstrip("0") if part else "") + "Z"


@dataclass(frozen=True, slots=True)
class Optional:
    """`value` means something only when `present`."""

    present: bool
    value: Any = None


NONE = Optional(False)


@dataclass(frozen=True, slots=True)
class TypeValue:
    """What `type(x)` returns."""

    name: str


_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": SECOND_NS,
          "m": 60 * SECOND_NS, "h": 3600 * SECOND_NS}  # fmt: skip
_DURATION_PART = re.compile(r"([0-9]{0,24})(?:\.([0-9]{0,24}))?(ns|us|µs|μs|ms|s|m|h)")
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,18}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def parse_duration(text: str) -> Duration:
    """Go's syntax (`1h30m`, `-1.5s`).  Raises CelError."""
    body = text[1:] if text[:1] in ("-", "+") else text
    total, at = 0, 0
    while at < len(body):
        match = _DURATION_PART.match(body, at)
        if match is None or not (match[1] or match[2]):
            break
        unit, part = _UNITS[match[3]], match[2] or ""
        total += int(match[1] or 0) * unit + int(part or 0) * unit // 10 ** len(part)
        at = match.end()
    if (not body or at < len(body)) and body != "0":
        raise CelError(f'time: invalid duration "{text[:64]}"')
    if total > DURATION_MAX_NS:
        raise CelError(f'time: invalid duration "{text[:64]}"')
    return Duration(-total if text[:1] == "-" else total)


def parse_timestamp(text: str) -> Timestamp:
    """RFC 3339.  Raises CelError."""
    match = _TIME.fullmatch(text)
    try:
        if match is None:
            raise ValueError("not RFC 3339")
        zone = match[8].upper()
        at = datetime(*(int(match[index]) for index in range(1, 7)), tzinfo=UTC)  # type: ignore[arg-type,misc]
        shift_s = 0 if zone == "Z" else int(zone[:3]) * 3600 + int(zone[0] + zone[4:]) * 60
    except ValueError:
        raise CelError(f'parsing time "{text[:64]}" as "2006-01-02T15:04:05Z07:00": cannot parse') from None
    seconds = int((at - EPOCH).total_seconds()) - shift_s
    return timestamp_of(seconds * SECOND_NS + int(f"{(match[7] or '0')[:9]:0<9}"))


def timestamp_of(nanos: int) -> Timestamp:
    """Raises CelError outside the years 1 to 9999."""
    if not TIME_MIN_S <= nanos // SECOND_NS <= TIME_MAX_S:
        raise CelError("timestamp overflow")
    return Timestamp(nanos)


def duration_of(nanos: int) -> Duration:
    if not -DURATION_MAX_NS <= nanos <= DURATION_MAX_NS:
        raise CelError("duration overflow")
    return Duration(nanos)


_ATOMS = frozenset((str, int, float, type(None), bool, bytes))


def equal(left: Any, right: Any) -> bool:
    """CEL's `==`: numbers compare by value whatever their types, and values of other differing types are not equal."""
    kind, other = type(left), type(right)
    if kind is other and kind in _ATOMS:
        return bool(left == right)
    if kind is bool or other is bool:
        return False
    if isinstance(left, (int, float)):
        return isinstance(right, (int, float)) and left == right
    if isinstance(left, (list, tuple)):
        return (
            isinstance(right, (list, tuple))
            and len(left) == len(right)
            and all(equal(a, b) for a, b in zip(left, right, strict=True))
        )
    if isinstance(left, Mapping):
        if not isinstance(right, Mapping) or len(left) != len(right):
            return False
        return all(key in right and equal(value, right[key]) for key, value in left.items())
    if isinstance(left, Optional) and isinstance(right, Optional):
        return left.present == right.present and (not left.present or equal(left.value, right.value))
    return kind is other and bool(left == right)


def is_set_equal(left: Sequence[Any], right: Sequence[Any]) -> bool:
    """Whether two lists without duplicates have the same items, in any order."""
    return len(left) == len(right) and all(any(equal(a, b) for b in right) for a in left)


_TYPE_NAMES = {bool: "bool", int: "int", Uint: "uint", float: "double", str: "string", bytes: "bytes", list: "list",
               tuple: "list", dict: "map", type(None): "null_type", Duration: "google.protobuf.Duration",
               Timestamp: "google.protobuf.Timestamp", Optional: "optional_type", TypeValue: "type",
               Quantity: "kubernetes.Quantity"}  # fmt: skip


def type_name(value: Any) -> str:
    """The name of a value's runtime type, as `type(x)` shows it and messages name it."""
    kind = type(value)
    name = _TYPE_NAMES.get(kind)
    if name is None:
        name = "map" if isinstance(value, Mapping) else getattr(kind, "cel_type", "dyn")
    return name


def double_text(value: float) -> str:
    """A double as Go prints it with the shortest digits that read back the same."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == int(value) and abs(value) < 1e21:
        return str(int(value)) if value or math.copysign(1, value) > 0 else "-0"
    text = repr(value)
    mantissa, mark, exponent = text.partition("e")
    return f"{mantissa.removesuffix('.0')}e{exponent}" if mark else text
