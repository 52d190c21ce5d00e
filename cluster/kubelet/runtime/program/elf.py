"""A static ELF executable around assembled code: read-only code, zeroed memory, a stack that cannot be executed.

Source: System V ABI, ELF-64.  No sections, no symbols: the kernel needs only the program headers.
"""

from __future__ import annotations

import struct

CODE_ORIGIN = 0x400000
MEMORY_ORIGIN = 0x600000  # both multiples of 64 KiB, the largest page size of arm64
_EHDR_BYTES, _PHDR_BYTES, _PHDR_COUNT = 64, 56, 3
HEADER_BYTES = _EHDR_BYTES + _PHDR_BYTES * _PHDR_COUNT
_PT_LOAD, _PT_GNU_STACK = 1, 0x6474E551
_EXECUTE, _WRITE, _READ = 1, 2, 4


def executable(code: bytes, *, elf_machine: int, memory_bytes: int) -> bytes:
    """The file: `code` runs from CODE_ORIGIN + HEADER_BYTES; `memory_bytes` zeroed bytes lie at MEMORY_ORIGIN."""
    size = HEADER_BYTES + len(code)
    identity = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)  # 64 bit, little-endian, version 1
    header = identity + struct.pack(
        "<HHIQQQIHHHHHH",
        2,  # ET_EXEC
        elf_machine,
        1,
        CODE_ORIGIN + HEADER_BYTES,
        _EHDR_BYTES,
        0,
        0,
        _EHDR_BYTES,
        _PHDR_BYTES,
        _PHDR_COUNT,
        0,
        0,
        0,
    )
    return (
        header
        + _segment(_PT_LOAD, _READ | _EXECUTE, CODE_ORIGIN, file_bytes=size, memory_bytes=size)
        + _segment(_PT_LOAD, _READ | _WRITE, MEMORY_ORIGIN, file_bytes=0, memory_bytes=memory_bytes)
        + _segment(_PT_GNU_STACK, _READ | _WRITE, 0, file_bytes=0, memory_bytes=0)
        + code
    )


def _segment(kind: int, flags: int, address: int, *, file_bytes: int, memory_bytes: int) -> bytes:
    return struct.pack("<IIQQQQQQ", kind, flags, 0, address, address, file_bytes, memory_bytes, 0x10000)
