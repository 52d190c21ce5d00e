"""What one file contains, by content id: parsed once, remembered in memory and on disk.

A cache only: losing it costs time.  Files that hold Secrets are never written to disk.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from cluster.machinery.objects import Obj
from cluster.machinery.yaml import YamlError, load_documents
from reconciler.model import digest_of

FORMAT = 1
"""Raised whenever parsing the same bytes may give another result: older entries are then not found."""

FILES_MAX = 20_000
"""Files remembered in memory."""


_SECRET = re.compile(rb"""kind["']?\s*:\s*["']?Secret\b""")
_QUOTED = re.compile(r"""'.*'|".*\"""")


@dataclass(frozen=True, slots=True)
class Part:
    """One document of a file: `line` where it starts."""

    obj: Any
    line: int
    digest: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """A file's documents without the empty ones; or, with `error`, none of them."""

    parts: Sequence[Part]
    error: str = ""
    error_line: int = 0


class ParsedFiles:
    """Keyed by content id.  `directory` (mode 0700) None: memory only."""

    def __init__(self, directory: Path | None) -> None:
        self._memory: OrderedDict[str, Parsed] = OrderedDict()
        self._directory = directory / str(FORMAT) if directory is not None else None

    def get(self, blob: str) -> Parsed | None:
        if (known := self._memory.get(blob)) is not None:
            self._memory.move_to_end(blob)
            return known
        stored = self._load(blob)
        if stored is not None:
            self._remember(blob, stored)
        return stored

    def put(self, blob: str, parsed: Parsed) -> None:
        self._remember(blob, parsed)
        if not parsed.error and not any(_is_secret(part.obj) for part in parsed.parts):
            self._store(blob, parsed)

    def _remember(self, blob: str, parsed: Parsed) -> None:
        self._memory[blob] = parsed
        if len(self._memory) > FILES_MAX:
            self._memory.popitem(last=False)

    def _load(self, blob: str) -> Parsed | None:
        if self._directory is None:
            return None
        try:
            rows = orjson.loads((self._directory / blob[:2] / blob).read_bytes())
            return Parsed(tuple(Part(obj, line, digest) for obj, line, digest in rows))
        except (OSError, ValueError, TypeError):
            return None

    def _store(self, blob: str, parsed: Parsed) -> None:
        if self._directory is None:
            return
        path = self._directory / blob[:2] / blob
        temporary = path.with_name(f".{blob}")
        rows = [(part.obj, part.line, part.digest) for part in parsed.parts]
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(orjson.dumps(rows))
            temporary.replace(path)
        except OSError:
            # A full disk costs the cache, not the deployment.
            temporary.unlink(missing_ok=True)


def parse(data: bytes) -> Parsed:
    """Never raises for what the data contains."""
    try:
        documents = load_documents(data)
    except YamlError as error:
        # An error may quote what stands there (an alias, a tag), and in a Secret that may be a value.
        message = _QUOTED.sub("'***'", error.message) if _SECRET.search(data) else error.message
        return Parsed((), message, error.line)
    parts = [Part(doc.obj, doc.line, digest_of(doc.obj)) for doc in documents if doc.obj is not None]
    return Parsed(tuple(parts))


def _is_secret(obj: Any) -> bool:
    if not isinstance(obj, Mapping):
        return False
    items: Sequence[Obj] = obj.get("items") or () if str(obj.get("kind", "")).endswith("List") else ()
    return obj.get("kind") == "Secret" or any(_is_secret(item) for item in items)
