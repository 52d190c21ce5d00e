"""What the kubelet asks of a container engine and of the pod network.

Implementations: `docker` (the Engine API over its socket) and `cluster.simulation.engine`.  Both pass
`tests/contract/engine_suite.py`.  The kubelet labels every container it creates; nothing without its labels is touched.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from cluster.client.node_channel import Chunk, ExecSession


class EngineError(Exception):
    """The engine refused or failed; `reason` is what a container status shows (`CreateContainerError`)."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class EngineUnavailable(EngineError):
    """The engine does not answer; nothing may be concluded about any container."""

    def __init__(self, message: str) -> None:
        super().__init__("ContainerRuntimeUnavailable", message)


class NoSuchContainer(EngineError):
    def __init__(self, container_id: str) -> None:
        super().__init__("NoSuchContainer", f"no such container: {container_id}")


class State(StrEnum):
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class Mount:
    """A host path bound into a container; `propagation` is Docker's word (`rprivate`, `rslave`, `rshared`)."""

    source: str
    target: str
    read_only: bool = False
    propagation: str = "rprivate"


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """Everything the engine needs to create one container; values are already resolved and checked by policy.

    `sandbox_id` is the container whose network and IPC namespaces are joined; empty for a sandbox itself.
    """

    name: str
    image: str
    labels: Mapping[str, str]
    sandbox_id: str = ""
    entrypoint: Sequence[str] | None = None  # None: the image's
    args: Sequence[str] | None = None
    env: Sequence[str] = ()  # NAME=value
    working_dir: str = ""
    mounts: Sequence[Mount] = ()
    tmpfs: Mapping[str, str] = field(default_factory=dict)
    user: str = ""  # uid[:gid]; empty: the image's
    supplemental_groups: Sequence[int] = ()
    privileged: bool = False
    capabilities_add: Sequence[str] = ()
    capabilities_drop: Sequence[str] = ()
    read_only_root: bool = False
    no_new_privileges: bool = False
    seccomp: str = ""  # empty: the engine's default; `unconfined`; or a profile's JSON text
    apparmor: str = ""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    hostname: str = ""
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    share_pid_with: str = ""  # container id whose PID namespace is joined
    cpu_shares: int = 0
    cpu_quota_us: int = 0  # per 100 ms; 0: unlimited
    memory_limit_bytes: int = 0
    pids_limit: int = 0
    oom_score_adj: int = 0
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    stop_signal: str = ""


@dataclass(frozen=True, slots=True)
class Container:
    """A container as the engine sees it.  `pid` is 0 unless running; instants are None until they happen."""

    id: str
    name: str
    image: str
    image_id: str
    labels: Mapping[str, str]
    state: State
    pid: int = 0
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """Something happened to a container of ours: a hint to look again.  `action` is start, die, oom or destroy."""

    container_id: str
    action: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class EngineInfo:
    name: str  # docker
    version: str
    cpu_count: int
    memory_bytes: int
    kernel: str
    operating_system: str
    architecture: str
    data_root: str


@dataclass(frozen=True, slots=True)
class Image:
    id: str
    tags: Sequence[str]
    digests: Sequence[str]
    size_bytes: int
    user: str = ""
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    working_dir: str = ""


@dataclass(frozen=True, slots=True)
class RegistryAuth:
    """Credentials for one registry; never printed."""

    server: str
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


class ContainerEngine(Protocol):
    """Calls have deadlines of their own and raise EngineError; each may be repeated."""

    async def info(self) -> EngineInfo: ...

    async def list(self) -> Sequence[Container]:
        """Every container that carries our management label, running or not."""
        ...

    async def create(self, spec: ContainerSpec) -> str:
        """Create, return the id.  Creating a name that exists with the same labels returns that one's id."""
        ...

    async def start(self, container_id: str) -> None:
        """Start; starting a running one does nothing."""
        ...

    async def stop(self, container_id: str, *, grace_s: float) -> None:
        """Send the stop signal, then SIGKILL after `grace_s`; returns once it has exited.  0 kills at once."""
        ...

    async def remove(self, container_id: str) -> None:
        """Remove with its anonymous volumes, killing it if it runs; removing an absent one does nothing."""
        ...

    async def rename(self, container_id: str, name: str) -> None: ...

    def events(self) -> AsyncIterator[EngineEvent]:
        """Events of our containers from now on, until the connection breaks (EngineUnavailable): then list again."""
        ...


