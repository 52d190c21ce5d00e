"""Regular expressions in linear time and Go's syntax, by RE2: nothing that strangers write may backtrack.

The library is loaded with the first pattern.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol, cast

PATTERN_MAX = 4096
"""Characters of a pattern."""
PROGRAM_MAX_BYTES = 1 << 20
"""Memory of one compiled pattern; a larger one is refused when it is compiled."""


class Pattern(Protocol):
    """What `re.Pattern` and RE2's own have in common."""

    def search(self, text: str, /) -> Any: ...

    def finditer(self, text: str, /) -> Any: ...


@lru_cache(maxsize=512)
def compile_pattern(pattern: str) -> Pattern:
    """Raises ValueError with Go's wording of what is wrong."""
    import re2

    if len(pattern) > PATTERN_MAX:
        raise ValueError(f"error parsing regexp: pattern is longer than {PATTERN_MAX} characters")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = PROGRAM_MAX_BYTES
    try:
        return cast(Pattern, re2.compile(pattern, options))
    except (re2.error, UnicodeEncodeError) as error:
        text = error.args[0] if error.args else ""
        why = text.decode(errors="replace") if isinstance(text, bytes) else str(error)
        head, _, rest = why.partition(": ")
        raise ValueError(
            f"error parsing regexp: {head}: `{rest}`" if rest else f"error parsing regexp: {why}"
        ) from None
