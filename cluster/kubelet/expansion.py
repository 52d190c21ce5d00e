"""`$(NAME)` in commands, arguments and values.  Pure.  Upstream: third_party/forked/golang/expansion."""

from __future__ import annotations

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$(\$|\([^)]*\))")


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace each known `$(NAME)`; an unknown one stays as it is, `$$` is one `$` and shields what follows it."""

    def value(match: re.Match[str]) -> str:
        token = match[1]
        return "$" if token == "$" else values.get(token[1:-1], match[0])

    return _REFERENCE.sub(value, text)
