"""CEL text to tokens.  Upstream: cel-spec/doc/langdef.md, "Syntax"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from cluster.machinery.cel.syntax import CelSyntaxError
from cluster.machinery.cel.values import INT_MAX, UINT_MAX, Uint

_TOKEN = re.compile(
    r"""(?P<space>[\t\n\f\r ]+|//[^\n]*)
    |(?P<float>[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?)
    |(?P<int>0x[0-9a-fA-F]+[uU]?|[0-9]+[uU]?)
    |(?P<string>(?:[rR][bB]?|[bB][rR]?)?(?:\"\"\"(?s:.*?)(?<!\\)\"\"\"|'''(?s:.*?)(?<!\\)'''))
    |(?P<quoted>(?:[rR][bB]|[bB][rR]|[rRbB])?(?:\"|'))
    |(?P<word>[_a-zA-Z][_a-zA-Z0-9]*)
    |(?P<mark>\[\?|\.\?|\{\?|&&|\|\||[<>=!]=|[-+*/%<>!?:.,()\[\]{}])""",
    re.VERBOSE | re.ASCII,
)
_RESERVED = frozenset(
    ("as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package", "namespace",
     "return", "var", "void", "while")
)  # fmt: skip
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
           "\\": "\\", "?": "?", '"': '"', "'": "'", "`": "`"}  # fmt: skip
_NUMERIC = {"x": (2, 16), "X": (2, 16), "u": (4, 16), "U": (8, 16)}
NUMBER_DIGITS_MAX = 400
"""Longer numbers are out of range whatever they say; Python itself refuses to read some thousands of digits."""


@dataclass(frozen=True, slots=True)
class Token:
    """`kind` is "literal", "word", "mark" or "end"; `text` the word or mark, `value` the literal's."""

    kind: str
    text: str
    at: int
    value: Any = None


def tokens_of(source: str) -> list[Token]:
    """The tokens of an expression, "end" last.  Raises CelSyntaxError."""
    found: list[Token] = []
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            raise CelSyntaxError(f"Syntax error: token recognition error at: '{source[at]}'", at)
        kind, text = str(match.lastgroup), match[0]
        end = match.end()
        if kind == "quoted":
            end = _end_of_string(source, match.end(), text[-1], raw="r" in text.lower(), start=at)
            text, kind = source[at:end], "string"
        if kind != "space":
            found.append(_token(kind, text, at))
        at = end
    found.append(Token("end", "<EOF>", len(source)))
    return found


def is_reserved(word: str) -> bool:
    """Whether a word may not be an identifier."""
    return word in _RESERVED


def _token(kind: str, text: str, at: int) -> Token:
    match kind:
        case "float":
            if len(text) > NUMBER_DIGITS_MAX:
                raise CelSyntaxError("invalid double literal", at)
            return Token("literal", text, at, float(text))
        case "int":
            return Token("literal", text, at, _integer(text, at))
        case "string":
            return Token("literal", text, at, _string(text, at))
        case "word" if text in ("true", "false", "null"):
            return Token("literal", text, at, {"true": True, "false": False, "null": None}[text])
        case _:
            return Token(kind, text, at)


def _integer(text: str, at: int) -> int:
    digits = text.rstrip("uU")
    if len(digits) > NUMBER_DIGITS_MAX:
        raise CelSyntaxError("invalid int literal", at)
    value = int(digits, 16) if digits[:2] == "0x" else int(digits)
    if digits != text:
        if value > UINT_MAX:
            raise CelSyntaxError("invalid uint literal", at)
        return Uint(value)
    if value > INT_MAX + 1:  # one more than fits, since a minus sign may stand before it
        raise CelSyntaxError("invalid int literal", at)
    return value


def _end_of_string(source: str, at: int, quote: str, *, raw: bool, start: int) -> int:
    while at < len(source) and source[at] not in "\r\n":
        if source[at] == quote:
            return at + 1
        at += 2 if source[at] == "\\" and not raw else 1
    raise CelSyntaxError(f"Syntax error: token recognition error at: '{source[start:at]}'", start)


def _string(text: str, at: int) -> str | bytes:
    prefix = text[: min(text.index(quote) for quote in "\"'" if quote in text)].lower()
    body = text[len(prefix) :]
    size = 3 if len(body) >= 6 and body[:3] in ('"""', "'''") else 1
    body = body[size:-size]
    is_bytes = "b" in prefix
    if "r" in prefix or "\\" not in body:
        return body.encode() if is_bytes else body
    return _unescaped_bytes(body, at) if is_bytes else _unescaped(body, at)


def _unescaped(body: str, at: int) -> str:
    parts: list[str] = []
    for text, code, _ in _escapes(body, at):
        if code is not None and (code > 0x10FFFF or 0xD800 <= code <= 0xDFFF):
            raise CelSyntaxError("invalid unicode code point", at)
        parts.append(text if code is None else chr(code))
    return "".join(parts)


def _unescaped_bytes(body: str, at: int) -> bytes:
    parts = bytearray()
    for text, code, wide in _escapes(body, at):
        if code is None:
            parts += text.encode()
        elif wide or code > 0xFF:
            raise CelSyntaxError("unicode escapes are not allowed in bytes", at)
        else:
            parts.append(code)
    return bytes(parts)


def _escapes(body: str, at: int) -> list[tuple[str, int | None, bool]]:
    """The text cut at its escapes: plain text, or the code of one escaped character and whether it was a Unicode one."""
    found: list[tuple[str, int | None, bool]] = []
    index = 0
    while index < len(body):
        if body[index] != "\\":
            stop = body.find("\\", index)
            stop = len(body) if stop < 0 else stop
            found.append((body[index:stop], None, False))
            index = stop
            continue
        letter = body[index + 1 : index + 2]
        if letter in _SIMPLE:
            found.append((_SIMPLE[letter], None, False))
            index += 2
            continue
        if letter in _NUMERIC:
            size, base = _NUMERIC[letter]
            digits, index = body[index + 2 : index + 2 + size], index + 2 + size
        else:
            size, base = 3, 8
            digits, index = body[index + 1 : index + 4], index + 4
        if len(digits) < size or not re.fullmatch(r"[0-9a-fA-F]+" if base == 16 else r"[0-3][0-7]{2}", digits):
            raise CelSyntaxError("unable to unescape string", at)
        found.append(("", int(digits, base), letter in "uU"))
    return found
