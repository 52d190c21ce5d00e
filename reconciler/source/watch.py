"""Local sources announce themselves: file events, filtered, say "look again" and nothing more.

watchdog's threads stay in here; what crosses to the event loop is a wake-up.  Reading raises events too (open, close
without writing): those are dropped, or looking would cause looking.  Missed events are caught by the one-second look.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from loguru import logger
from watchdog.events import (
    DirCreatedEvent,
    FileClosedNoWriteEvent,
    FileMovedEvent,
    FileOpenedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

WATCHES_MAX = 64
"""Sources beyond this are only looked at once a second."""

_READS = (FileOpenedEvent, FileClosedNoWriteEvent)


class FileWatch:
    """Calls back on the event loop when files below a source's directories change."""

    def __init__(self) -> None:
        self._observer: BaseObserver | None = None
        self._watches: dict[str, tuple[_Handler, list[ObservedWatch]]] = {}
        self._users: Counter[ObservedWatch] = Counter()
        """How many names share a watch: two sources may lie in one directory, and the observer knows it once."""
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def add(self, name: str, directories: Sequence[Path], changed: Callable[[], None], *, gather_s: float) -> None:
        """Watch under `name` instead of what was watched under it before.  A host without watches left is no error.

        So long after an event the others of the same change are waited for, and `changed` is called once; 0 calls it at
        each event, for looks that cost next to nothing.
        """
        self.remove(name)
        if len(self._watches) >= WATCHES_MAX or not directories:
            return
        loop = asyncio.get_running_loop()

        def wake() -> None:
            loop.call_soon_threadsafe(self._gather, name, changed, gather_s)

        handler = _Handler(wake)
        if self._observer is None:
            self._observer = Observer()
            self._observer.daemon = True
            self._observer.start()
        watches: list[ObservedWatch] = []
        for directory in directories:
            recursive = directory.name in ("heads", "tags") or not (directory / "HEAD").exists()
            try:
                watches.append(self._observer.schedule(handler, str(directory), recursive=recursive))
            except OSError as error:
                logger.warning("cannot watch directory, looking at it each second", source=name, reason=str(error))
        self._users.update(watches)
        self._watches[name] = (handler, watches)

    def remove(self, name: str) -> None:
        if (timer := self._timers.pop(name, None)) is not None:
            timer.cancel()
        if self._observer is None or name not in self._watches:
            return
        handler, watches = self._watches.pop(name)
        for watch in watches:
            self._users[watch] -= 1
            if self._users[watch]:
                self._observer.remove_handler_for_watch(handler, watch)
            else:
                del self._users[watch]
                self._observer.unschedule(watch)

    def close(self) -> None:
        for name in list(self._watches):
            self.remove(name)
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None

    def _gather(self, name: str, changed: Callable[[], None], gather_s: float) -> None:
        if name not in self._watches or name in self._timers:
            return
        if gather_s:
            self._timers[name] = asyncio.get_running_loop().call_later(gather_s, self._fire, name, changed)
        else:
            changed()

    def _fire(self, name: str, changed: Callable[[], None]) -> None:
        self._timers.pop(name, None)
        changed()


class _Handler(FileSystemEventHandler):
    """Runs in watchdog's thread."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        if isinstance(event, _READS) or (event.is_directory and not isinstance(event, DirCreatedEvent)):
            return
        if str(event.src_path).endswith(".lock") and not isinstance(event, FileMovedEvent):
            return  # git's way of writing a ref is to move its lock into place
        try:
            self._wake()
        except RuntimeError:
            # The loop has just been closed: nobody is left to tell.
            return
