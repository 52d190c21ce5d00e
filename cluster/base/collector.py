"""Python's cycle collector in a server: what is loaded stays, so it is not searched again and again."""

from __future__ import annotations

import gc

YOUNG_MAX = 20_000
"""Objects made and kept before the young ones are searched for cycles."""


def spare_what_is_loaded() -> None:
    """Call once, when everything is up: takes some tens of milliseconds."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX, 20, 20)
