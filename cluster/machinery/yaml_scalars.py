"""What an unquoted YAML scalar means to Kubernetes: YAML 1.1 as go-yaml v2 reads it and JSON carries it on.

Upstream: sigs.k8s.io/yaml (goyaml.v2/resolve.go).  Its rules agree with no Python resolver: `y`, `on` are booleans, `012` and
`0o14` are octal, `1e3` is the number 1000, dates and `22:22` are strings.
"""

from __future__ import annotations

import re

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
}
_NOT_NUMBERS = frozenset(
    sign + word for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")
) | {".nan", ".NaN", ".NAN"}  # fmt: skip
_TIMESTAMP = re.compile(
    r"\d{4}-\d\d?-\d\d?(?:[Tt ]\s*\d\d?:\d\d:\d\d(?:\.\d*)?\s*(?:[Zz]|[+-]\d\d?(?::\d\d)?)?)?\Z", re.ASCII
)
_INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+|0[0-7]*|[1-9][0-9]*)\Z", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z", re.ASCII)
_MAYBE_NUMBER = frozenset("+-.0123456789")
_INT_LENGTH_MAX = 80
"""Longer digit strings are read as floats at once: converting them exactly costs quadratic time."""


class NotANumberError(ValueError):
    """An infinity or NaN: JSON has neither."""


def resolve_plain(text: str) -> bool | int | float | str | None:
    """The value of a plain (unquoted, untagged) scalar.  Raises NotANumberError."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _MAYBE_NUMBER:
        return text
    if text in _NOT_NUMBERS:
        raise NotANumberError(f"{text} is not a JSON number")
    if text[0] == ".":
        return _float_of(text) if _FLOAT.match(text) else text
    if _TIMESTAMP.match(text):
        return text
    plain = text.replace("_", "")
    if len(plain) <= _INT_LENGTH_MAX and _INTEGER.match(plain):
        number = _int_of(plain)
        if -(2**63) <= number < 2**63:  # larger ones are floats once decoded
            return number
    return _float_of(plain) if _FLOAT.match(plain) else text


def _int_of(plain: str) -> int:
    sign, digits = (-1, plain[1:]) if plain[0] == "-" else (1, plain.removeprefix("+"))
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        return sign * int(digits, 8)
    return sign * int(digits, 0)


def _float_of(plain: str) -> int | float:
    """A whole number becomes an integer, as it does on its way through Go's JSON encoder."""
    number = float(plain)
    if number in (float("inf"), float("-inf")):
        raise NotANumberError(f"{plain[:32]} is too large for a number")
    return int(number) if number.is_integer() and abs(number) < 2**63 else number


def key_text(value: bool | int | float | str | None) -> str | None:
    """A mapping key as the string it becomes in JSON; None for null, which cannot be a key."""
    match value:
        case None | str():
            return value
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)


def is_plain_string(text: str) -> bool:
    """Whether `text` without quotes would be read as the same string, by this loader and by stricter ones alike."""
    if not text or len(text) > 256 or _SAFE.match(text) is None or text.casefold() in _AMBIGUOUS:
        return False
    return text[0] not in _MAYBE_NUMBER or (
        _SAFE_START.match(text) is not None and isinstance(resolve_plain(text), str)
    )


_SAFE = re.compile(r"(?:[A-Za-z0-9_/.][A-Za-z0-9_/.@+=$()~,-]*(?:[: ][A-Za-z0-9_/.@+=$()~,-]+)*)\Z", re.ASCII)
_SAFE_START = re.compile(r"[./][A-Za-z/.]|[0-9]+\.[0-9]+\.[0-9]+|[0-9a-f]*[g-z]", re.ASCII)
_AMBIGUOUS = {word.casefold() for word in _WORDS} | {".nan", ".inf", "<<", "="}
