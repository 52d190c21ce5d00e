"""What Kubernetes adds to CEL: lists, sets, regular expressions, quantities, URLs, semantic versions.

Upstream: apiserver/pkg/cel/library/{lists,regex,quantity,urls,semverlib}.go, cel-go/ext/sets.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from cluster.machinery.cel.operators import add, compare
from cluster.machinery.cel.standard import index_of as text_index
from cluster.machinery.cel.standard import last_index_of as text_last_index
from cluster.machinery.cel.values import CelError, equal
from cluster.machinery.quantity import NANO, Quantity, QuantityError, parse_quantity
from cluster.machinery.regex import compile_pattern

DECLARATIONS = """
list(int).sum() int
list(uint).sum() uint
list(double).sum() double
list(Duration).sum() Duration
list(A).min() A
list(A).max() A
list(A).isSorted() bool
list(A).indexOf(A) int
list(A).lastIndexOf(A) int
::sets.contains(list(A), list(A)) bool
::sets.equivalent(list(A), list(A)) bool
::sets.intersects(list(A), list(A)) bool
string.matches(string) bool
::matches(string, string) bool
string.find(string) string
string.findAll(string) list(string)
string.findAll(string, int) list(string)
::quantity(string) kubernetes.Quantity
::isQuantity(string) bool
kubernetes.Quantity.isInteger() bool
kubernetes.Quantity.asInteger() int
kubernetes.Quantity.asApproximateFloat() double
kubernetes.Quantity.sign() int
kubernetes.Quantity.add(kubernetes.Quantity) kubernetes.Quantity
kubernetes.Quantity.add(int) kubernetes.Quantity
kubernetes.Quantity.sub(kubernetes.Quantity) kubernetes.Quantity
kubernetes.Quantity.sub(int) kubernetes.Quantity
kubernetes.Quantity.isLessThan(kubernetes.Quantity) bool
kubernetes.Quantity.isGreaterThan(kubernetes.Quantity) bool
kubernetes.Quantity.compareTo(kubernetes.Quantity) int
::url(string) kubernetes.URL
::isURL(string) bool
kubernetes.URL.getScheme() string
kubernetes.URL.getHost() string
kubernetes.URL.getHostname() string
kubernetes.URL.getPort() string
kubernetes.URL.getEscapedPath() string
kubernetes.URL.getQuery() map(string,list(string))
::semver(string) kubernetes.Semver
::semver(string, bool) kubernetes.Semver
::isSemver(string) bool
::isSemver(string, bool) bool
kubernetes.Semver.major() int
kubernetes.Semver.minor() int
kubernetes.Semver.patch() int
kubernetes.Semver.isLessThan(kubernetes.Semver) bool
kubernetes.Semver.isGreaterThan(kubernetes.Semver) bool
kubernetes.Semver.compareTo(kubernetes.Semver) int
"""

_less = compare(lambda left, right: left < right)


def _sum(items: Sequence[Any]) -> Any:
    total: Any = None
    for item in items:
        total = item if total is None else add(total, item)
    return 0 if total is None else total


def _least(items: Sequence[Any]) -> Any:
    return _best(items, "min", lambda item, best: _less(item, best))


def _most(items: Sequence[Any]) -> Any:
    return _best(items, "max", lambda item, best: _less(best, item))


def _best(items: Sequence[Any], name: str, better: Callable[[Any, Any], bool]) -> Any:
    if not items:
        raise CelError(f"{name} called on empty list")
    best = items[0]
    for item in items[1:]:
        if better(item, best):
            best = item
    return best


def _is_sorted(items: Sequence[Any]) -> bool:
    return not any(_less(after, before) for before, after in pairwise(items))


def _index_of(items: Any, wanted: Any, *start: int) -> int:
    if isinstance(items, str):
        return text_index(items, wanted, *start)
    return next((at for at, item in enumerate(items) if equal(item, wanted)), -1)


def _last_index_of(items: Any, wanted: Any, *end: int) -> int:
    if isinstance(items, str):
        return text_last_index(items, wanted, *end)
    return next((at for at in range(len(items) - 1, -1, -1) if equal(items[at], wanted)), -1)


def _has_all(items: Sequence[Any], wanted: Sequence[Any]) -> bool:
    return all(any(equal(item, other) for item in items) for other in wanted)


def _matches(text: str, pattern: str) -> bool:
    return _pattern(pattern).search(text) is not None


def _find(text: str, pattern: str) -> str:
    match = _pattern(pattern).search(text)
    return str(match[0]) if match is not None else ""


def _find_all(text: str, pattern: str, most: int = -1) -> list[str]:
    found: list[str] = []
    if most:
        for match in _pattern(pattern).finditer(text):
            found.append(match[0])
            if len(found) == most:
                break
    return found


def _pattern(text: str) -> Any:
    try:
        return compile_pattern(text)
    except ValueError as error:
        raise CelError(str(error)) from None


def _quantity(text: str) -> Quantity:
    try:
        return parse_quantity(text)
    except QuantityError as error:
        raise CelError(str(error)) from None


def _is_valid(parse: Callable[..., object]) -> Callable[..., bool]:
    def check(*args: Any) -> bool:
        try:
            parse(*args)
        except CelError:
            return False
        return True

    return check


def _as_quantity(value: Any) -> Quantity:
    return value if isinstance(value, Quantity) else Quantity(value * NANO)


def _as_integer(quantity: Quantity) -> int:
    if quantity.nanos % NANO:
        raise CelError("cannot convert value to integer")
    return quantity.nanos // NANO


def order(left: Any, right: Any) -> int:
    return int(left > right) - int(left < right)


@dataclass(frozen=True, slots=True)
class Url:
    """A parsed absolute URL or absolute path."""

    cel_type: ClassVar[str] = "kubernetes.URL"
    text: str
    scheme: str
    host: str
    path: str
    query: str


def _url(text: str) -> Url:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise CelError(f"URL parse error during conversion from string: parse {text[:256]!r}: invalid URL") from None
    if not (parts.scheme or text.startswith("/")) or any(ord(letter) < 33 or ord(letter) == 127 for letter in text):
        why = "invalid URI for request"
        raise CelError(f'URL parse error during conversion from string: parse "{text[:256]}": {why}')
    return Url(text, parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query)


def _hostname(url: Url) -> str:
    host = url.host
    return host[1 : host.index("]")] if host.startswith("[") and "]" in host else host.partition(":")[0]


def _port(url: Url) -> str:
    return url.host.rpartition("]")[2].rpartition(":")[2] if ":" in url.host.rpartition("]")[2] else ""


_SEMVER = re.compile(
    r"(0|[1-9]\d{0,17})\.(0|[1-9]\d{0,17})\.(0|[1-9]\d{0,17})"
    r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Semver:
    """A semantic version; build metadata takes no part in order."""

    cel_type: ClassVar[str] = "kubernetes.Semver"
    numbers: tuple[int, int, int]
    stage: tuple[tuple[int, int, str], ...]
    """One (is text, number, text) a part of the pre-release; a version without any comes after those with."""

    def _rank(self) -> tuple[Any, ...]:
        return (self.numbers, not self.stage, self.stage)

    def __lt__(self, other: Semver) -> bool:
        return bool(self._rank() < other._rank())

    def __gt__(self, other: Semver) -> bool:
        return bool(other < self)


def _semver(text: str, normalize: bool = False) -> Semver:
    if normalize:
        text = text.removeprefix("v")
        core, mark, rest = re.match(r"([^-+]*)([-+]?)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
        numbers = [part.lstrip("0") or "0" for part in core.split(".")] if core else []
        text = ".".join([*numbers, *["0"] * (3 - len(numbers))]) + mark + rest
    match = _SEMVER.fullmatch(text) if len(text) <= 256 else None
    parts = (match[4] or "").split(".") if match is not None else []
    if match is None or any(part.isdigit() and len(part) > 1 and part[0] == "0" for part in parts):
        raise CelError(f"invalid semantic version: {text[:64]}")
    stage = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part)
    return Semver((int(match[1]), int(match[2]), int(match[3])), stage)


def _plus(left: Any, right: Any) -> Any:
    return _as_quantity(left) + _as_quantity(right)


def _minus(left: Any, right: Any) -> Any:
    return _as_quantity(left) - _as_quantity(right)


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "sum": _sum,
    "min": _least,
    "max": _most,
    "isSorted": _is_sorted,
    "indexOf": _index_of,
    "lastIndexOf": _last_index_of,
    "sets.contains": _has_all,
    "sets.equivalent": lambda left, right: _has_all(left, right) and _has_all(right, left),
    "sets.intersects": lambda left, right: any(equal(a, b) for a in left for b in right),
    "matches": _matches,
    "find": _find,
    "findAll": _find_all,
    "quantity": _quantity,
    "isQuantity": _is_valid(_quantity),
    "isInteger": lambda quantity: quantity.nanos % NANO == 0,
    "asInteger": _as_integer,
    "asApproximateFloat": lambda quantity: quantity.nanos / NANO,
    "sign": lambda quantity: order(quantity.nanos, 0),
    "add": _plus,
    "sub": _minus,
    "isLessThan": lambda left, right: left < right,
    "isGreaterThan": lambda left, right: left > right,
    "compareTo": order,
    "url": _url,
    "isURL": _is_valid(_url),
    "getScheme": lambda url: url.scheme,
    "getHost": lambda url: url.host,
    "getHostname": _hostname,
    "getPort": _port,
    "getEscapedPath": lambda url: url.path,
    "getQuery": lambda url: parse_qs(url.query, keep_blank_values=True),
    "semver": _semver,
    "isSemver": _is_valid(_semver),
    "major": lambda version: version.numbers[0],
    "minor": lambda version: version.numbers[1],
    "patch": lambda version: version.numbers[2],
}
