"""A host that is never short of anything."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

from cluster.kubelet.host import HostIdentity
from cluster.kubelet.pressure import Pressure
from cluster.kubelet.stats_cgroups import Counters

DISK_BYTES = 100 << 30


class SimulatedHost:
    """See `cluster.kubelet.host.Host`.  `pressed` may be set by a scenario."""

    def __init__(self, name: str, address: str) -> None:
        self._identity = HostIdentity(_id_of(name), _id_of(f"boot {name}"))
        self._address = address
        self.pressed = Pressure()
        self.used: dict[int, Counters] = {}
        """What processes (0: the whole host) have used so far, as a scenario says; nothing else."""
        self.listening: set[tuple[str, int]] = set()
        """Protocol and number of the ports that programs, or pods, have."""

    def identity(self) -> HostIdentity:
        return self._identity

    def address(self) -> str:
        return self._address

    def disk_bytes(self, root: Path) -> int:
        return DISK_BYTES

    def pressure(self, root: Path) -> Pressure:
        return self.pressed

    def usage(self, pid: int) -> Counters | None:
        return self.used.get(pid, Counters(0, 0))

    def hold_port(self, address: str, protocol: str, number: int) -> _HeldPort:
        if (protocol, number) in self.listening:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        return _HeldPort(self.listening, (protocol, number))


class _HeldPort:
    def __init__(self, listening: set[tuple[str, int]], port: tuple[str, int]) -> None:
        self._listening = listening
        self._port = port
        listening.add(port)

    def close(self) -> None:
        self._listening.discard(self._port)


def _id_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
