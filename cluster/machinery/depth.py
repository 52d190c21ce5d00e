"""How deep JSON may nest: what walks an object may recurse, and what is made from it can still be written."""

from __future__ import annotations

from typing import Any

import orjson

DEPTH_MAX = 200
"""Levels of nesting in anything a client sends or a patch makes."""

_ENCODER_LEVELS = 254
"""Where orjson's encoder stops.  What is above DEPTH_MAX is room for managedFields and for what an answer wraps objects in."""


def is_shallow(value: Any) -> bool:
    """Whether a JSON value has at most DEPTH_MAX levels.  Asking the encoder is far faster than walking."""
    for _ in range(_ENCODER_LEVELS - DEPTH_MAX):
        value = (value,)
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True
