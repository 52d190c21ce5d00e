"""Regular expressions as Go's regexp package understands them, compiled for Python.

Upstream: RE2 syntax.  Differences handled: `$` and `\\z` are the very end of the text, classes are ASCII, POSIX classes exist.
Not supported, and refused: Unicode property classes and back-references.
"""

from __future__ import annotations

import re

POSIX_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7F",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1F\x7F",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}

_TOKEN = re.compile(r"\\.|\[:(\w+):\]|\[\^?\]?|\]|\$|\(\?(?:[=!]|<[=!]|P=|\(|#)|.", re.DOTALL)


def compile_go_regex(pattern: str) -> re.Pattern[str]:
    """Compile an RE2 pattern; `.search` finds what Go's MatchString finds.  Raises ValueError with a reason."""
    parts: list[str] = []
    in_class = False
    for match in _TOKEN.finditer(pattern):
        token = match[0]
        if match[1]:
            if not in_class or match[1] not in POSIX_CLASSES:
                raise ValueError(f"invalid character class range: {token}")
            token = POSIX_CLASSES[match[1]]
        elif token[0] == "\\":
            token = _escape(token)
        elif token[0] == "[" and not in_class:
            in_class = True
            token = token if token[-1] != "]" else token[:-1] + r"\]"
        elif token[0] == "[":
            in_class = not token.endswith("]")
            token = r"\[" + token[1:]
        elif token == "]":
            in_class = False
        elif token == "$" and not in_class:
            token = r"\Z"
        elif token.startswith("(?") and not in_class:
            raise ValueError(f"invalid or unsupported Perl syntax: {token}")
        parts.append(token)
    try:
        return re.compile("".join(parts), re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from error


def _escape(token: str) -> str:
    letter = token[1]
    if letter in "pPCQE" or letter in "123456789":
        raise ValueError(f"invalid escape sequence: {token}")
    return r"\Z" if letter == "z" else token
