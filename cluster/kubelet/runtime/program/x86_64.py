"""The machine's operations as x86-64 instructions.  Source: Intel SDM volume 2; Linux syscall numbers, arch/x86.

Registers are those the kernel preserves over `syscall`, without r12 and rsp, whose memory forms need another byte.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import assert_never

from cluster.kubelet.runtime.program.machine import (
    Add,
    Address,
    Data,
    If,
    Jump,
    JumpIf,
    Label,
    Load,
    LoadByte,
    Move,
    Operand,
    Operation,
    Reg,
    StackPointer,
    Store,
    StoreByte,
    Syscall,
    padded,
)

_RAX, _RSP, _SCRATCH = 0, 4, 1  # rcx is lost in a system call anyway
_NUMBERS = {Reg.A: 3, Reg.B: 5, Reg.C: 13, Reg.D: 14, Reg.E: 15, Reg.F: 8, Reg.G: 9}
_ARGUMENTS = (7, 6, 2, 10)  # rdi, rsi, rdx, r10
_CONDITIONS = {If.EQUAL: 0x84, If.NOT_EQUAL: 0x85, If.LESS: 0x8C}
_SYSCALLS = {
    "write": 1,
    "rt_sigprocmask": 14,
    "nanosleep": 35,
    "execve": 59,
    "exit": 60,
    "wait4": 61,
    "uname": 63,
    "rt_sigtimedwait": 128,
}


class X86_64:
    elf_machine = 62

    def encode(self, operation: Operation, at: int, addresses: Mapping[str, int]) -> bytes:
        match operation:
            case Label():
                return b""
            case Data(content):
                return padded(content)
            case StackPointer(to):
                return _two(0x89, _RSP, _NUMBERS[to])
            case Move(to, value):
                return _set(_NUMBERS[to], value, addresses)
            case Add(to, value):
                return _set(_SCRATCH, value, addresses) + _two(0x01, _SCRATCH, _NUMBERS[to])
            case Load(to, base, offset):
                return _memory(b"\x8b", _NUMBERS[to], _NUMBERS[base], offset)
            case LoadByte(to, base, offset):
                return _memory(b"\x0f\xb6", _NUMBERS[to], _NUMBERS[base], offset)
            case Store(base, value, offset):
                return _memory(b"\x89", _NUMBERS[value], _NUMBERS[base], offset)
            case StoreByte(base, value):
                return _memory(b"\x88", _NUMBERS[value], _NUMBERS[base], 0)
            case Jump(label):
                return b"\xe9" + _relative(at + 5, addresses.get(label, 0))
            case JumpIf(left, test, right, label):
                compare = _set(_SCRATCH, right, addresses) + _two(0x39, _SCRATCH, _NUMBERS[left])
                end = at + len(compare) + 6
                return compare + bytes((0x0F, _CONDITIONS[test])) + _relative(end, addresses.get(label, 0))
            case Syscall(to, name, arguments):
                code = b"".join(
                    _set(number, value, addresses) for number, value in zip(_ARGUMENTS, arguments, strict=False)
                )
                return code + _set(_RAX, _SYSCALLS[name], addresses) + b"\x0f\x05" + _two(0x89, _RAX, _NUMBERS[to])
            case _:
                assert_never(operation)


def _set(number: int, value: Operand, addresses: Mapping[str, int]) -> bytes:
    if isinstance(value, Reg):
        return _two(0x89, _NUMBERS[value], number)
    if isinstance(value, Address):
        value = addresses.get(value.label, 0)
    return bytes((0x48 | number >> 3, 0xB8 | number & 7)) + struct.pack("<q", value)


def _two(opcode: int, source: int, target: int) -> bytes:
    """A 64-bit operation on two registers (ModRM mode 3)."""
    rex = 0x48 | (source >> 3) << 2 | target >> 3
    return bytes((rex, opcode, 0xC0 | (source & 7) << 3 | target & 7))


def _memory(opcode: bytes, register: int, base: int, offset: int) -> bytes:
    """A 64-bit operation on a register and memory at base + 32-bit displacement (ModRM mode 2)."""
    rex = 0x48 | (register >> 3) << 2 | base >> 3
    return bytes((rex,)) + opcode + bytes((0x80 | (register & 7) << 3 | base & 7,)) + struct.pack("<i", offset)


def _relative(after: int, target: int) -> bytes:
    return struct.pack("<i", (target - after) if target else 0)
