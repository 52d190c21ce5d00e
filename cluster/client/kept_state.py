"""The last state a process knew, in files: what it goes on with when it starts while the API server is away.

A file a resource, written a few seconds after a change, replaced whole, readable by its owner only.  A damaged one is as good
as none.  For resources without secrets only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson
from loguru import logger

from cluster.base.clock import Clock
from cluster.base.files import write_atomically
from cluster.client.cache import Change
from cluster.client.informer import Informer
from cluster.machinery.objects import Obj
from cluster.machinery.resource import Resource

WRITE_DELAY_S = 5.0
"""From a change to its file: what comes meanwhile is written together."""
FILE_SIZE_MAX_BYTES = 64 * 1024 * 1024
"""A larger state is not kept, and said so."""


class KeptState:
    """Keeps `resources` of `cache` in `directory`."""

    def __init__(self, directory: Path, cache: Informer, resources: Sequence[Resource], clock: Clock) -> None:
        self._directory = directory
        self._cache = cache
        self._resources = tuple(resources)
        self._clock = clock
        self._dirty: set[Resource] = set()
        self._changed = asyncio.Event()

    def load(self) -> None:
        """Show the cache what was kept, until the server says what is."""
        for resource in self._resources:
            if (objects := self._read(resource)) is not None:
                self._cache.preload(resource, objects)

    async def run(self) -> None:
        """Write what changes, until cancelled.  A disk that refuses costs a warning and the next change tries again."""
        stops: list[Callable[[], None]] = [
            self._cache.subscribe(resource, self._on_change) for resource in self._resources
        ]
        try:
            while True:
                await self._changed.wait()
                await self._clock.sleep(WRITE_DELAY_S)
                self._changed.clear()
                for resource in self._resources:
                    if resource in self._dirty:
                        self._dirty.discard(resource)
                        self._write(resource)
        finally:
            for stop in stops:
                stop()

    def _on_change(self, change: Change) -> None:
        self._dirty.add(change.resource)
        self._changed.set()

    def _path(self, resource: Resource) -> Path:
        return self._directory / f"{resource.qualified_name}.json"

    def _read(self, resource: Resource) -> Sequence[Obj] | None:
        path = self._path(resource)
        try:
            if path.stat().st_size > FILE_SIZE_MAX_BYTES:
                return None
            objects = orjson.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, orjson.JSONDecodeError) as error:
            logger.warning("kept state cannot be read", path=str(path), error=str(error))
            return None
        return objects if isinstance(objects, list) and all(map(_is_object, objects)) else None

    def _write(self, resource: Resource) -> None:
        path = self._path(resource)
        data = orjson.dumps([_without_managers(obj) for obj in self._cache.list(resource)])
        try:
            if len(data) > FILE_SIZE_MAX_BYTES:
                logger.warning("state is too large to be kept", path=str(path), resource=resource.qualified_name)
                path.unlink(missing_ok=True)
                return
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(path, data)
        except OSError as error:
            logger.warning("state not kept", path=str(path), error=str(error))


def _is_object(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("metadata"), dict) and bool(value["metadata"].get("name"))


def _without_managers(obj: Obj) -> Obj:
    """Who set which field is nothing a node decides by, and half of the bytes."""
    return {**obj, "metadata": {name: value for name, value in obj["metadata"].items() if name != "managedFields"}}
