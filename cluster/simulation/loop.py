"""An event loop on virtual time: when nothing is ready it jumps to the next timer, so hours pass in seconds.

Everything that runs on it is repeatable: no sockets, no threads, no real waiting.  A world in which nothing is scheduled
any more, while somebody still waits, is a deadlock and is reported as one.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)
"""When virtual time begins."""


class Deadlock(RuntimeError):
    """Nothing is scheduled and nothing can arrive from outside."""


class _JumpingSelector(selectors.BaseSelector):
    """Never waits: tells the loop how far to jump.  The loop's own wake-up pipe is the one file it knows, and ignores."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0
        self._keys: dict[int, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        descriptor = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = selectors.SelectorKey(fileobj, descriptor, events, data)
        self._keys[descriptor] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj if isinstance(fileobj, int) else fileobj.fileno())

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock("every task waits and no timer is set")
        self.elapsed_s += max(timeout, 0.0)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """`time()` is the virtual seconds since the start."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.elapsed_s

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        raise RuntimeError("threads are not part of a simulation")


class VirtualClock:
    """The loop's time as a Clock; must be used while a VirtualTimeLoop runs."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.monotonic())

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run to completion on virtual time.  Raises Deadlock, and whatever `main` raises."""
    loop = VirtualTimeLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        for task in sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name()):
            task.cancel()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
