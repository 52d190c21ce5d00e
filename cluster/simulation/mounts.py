"""Mounts and groups that nothing runs in: volumes are plain directories of whoever runs the simulation."""

from __future__ import annotations

from pathlib import Path


class SimulatedMounter:
    """See `cluster.kubelet.volumes.mounts.Mounter`.  Everything is allowed, nothing is mounted."""

    @property
    def can_mount(self) -> bool:
        return True

    def tmpfs(self, target: Path, *, size_bytes: int | None, mode: int) -> None:
        """The directory itself serves."""

    def bind(self, descriptor: int, target: Path) -> None:
        """The place stays empty: no container looks there."""

    def unmount(self, target: Path) -> None:
        """Nothing is mounted."""

    def give_to_group(self, path: Path, group: int) -> None:
        """Nobody of that group runs."""
