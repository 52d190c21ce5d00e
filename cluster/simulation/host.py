"""A host that is never short of anything."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cluster.kubelet.host import HostIdentity
from cluster.kubelet.pressure import Pressure

DISK_BYTES = 100 << 30


class SimulatedHost:
    """See `cluster.kubelet.host.Host`.  `pressed` may be set by a scenario."""

    def __init__(self, name: str, address: str) -> None:
        self._identity = HostIdentity(_id_of(name), _id_of(f"boot {name}"))
        self._address = address
        self.pressed = Pressure()

    def identity(self) -> HostIdentity:
        return self._identity

    def address(self) -> str:
        return self._address

    def disk_bytes(self, root: Path) -> int:
        return DISK_BYTES

    def pressure(self, root: Path) -> Pressure:
        return self.pressed


def _id_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
