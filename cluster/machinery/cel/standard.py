"""The functions of the CEL standard: conversions, strings, times, optionals, and their declarations.

Upstream: cel-spec/doc/langdef.md "List of Standard Definitions"; cel-go/ext strings version 2, cel-go/cel/library.go.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from cluster.machinery.cel.operators import NO_OVERLOAD, unsigned, whole
from cluster.machinery.cel.values import (
    NONE,
    SECOND_NS,
    CelError,
    Duration,
    Optional,
    Timestamp,
    TypeValue,
    Uint,
    double_text,
    parse_duration,
    parse_timestamp,
    timestamp_of,
    type_name,
)

DECLARATIONS = """
::size(string) int
::size(bytes) int
::size(list(A)) int
::size(map(A, B)) int
string.size() int
bytes.size() int
list(A).size() int
map(A, B).size() int
::int(int) int
::int(uint) int
::int(double) int
::int(string) int
::int(Timestamp) int
::int(Duration) int
::uint(uint) uint
::uint(int) uint
::uint(double) uint
::uint(string) uint
::double(double) double
::double(int) double
::double(uint) double
::double(string) double
::string(string) string
::string(bool) string
::string(int) string
::string(uint) string
::string(double) string
::string(bytes) string
::string(Timestamp) string
::string(Duration) string
::bytes(bytes) bytes
::bytes(string) bytes
::bool(bool) bool
::bool(string) bool
::duration(Duration) Duration
::duration(string) Duration
::duration(int) Duration
::timestamp(Timestamp) Timestamp
::timestamp(string) Timestamp
::timestamp(int) Timestamp
::dyn(A) dyn
::type(A) type
string.contains(string) bool
string.startsWith(string) bool
string.endsWith(string) bool
Timestamp.getFullYear() int
Timestamp.getFullYear(string) int
Timestamp.getMonth() int
Timestamp.getMonth(string) int
Timestamp.getDayOfYear() int
Timestamp.getDayOfYear(string) int
Timestamp.getDayOfMonth() int
Timestamp.getDayOfMonth(string) int
Timestamp.getDate() int
Timestamp.getDate(string) int
Timestamp.getDayOfWeek() int
Timestamp.getDayOfWeek(string) int
Timestamp.getHours() int
Timestamp.getHours(string) int
Timestamp.getMinutes() int
Timestamp.getMinutes(string) int
Timestamp.getSeconds() int
Timestamp.getSeconds(string) int
Timestamp.getMilliseconds() int
Timestamp.getMilliseconds(string) int
Duration.getHours() int
Duration.getMinutes() int
Duration.getSeconds() int
Duration.getMilliseconds() int
string.charAt(int) string
string.indexOf(string) int
string.indexOf(string, int) int
string.lastIndexOf(string) int
string.lastIndexOf(string, int) int
string.lowerAscii() string
string.upperAscii() string
string.replace(string, string) string
string.replace(string, string, int) string
string.split(string) list(string)
string.split(string, int) list(string)
string.substring(int) string
string.substring(int, int) string
string.trim() string
list(string).join() string
list(string).join(string) string
::strings.quote(string) string
::optional.of(A) optional(A)
::optional.ofNonZeroValue(A) optional(A)
::optional.none() optional(A)
optional(A).hasValue() bool
optional(A).value() A
optional(A).or(optional(A)) optional(A)
optional(A).orValue(A) A
"""

TEXT_MAX = 4 * 1024 * 1024
"""Characters of any text that a function makes."""


def to_int(value: Any) -> int:
    match value:
        case int():
            return whole(int(value))
        case float():
            if math.isnan(value) or not -9.3e18 < value < 9.3e18:
                raise CelError("integer overflow")
            return whole(int(value))
        case str() if re.fullmatch(r"[+-]?[0-9]{1,19}", value, re.ASCII):
            return whole(int(value))
        case Timestamp():
            return value.nanos // SECOND_NS
        case Duration():
            return value.nanos
    raise CelError(f"type conversion error from '{type_name(value)}' to 'int'")


def to_uint(value: Any) -> Uint:
    match value:
        case int():
            return unsigned(int(value))
        case float() if 0 <= value < 1.9e19:
            return unsigned(int(value))
        case str() if re.fullmatch(r"[0-9]{1,20}", value, re.ASCII):
            return unsigned(int(value))
    raise CelError(f"type conversion error from '{type_name(value)}' to 'uint'")


def to_double(value: Any) -> float:
    if isinstance(value, str):
        if not re.fullmatch(
            r"[+-]?(?:[0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+|[iI]nf(?:inity)?|NaN)", value, re.ASCII
        ):
            raise CelError("type conversion error from 'string' to 'double'")
        return float(value)
    return float(value)


def to_string(value: Any) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(int(value))
        case float():
            return double_text(value)
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                raise CelError("invalid UTF-8 in bytes, cannot convert to string") from None
    return str(value)


def to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if value in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise CelError("type conversion error from 'string' to 'bool'")


def to_duration(value: Any) -> Duration:
    if isinstance(value, str):
        return parse_duration(value)
    return Duration(value) if isinstance(value, int) else value


def to_timestamp(value: Any) -> Timestamp:
    if isinstance(value, str):
        return parse_timestamp(value)
    return timestamp_of(value * SECOND_NS) if isinstance(value, int) else value


_ZONE = re.compile(r"([+-]?)(\d\d):(\d\d)", re.ASCII)


def _local(at: Timestamp, zone: str) -> datetime:
    if match := _ZONE.fullmatch(zone):
        shift = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return _shifted(at, timezone(-shift if match[1] == "-" else shift))
    try:
        return _shifted(at, ZoneInfo(zone) if zone else UTC)
    except (KeyError, ValueError, OSError):
        raise CelError(f"unknown time zone {zone[:64]}") from None


def _shifted(at: Timestamp, zone: Any) -> datetime:
    try:
        return at.at.astimezone(zone)
    except (OverflowError, ValueError):
        raise CelError("timestamp overflow") from None


def _part(of_time: Callable[[datetime], int], of_duration_ns: int = 0) -> Callable[..., int]:
    def part(value: Any, zone: str = "UTC") -> int:
        if isinstance(value, Duration):
            if not of_duration_ns:
                raise CelError(NO_OVERLOAD)
            whole_units = abs(value.nanos) // of_duration_ns
            return -whole_units if value.nanos < 0 else whole_units
        return of_time(_local(value, zone))

    return part


def _milliseconds(value: Any, zone: str = "UTC") -> int:
    nanos = abs(value.nanos) % SECOND_NS if isinstance(value, Duration) else value.nanos % SECOND_NS
    millis = int(nanos // 10**6)
    return -millis if value.nanos < 0 and isinstance(value, Duration) else millis


def _char_at(text: str, at: int) -> str:
    if 0 <= at <= len(text):
        return text[at : at + 1]
    raise CelError(f"index out of range: {at}")


def index_of(text: Any, part: Any, start: int = 0) -> int:
    if not 0 <= start <= len(text):
        raise CelError(f"index out of range: {start}")
    return int(text.find(part, start))


def last_index_of(text: Any, part: Any, end: int | None = None) -> int:
    if end is not None and not 0 <= end <= len(text):
        raise CelError(f"index out of range: {end}")
    return int(text.rfind(part) if end is None else text.rfind(part, 0, end + len(part)))


def _replace(text: str, old: str, new: str, most: int = -1) -> str:
    times = len(text) + 1 if not old else text.count(old)
    times = times if most < 0 else min(times, most)
    if len(text) + times * max(0, len(new) - len(old)) > TEXT_MAX:
        raise CelError(f"text is longer than {TEXT_MAX} characters")
    return text.replace(old, new, most if most >= 0 else -1)


def _split(text: str, separator: str, most: int = -1) -> list[str]:
    if most == 0:
        return []
    if separator:
        return text.split(separator, most - 1 if most > 0 else -1)
    if 0 < most < len(text):
        return [*text[: most - 1], text[most - 1 :]]
    return list(text)


def _substring(text: str, start: int, end: int | None = None) -> str:
    end = len(text) if end is None else end
    if not 0 <= start <= len(text) or not 0 <= end <= len(text):
        raise CelError(f"index out of range: {start if not 0 <= start <= len(text) else end}")
    if start > end:
        raise CelError(f"invalid substring range. start: {start}, end: {end}")
    return text[start:end]


def _join(items: list[Any], separator: str = "") -> str:
    if not all(isinstance(item, str) for item in items):
        raise CelError(NO_OVERLOAD)
    if sum(len(item) for item in items) + len(separator) * len(items) > TEXT_MAX:
        raise CelError(f"text is longer than {TEXT_MAX} characters")
    return separator.join(items)


_LOWER = {code: code + 32 for code in range(65, 91)}
_UPPER = {code: code - 32 for code in range(97, 123)}
_QUOTED = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\a": "\\a", "\b": "\\b",
                         "\f": "\\f", "\v": "\\v"})  # fmt: skip
_SPACE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"


def _value(optional: Optional) -> Any:
    if optional.present:
        return optional.value
    raise CelError("optional.none() dereference")


def _of_non_zero(value: Any) -> Optional:
    is_zero = value is None or value is False or value in (0, "", b"", [], {}) or value == Duration(0)
    return NONE if is_zero else Optional(True, value)


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "size": len,
    "int": to_int,
    "uint": to_uint,
    "double": to_double,
    "string": to_string,
    "bytes": lambda value: value.encode() if isinstance(value, str) else value,
    "bool": to_bool,
    "duration": to_duration,
    "timestamp": to_timestamp,
    "dyn": lambda value: value,
    "type": lambda value: TypeValue(type_name(value)),
    "contains": lambda text, part: part in text,
    "startsWith": lambda text, part: text.startswith(part),
    "endsWith": lambda text, part: text.endswith(part),
    "getFullYear": _part(lambda at: at.year),
    "getMonth": _part(lambda at: at.month - 1),
    "getDayOfYear": _part(lambda at: at.timetuple().tm_yday - 1),
    "getDayOfMonth": _part(lambda at: at.day - 1),
    "getDate": _part(lambda at: at.day),
    "getDayOfWeek": _part(lambda at: at.isoweekday() % 7),
    "getHours": _part(lambda at: at.hour, 3600 * SECOND_NS),
    "getMinutes": _part(lambda at: at.minute, 60 * SECOND_NS),
    "getSeconds": _part(lambda at: at.second, SECOND_NS),
    "getMilliseconds": _milliseconds,
    "charAt": _char_at,
    "lowerAscii": lambda text: text.translate(_LOWER),
    "upperAscii": lambda text: text.translate(_UPPER),
    "replace": _replace,
    "split": _split,
    "substring": _substring,
    "trim": lambda text: text.strip(_SPACE),
    "join": _join,
    "strings.quote": lambda text: f'"{text.translate(_QUOTED)}"',
    "optional.of": lambda value: Optional(True, value),
    "optional.ofNonZeroValue": _of_non_zero,
    "optional.none": lambda: NONE,
    "hasValue": lambda optional: optional.present,
    "value": _value,
    "or": lambda optional, other: optional if optional.present else other,
    "orValue": lambda optional, other: optional.value if optional.present else other,
}
"""By name; `indexOf` and `lastIndexOf` are shared with lists and stand with them."""
