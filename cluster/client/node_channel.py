"""Streams to a node: logs, exec, attach, port-forward and statistics reach the kubelet through a channel, never by dialling it.

In one process the kubelet itself is the channel; for hosts that joined it is the agent's own outbound connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from cluster.client.node_stats import NodeStats


class ContainerRef(NamedTuple):
    """A container of one incarnation of a pod."""

    namespace: str
    pod: str
    uid: str
    container: str


@dataclass(frozen=True, slots=True)
class LogOptions:
    """v1.PodLogOptions; None or empty means not asked for."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    since_s: int | None = None
    since_time: str = ""
    tail_lines: int | None = None
    limit_bytes: int | None = None


class Chunk(NamedTuple):
    """Bytes of one stream: 1 is stdout, 2 stderr."""

    stream: int
    data: bytes


class ExecSession(Protocol):
    """A process in a container, attached."""

    async def send(self, data: bytes) -> None:
        """Write to its standard input; waits while the process does not read."""
        ...

    async def close_stdin(self) -> None: ...

    async def resize(self, width: int, height: int) -> None: ...

    def output(self) -> AsyncIterator[Chunk]:
        """What it writes, until both streams end."""
        ...

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        ...

    async def close(self) -> None:
        """Let go of it; the process is not killed."""
        ...


class ByteStream(Protocol):
    """A connection to a pod's port."""

    async def read(self) -> bytes:
        """Some bytes; empty at the end."""
        ...

    async def write(self, data: bytes) -> None: ...

    async def close(self) -> None: ...


class NodeChannel(Protocol):
    """Raises ApiError: NotFound for no such container, BadRequest when it cannot be entered now."""

    def logs(self, container: ContainerRef, options: LogOptions) -> AsyncIterator[bytes]: ...

    async def exec(
        self, container: ContainerRef, command: Sequence[str], *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> ExecSession: ...

    async def attach(
        self, container: ContainerRef, *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> ExecSession: ...

    async def connect(self, container: ContainerRef, port: int) -> ByteStream:
        """A connection to a TCP port of the pod's loopback or address; `container.container` is ignored."""
        ...

    async def stats(self) -> NodeStats:
        """What the node and its running containers use; may take a second, in which use is observed."""
        ...


class NodeChannels(Protocol):
    """Which nodes can be reached now."""

    def connect(self, node: str, channel: NodeChannel) -> None:
        """The node is reached through `channel` from now on."""
        ...

    def disconnect(self, node: str, channel: NodeChannel) -> None:
        """Not through that one any more."""
        ...

    def channel(self, node: str) -> NodeChannel:
        """Raises ServiceUnavailable when no agent of that node is connected."""
        ...
