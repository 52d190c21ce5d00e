"""Everything through which the roles touch the world, as values: `compose` is given them, and so runs anywhere.

`machine` fills them with this host's store files, sockets and engine; the simulation fills them with memory.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from cryptography.hazmat.primitives.asymmetric import ec

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy

if TYPE_CHECKING:
    # A server loads no kubelet, an agent no API server.
    from cluster.apiserver.aggregation import FrontProxy
    from cluster.apiserver.apiserver import ApiServer
    from cluster.apiserver.audit_log import AuditLog
    from cluster.kubelet.host import Host
    from cluster.kubelet.probe_runners import ProbeRunner
    from cluster.kubelet.runtime.api import ContainerEngine, ContainerStreams, ImageStore, PodNetwork, Sandboxes
    from cluster.kubelet.volumes.mounts import Mounter
    from cluster.store.api import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What signs service account tokens (P-256), the certificate authority that pods are told to trust, and its signature.

    `sign` makes a certificate of a request, for usages and a lifetime; all PEM.  Raises BadRequestPem.  `front_proxy` is
    what aggregated servers know the API server by, if there may be any.
    """

    token_key: ec.EllipticCurvePrivateKey = field(repr=False)
    ca_pem: str
    sign: Callable[[bytes, Collection[str], timedelta], bytes] = field(repr=False)
    front_proxy: FrontProxy | None = None


class Listener(Protocol):
    """The API as clients outside this process reach it.  Implementations: `machine.HttpsListener` and, where nobody
    listens, `NoListener`."""

    def listen(self, host: str, *, may_come_later: bool = False) -> None:
        """Serve on one more address of this host, one that it may get later among them.  Raises OSError."""
        ...

    def renew(self) -> Mapping[str, datetime]:
        """Renew the certificates that are due, for connections to come.  Returns when each ends, by name.

        Raises OSError, ValueError.
        """
        ...

    async def stop(self) -> None: ...


class NoListener:
    """Only this process reaches the API."""

    def listen(self, host: str, *, may_come_later: bool = False) -> None:
        """Nobody can come."""

    def renew(self) -> Mapping[str, datetime]:
        return {}

    async def stop(self) -> None:
        """Nobody came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What runs pods on a host: engine, sandboxes, network, and the host itself."""

    engine: ContainerEngine
    streams: ContainerStreams
    images: ImageStore
    sandboxes: Sandboxes
    network: PodNetwork
    probe_runner: ProbeRunner
    host: Host
    mounter: Mounter
    close: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """One process's ports; each is opened once, by the role that needs it."""

    clock: Clock
    entropy: Entropy
    open_store: Callable[[], Awaitable[Store]]
    trust: Callable[[], Trust]
    listener: Callable[[ApiServer], Listener]
    audit: Callable[[], AuditLog | None]
    port_in_use: Callable[[int], bool]
    runtime: Callable[[], Runtime]
