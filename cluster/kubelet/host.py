"""What the kubelet asks of the host itself, besides its engine and its network: who it is, what it has, how it fares.

Implementations: `SystemHost` here and `cluster.simulation.host`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple, Protocol

from cluster.kubelet.node import default_address, host_identity
from cluster.kubelet.pressure import Pressure, read_pressure


class HostIdentity(NamedTuple):
    """Empty where the host has none; `boot_id` changes with every start of the host."""

    machine_id: str
    boot_id: str


class Host(Protocol):
    """Answers at once."""

    def identity(self) -> HostIdentity: ...

    def address(self) -> str:
        """The address other machines reach this one at."""
        ...

    def disk_bytes(self, root: Path) -> int:
        """The size of the file system that holds `root`."""
        ...

    def pressure(self, root: Path) -> Pressure: ...


class SystemHost:
    """The machine this process runs on."""

    def identity(self) -> HostIdentity:
        return HostIdentity(*host_identity())

    def address(self) -> str:
        return default_address()

    def disk_bytes(self, root: Path) -> int:
        disk = os.statvfs(root)
        return disk.f_blocks * disk.f_frsize

    def pressure(self, root: Path) -> Pressure:
        return read_pressure(root)
