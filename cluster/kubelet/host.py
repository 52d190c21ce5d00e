"""What the kubelet asks of the host itself, besides its engine and its network: who it is, what it has, how it fares.

Implementations: `SystemHost` here and `cluster.simulation.host`.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import NamedTuple, Protocol

from cluster.kubelet.node import default_address, host_identity
from cluster.kubelet.pressure import Pressure, read_pressure
from cluster.kubelet.stats_cgroups import Counters, read_usage


class HostIdentity(NamedTuple):
    """Empty where the host has none; `boot_id` changes with every start of the host."""

    machine_id: str
    boot_id: str


class HeldPort(Protocol):
    """A port nobody else can listen on until it is closed."""

    def close(self) -> None: ...


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

    def usage(self, pid: int) -> Counters | None:
        """What the process's control group has used so far (HOST: the whole machine); None when it has ended."""
        ...

    def hold_port(self, address: str, protocol: str, number: int) -> HeldPort:
        """Take a port, TCP or UDP, at an IPv4 address of this host (0.0.0.0: at all).  Raises OSError if it is in use."""
        ...


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

    def usage(self, pid: int) -> Counters | None:
        return read_usage(pid)

    def hold_port(self, address: str, protocol: str, number: int) -> HeldPort:
        kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
        held = socket.socket(socket.AF_INET, kind)
        try:
            if protocol == "TCP":
                # Connections of an earlier owner that are only being forgotten do not count (TIME_WAIT).
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind((address, number))
            if protocol == "TCP":
                held.listen(0)
        except BaseException:
            held.close()
            raise
        return held
