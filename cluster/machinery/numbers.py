"""Whole numbers written by strangers: in queries, annotations and image configurations."""

from __future__ import annotations

DIGITS_MAX = 18
"""What fits an int64 whatever the digits are; Python itself refuses to read some thousands."""


def whole_number(text: str) -> int | None:
    """The number that ASCII decimal digits write; None for anything else (signs, other scripts' digits, too many digits)."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else None