class Execution(ExecSession, Protocol):
    """A command run in a container by the kubelet itself."""

    async def kill(self) -> None:
        """End the command and what it started, if they still run: letting go of it would leave them in the container."""
        ...


class ContainerStreams(Protocol):
    """Output and entry of a running container."""

    def logs(
        self, container_id: str, *, follow: bool, since: datetime | None, tail_lines: int | None, timestamps: bool
    ) -> AsyncIterator[Chunk]: ...

    async def exec(
        self, container_id: str, command: Sequence[str], *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> Execution: ...

    async def attach(self, container_id: str, *, stdin: bool, stdout: bool, stderr: bool, tty: bool) -> ExecSession: ...


class ImageStore(Protocol):
    async def find(self, image: str) -> Image | None:
        """The image under that name in the engine's own store, or None; never asks a registry."""
        ...

    async def pull(self, image: str, auth: Sequence[RegistryAuth]) -> Image:
        """Fetch from the registry, trying `auth` in order, then none.  Raises EngineError `ErrImagePull`."""
        ...


@dataclass(frozen=True, slots=True)
class SandboxNeeds:
    """What a pod asks of its sandbox.  Any of them makes it start cold: a warm sandbox has none."""

    sysctls: Mapping[str, str] = field(default_factory=dict)
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The running container that holds a pod's namespaces; `pid` is its process on the host."""

    id: str
    name: str
    pod_uid: str
    pid: int


class Sandboxes(Protocol):
    """The pods' sandboxes, some made ahead of need.  Raises EngineError.

    Implementations: `SandboxPool` (`runtime.sandbox`) and `cluster.simulation.engine`.
    """

    async def adopt(self) -> Sequence[Sandbox]:
        """After a restart: the claimed sandboxes that run, by pod uid; warm ones return to the pool."""
        ...

    async def acquire(
        self, pod_uid: str, pod_namespace: str, pod_name: str, *, hostname: str, needs: SandboxNeeds
    ) -> Sandbox:
        """The pod's sandbox, running and with its host name set; repeating returns the same while it runs, else a new one."""
        ...

    def joining(self, spec: ContainerSpec, sandbox: Sandbox, image: Image) -> ContainerSpec:
        """`spec` as it joins `sandbox`: its namespaces, and the entry that waits for the host name (needs the image's)."""
        ...

    async def release(self, pod_uid: str) -> None:
        """Remove the pod's sandbox; idempotent."""
        ...

    async def fill(self) -> None:
        """Make warm sandboxes up to the pool's bound."""
        ...

    async def purge(self) -> None:
        """Remove every sandbox of ours, warm and claimed."""
        ...


@dataclass(frozen=True, slots=True)
class PodAddress:
    """The pod's own address (empty when it uses the host's network namespace)."""

    ip: str


class PodNetwork(Protocol):
    """The node's pod network: a bridge of ours, one veth pair and one address a pod."""

    async def setup(self) -> None:
        """Make or repair the bridge, sysctls and routes; idempotent."""
        ...

    async def attach(self, pod_uid: str, *, pid: int) -> PodAddress:
        """Give the network namespace of process `pid` an interface and an address; repeating returns the same."""
        ...

    async def adopt(self, addresses: Mapping[str, str]) -> None:
        """After a restart: pod uid to address of what runs, so that no address is given out twice."""
        ...

    async def connect(self, port: int, *, pid: int, address: str) -> socket.socket:
        """A connection to a TCP port of the pod of process `pid`, on its loopback or else its `address`; not blocking.

        The caller closes it.  Raises OSError.
        """
        ...

    async def detach(self, pod_uid: str) -> None:
        """Free the pod's address and interface; idempotent."""
        ...

    async def purge(self) -> None:
        """Remove everything `setup` and `attach` made, and nothing else."""
        ...

    @property
    def gateway_ip(self) -> str:
        """The node's address on the bridge: pods reach the node, its API and its DNS there."""
        ...
