"""Which release this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of


def version() -> str:
    try:
        return version_of("reconciler")
    except PackageNotFoundError:
        return "(checkout)"
