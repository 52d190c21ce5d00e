"""Supervised tasks: every background task of a component has a name, a restart policy and an ordered end.

A `Supervisor` owns its tasks.  Nothing here knows what they do.  Effects happen in the order of `start` (and in its
reverse on shutdown), never in set order, so that a simulated run repeats exactly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from loguru import logger

from cluster.base.clock import Clock

RESTART_BASE_S = 0.2
RESTART_MAX_S = 30.0
HEALTHY_AFTER_S = 60.0
"""A task that ran this long before it failed starts its back-off from the beginning."""


class Supervisor:
    """Named tasks that are restarted with back-off when they fail, and stopped last-started-first.

    A task that returns is done and is not restarted.  One that raises is logged and restarted (0.2 s doubling to 30 s),
    unless `restart` is False.  A `fatal` task's failure is kept: `failed()` waits for the first one, so that whoever
    owns the process can stop it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failure: BaseException | None = None
        self._failure_seen = asyncio.Event()
        self._stopping = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks that have not ended, in the order they were started."""
        return tuple(name for name, task in self._tasks.items() if not task.done())

    def start(
        self,
        name: str,
        factory: Callable[[], Awaitable[None]],
        *,
        restart: bool = True,
        fatal: bool = False,
    ) -> None:
        """Run `factory()` under supervision.  Raises ValueError for a name in use, RuntimeError once stopping."""
        if self._stopping:
            raise RuntimeError(f"supervisor is stopping, {name} cannot start")
        running = self._tasks.get(name)
        if running is not None and not running.done():
            raise ValueError(f"task {name} is already running")
        self._tasks.pop(name, None)
        task = asyncio.get_running_loop().create_task(self._run(name, factory, restart=restart, fatal=fatal), name=name)
        self._tasks[name] = task

    async def cancel(self, name: str) -> None:
        """Stop one task and return when it has ended; a name that is not running is nothing to do."""
        task = self._tasks.pop(name, None)
        if task is not None:
            await _end(task)

    async def stop(self) -> None:
        """Stop every task, the last started first, each ended before the next is told.  Idempotent."""
        self._stopping = True
        while self._tasks:
            _, task = self._tasks.popitem()
            await _end(task)

    async def failed(self) -> BaseException:
        """Return the first failure of a `fatal` task; wait until there is one."""
        await self._failure_seen.wait()
        if self._failure is None:
            raise RuntimeError("the failure event was set without a failure")
        return self._failure

    async def _run(self, name: str, factory: Callable[[], Awaitable[None]], *, restart: bool, fatal: bool) -> None:
        try:
            await self._run_until_done(name, factory, restart=restart, fatal=fatal)
        finally:
            # What has ended is forgotten, so that short tasks do not pile up.
            if self._tasks.get(name) is asyncio.current_task():
                del self._tasks[name]

    async def _run_until_done(
        self, name: str, factory: Callable[[], Awaitable[None]], *, restart: bool, fatal: bool
    ) -> None:
        delay_s = RESTART_BASE_S
        while True:
            started = self._clock.monotonic()
            try:
                await factory()
            except Exception as error:
                if _is_told_to_end():
                    raise  # it failed while cleaning up: starting it anew would swallow the cancellation
                if fatal:
                    logger.opt(exception=error).error("task failed", task=name, reason=str(error))
                    if self._failure is None:
                        self._failure = error
                        self._failure_seen.set()
                    return
                if not restart:
                    logger.opt(exception=error).error("task failed", task=name, reason=str(error))
                    return
                if self._clock.monotonic() - started >= HEALTHY_AFTER_S:
                    delay_s = RESTART_BASE_S
                logger.opt(exception=error).warning(
                    "task failed, restarting", task=name, reason=str(error), delay_s=delay_s
                )
            else:
                return
            await self._clock.sleep(delay_s)
            delay_s = min(delay_s * 2, RESTART_MAX_S)


def _is_told_to_end() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel `task` and wait until it has ended, even if it needs time to; our own cancellation passes through after."""
    if task is asyncio.current_task():
        return
    task.cancel()
    interrupted: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            interrupted = error
    if not task.cancelled() and (failure := task.exception()) is not None:
        logger.opt(exception=failure).warning("task failed while stopping", task=task.get_name(), reason=str(failure))
    if interrupted is not None:
        raise interrupted
