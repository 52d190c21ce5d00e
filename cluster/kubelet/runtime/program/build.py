"""From the checked-in source to the executable's bytes, the same every time."""

from __future__ import annotations

from cluster.kubelet.runtime.program.arm64 import Arm64
from cluster.kubelet.runtime.program.elf import CODE_ORIGIN, HEADER_BYTES, MEMORY_ORIGIN, executable
from cluster.kubelet.runtime.program.machine import Encoder, assemble
from cluster.kubelet.runtime.program.source import MEMORY, MEMORY_BYTES, program
from cluster.kubelet.runtime.program.x86_64 import X86_64

_ENCODERS: dict[str, type[Encoder]] = {"x86_64": X86_64, "amd64": X86_64, "aarch64": Arm64, "arm64": Arm64}
"""By the names that uname and Docker give an architecture."""


def build(architecture: str) -> bytes:
    """The sandbox program for that architecture.  Raises ValueError for one we have no encoder for."""
    encoder = _ENCODERS.get(architecture)
    if encoder is None:
        raise ValueError(f"no sandbox program for architecture {architecture!r}: only x86_64 and arm64")
    target = encoder()
    code = assemble(program(), target, origin=CODE_ORIGIN + HEADER_BYTES, known={MEMORY: MEMORY_ORIGIN})
    return executable(code, elf_machine=target.elf_machine, memory_bytes=MEMORY_BYTES)
