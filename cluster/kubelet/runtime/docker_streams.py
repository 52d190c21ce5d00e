"""ContainerStreams over the Docker Engine API: logs, exec and attach.

Without a terminal Docker frames both outputs on one connection: eight bytes (stream, three zeros, length), then data.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cluster.base.http_client import HttpError, UpgradedConnection
from cluster.client.node_channel import Chunk, ExecSession
from cluster.kubelet.runtime.api import EngineError, EngineUnavailable, Execution, NoSuchContainer
from cluster.kubelet.runtime.docker_api import DockerApi, DockerRefused

EXIT_CODE_WAIT_S = 5.0
_HEADER_BYTES = 8


class FrameDecoder:
    """Bytes of a framed stream in, chunks out as they arrive; it holds back no more than a partial header."""

    def __init__(self) -> None:
        self._header = b""
        self._stream = 0
        self._left = 0

    def feed(self, data: bytes) -> list[Chunk]:
        """Raises EngineError when the bytes are not frames."""
        chunks: list[Chunk] = []
        at = 0
        while at < len(data):
            if self._left == 0:
                taken = data[at : at + _HEADER_BYTES - len(self._header)]
                self._header += taken
                at += len(taken)
                if len(self._header) < _HEADER_BYTES:
                    break
                if self._header[0] > 2 or self._header[1:4] != b"\0\0\0":
                    raise EngineError(
                        "ContainerRuntimeError", "the container engine's output is not framed as it should be"
                    )
                self._stream = 2 if self._header[0] == 2 else 1
                self._left = int.from_bytes(self._header[4:], "big")
                self._header = b""
                continue
            part = data[at : at + self._left]
            chunks.append(Chunk(self._stream, part))
            at += len(part)
            self._left -= len(part)
        return chunks


class DockerStreams:
    def __init__(self, api: DockerApi) -> None:
        self._api = api

    async def logs(
        self, container_id: str, *, follow: bool, since: datetime | None, tail_lines: int | None, timestamps: bool
    ) -> AsyncIterator[Chunk]:
        tty = await self._has_terminal(container_id)
        query = {
            "stdout": "1",
            "stderr": "1",
            "follow": str(int(follow)),
            "timestamps": str(int(timestamps)),
            "tail": "all" if tail_lines is None else str(tail_lines),
        }
        if since is not None:
            query["since"] = f"{since.timestamp():.6f}"
        path = f"/containers/{quote(container_id, safe='')}/logs"
        decoder = FrameDecoder()
        async with self._api.stream("GET", path, query=query) as response:
            while data := await response.read():
                for chunk in [Chunk(1, data)] if tty else decoder.feed(data):
                    yield chunk

    async def exec(
        self, container_id: str, command: Sequence[str], *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> Execution:
        config = {
            "AttachStdin": stdin,
            "AttachStdout": stdout,
            "AttachStderr": stderr and not tty,
            "Tty": tty,
            "Cmd": list(command),
        }
        try:
            made = await self._api.call("POST", f"/containers/{quote(container_id, safe='')}/exec", body=config)
            path = f"/exec/{made['Id']}"
            connection = await self._api.hijack(f"{path}/start", body={"Detach": False, "Tty": tty})
        except DockerRefused as refused:
            raise _entry_error(container_id, refused) from None

        async def exit_code() -> int:
            # the connection closes a moment before the engine has recorded the end
            deadline = asyncio.get_running_loop().time() + EXIT_CODE_WAIT_S
            while True:
                state = await self._api.call("GET", f"{path}/json")
                if not state["Running"] and state["ExitCode"] is not None:
                    return int(state["ExitCode"])
                if asyncio.get_running_loop().time() > deadline:
                    raise EngineError("ExecError", "the command's output ended but the command did not")
                await asyncio.sleep(0.01)

        return _Execution(container_id, self._api, connection, tty=tty, path=path, exit_code=exit_code)

    async def attach(self, container_id: str, *, stdin: bool, stdout: bool, stderr: bool, tty: bool) -> ExecSession:
        has_terminal = await self._has_terminal(container_id)
        path = f"/containers/{quote(container_id, safe='')}"
        query = {"stream": "1", "stdin": str(int(stdin)), "stdout": str(int(stdout)), "stderr": str(int(stderr))}
        try:
            connection = await self._api.hijack(f"{path}/attach", query=query)
        except DockerRefused as refused:
            raise _entry_error(container_id, refused) from None

        async def exit_code() -> int:
            ended: dict[str, Any] = await self._api.call("POST", f"{path}/wait", timeout_s=86_400.0)
            return int(ended["StatusCode"])

        return _Session(self._api, connection, tty=has_terminal, path=path, exit_code=exit_code)

    async def _has_terminal(self, container_id: str) -> bool:
        try:
            inspected = await self._api.call("GET", f"/containers/{quote(container_id, safe='')}/json")
        except DockerRefused as refused:
            raise _entry_error(container_id, refused) from None
        return bool(inspected["Config"]["Tty"])


class _Session:
    """ExecSession over a hijacked connection; `path` is the command's or the container's in the Engine API."""

    def __init__(
        self,
        api: DockerApi,
        connection: UpgradedConnection,
        *,
        tty: bool,
        path: str,
        exit_code: Callable[[], Awaitable[int]],
    ) -> None:
        self._api = api
        self._connection = connection
        self._tty = tty
        self._path = path
        self._exit_code = exit_code
        self._ended = asyncio.Event()

    async def send(self, data: bytes) -> None:
        try:
            await self._connection.write(data)
        except HttpError as error:
            raise EngineError("ExecError", "the command no longer reads") from error

    async def close_stdin(self) -> None:
        self._connection.write_eof()

    async def resize(self, width: int, height: int) -> None:
        await self._api.call("POST", f"{self._path}/resize", query={"w": str(width), "h": str(height)})

    async def output(self) -> AsyncIterator[Chunk]:
        decoder = FrameDecoder()
        try:
            while data := await self._connection.read():
                for chunk in [Chunk(1, data)] if self._tty else decoder.feed(data):
                    yield chunk
        except HttpError as error:
            raise EngineUnavailable(f"the connection to the command broke: {error}") from error
        finally:
            self._ended.set()

    async def wait(self) -> int:
        await self._ended.wait()
        return await self._exit_code()

    async def close(self) -> None:
        self._ended.set()
        self._connection.close()


class _Execution(_Session):
    """The engine cannot end a command, but says which process of this host it is."""

    def __init__(
        self,
        container_id: str,
        api: DockerApi,
        connection: UpgradedConnection,
        *,
        tty: bool,
        path: str,
        exit_code: Callable[[], Awaitable[int]],
    ) -> None:
        super().__init__(api, connection, tty=tty, path=path, exit_code=exit_code)
        self._container_id = container_id

    async def kill(self) -> None:
        state = await self._api.call("GET", f"{self._path}/json")
        pid = int(state.get("Pid") or 0)
        if not state["Running"] or pid <= 1:
            return
        try:
            held = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            # Still running now that we hold it: the number cannot have passed to another process in between.
            running = (await self._api.call("GET", f"{self._path}/json"))["Running"]
            # Where the engine counts processes otherwise than we do, the number is somebody else's: its group tells.
            if running and self._container_id in Path(f"/proc/{pid}/cgroup").read_text():
                signal.pidfd_send_signal(held, signal.SIGKILL)
                if os.getpgid(pid) == pid:
                    os.killpg(pid, signal.SIGKILL)
        except (ProcessLookupError, FileNotFoundError):
            return
        finally:
            os.close(held)


def _entry_error(container_id: str, refused: DockerRefused) -> EngineError:
    if refused.status == 404 and "no such container" in refused.message.lower():
        return NoSuchContainer(container_id)
    if refused.status == 409:
        return EngineError("ContainerNotRunning", refused.message)
    return EngineError("ExecError", refused.message)
