"""Who parses a file: small ones here, larger ones in a process of their own that is started when needed.

The line is drawn where parsing would hold up the event loop for longer than a probe may wait.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

import orjson

from reconciler.render.parsed import Parsed, Part, parse
from reconciler.render.worker import LENGTH

INLINE_MAX_BYTES = 32 * 1024
FILE_TIMEOUT_S = 20.0
IDLE_S = 30.0
"""A worker without work is ended after this, so that an idle daemon stays small."""

ANSWER_MAX_BYTES = 256 * 1024 * 1024

_ROOT = Path(__file__).resolve().parents[2]


class Parser:
    """Parses one file at a time.  Never raises for what a file contains."""

    def __init__(self) -> None:
        self._child: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._idle: asyncio.TimerHandle | None = None

    async def parse(self, data: bytes) -> Parsed:
        if len(data) <= INLINE_MAX_BYTES:
            return parse(data)
        async with self._turn:
            if self._idle is not None:
                self._idle.cancel()
            try:
                async with asyncio.timeout(FILE_TIMEOUT_S):
                    answer = await self._ask(data)
            except TimeoutError:
                await self._end()
                return Parsed((), f"the file takes longer than {FILE_TIMEOUT_S:g} s to parse")
            except (OSError, asyncio.IncompleteReadError):
                await self._end()
                return Parsed((), "the file cannot be parsed: the parser ended")
            except BaseException:
                await self._end()
                raise
            self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._retire)
            return answer

    async def close(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        async with self._turn:
            await self._end()

    async def _ask(self, data: bytes) -> Parsed:
        child = await self._running()
        if child.stdin is None or child.stdout is None:
            raise RuntimeError("a child started with pipes has none")
        child.stdin.write(LENGTH.pack(len(data)) + data)
        await child.stdin.drain()
        (size,) = LENGTH.unpack(await child.stdout.readexactly(LENGTH.size))
        if size > ANSWER_MAX_BYTES:
            raise OSError("the answer is too large")
        answer = orjson.loads(await child.stdout.readexactly(size))
        parts = tuple(Part(obj, line, digest) for obj, line, digest in answer["parts"])
        return Parsed(parts, answer["error"], answer["line"])

    async def _running(self) -> asyncio.subprocess.Process:
        if self._child is None or self._child.returncode is not None:
            self._child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-c",
                f"import sys; sys.path.insert(0, {str(_ROOT)!r}); from reconciler.render.worker import main; main()",
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
        return self._child

    def _retire(self) -> None:
        """End an idle worker by closing its input; it is reaped by the event loop."""
        child, self._child = self._child, None
        if child is not None and child.stdin is not None:
            child.stdin.close()

    async def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        if child.stdin is not None:
            child.stdin.close()
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()
