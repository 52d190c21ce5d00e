"""The machine's operations as AArch64 instructions.  Source: Arm ARM (DDI 0487) chapter C6; asm-generic/unistd.h."""

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

_FIRST = 19  # x19 to x25 are the machine's registers
_SCRATCH = 9
_CONDITIONS = {If.EQUAL: 0x0, If.NOT_EQUAL: 0x1, If.LESS: 0xB}
_SYSCALLS = {
    "write": 64,
    "exit": 93,
    "nanosleep": 101,
    "rt_sigprocmask": 135,
    "rt_sigtimedwait": 137,
    "uname": 160,
    "execve": 221,
    "wait4": 260,
}


class Arm64:
    elf_machine = 183

    def encode(self, operation: Operation, at: int, addresses: Mapping[str, int]) -> bytes:
        if isinstance(operation, Data):
            return padded(operation.content)
        return b"".join(struct.pack("<I", word) for word in _words(operation, at, addresses))


def _words(operation: Operation, at: int, addresses: Mapping[str, int]) -> list[int]:
    match operation:
        case Label() | Data():
            return []
        case StackPointer(to):
            return [0x910003E0 | _n(to)]  # add xN, sp, #0
        case Move(to, value):
            return _set(_n(to), value, addresses)
        case Add(to, value):
            return [*_set(_SCRATCH, value, addresses), 0x8B000000 | _SCRATCH << 16 | _n(to) << 5 | _n(to)]
        case Load(to, base, offset):
            return [0xF9400000 | offset // 8 << 10 | _n(base) << 5 | _n(to)]
        case LoadByte(to, base, offset):
            return [0x39400000 | offset << 10 | _n(base) << 5 | _n(to)]
        case Store(base, value, offset):
            return [0xF9000000 | offset // 8 << 10 | _n(base) << 5 | _n(value)]
        case StoreByte(base, value):
            return [0x39000000 | _n(base) << 5 | _n(value)]
        case Jump(label):
            return [0x14000000 | _distance(at, addresses.get(label, at)) & 0x3FFFFFF]
        case JumpIf(left, test, right, label):
            compare = [*_set(_SCRATCH, right, addresses), 0xEB00001F | _SCRATCH << 16 | _n(left) << 5]
            branch_at = at + 4 * len(compare)
            distance = _distance(branch_at, addresses.get(label, branch_at)) & 0x7FFFF
            return [*compare, 0x54000000 | distance << 5 | _CONDITIONS[test]]
        case Syscall(to, name, arguments):
            words = [word for number, value in enumerate(arguments) for word in _set(number, value, addresses)]
            return [*words, *_set(8, _SYSCALLS[name], addresses), 0xD4000001, _move(_n(to), 0)]
        case _:
            assert_never(operation)


def _n(register: Reg) -> int:
    return _FIRST + register


def _move(to: int, source: int) -> int:
    return 0xAA0003E0 | source << 16 | to  # orr xTO, xzr, xSOURCE


def _set(number: int, value: Operand, addresses: Mapping[str, int]) -> list[int]:
    if isinstance(value, Reg):
        return [_move(number, _n(value))]
    if isinstance(value, Address):
        value = addresses.get(value.label, 0)
    bits = value & 0xFFFFFFFFFFFFFFFF
    # movz, then movk for each further 16 bits: always four words, so that lengths do not depend on values
    return [
        (0xD2800000 if half == 0 else 0xF2800000) | half << 21 | (bits >> 16 * half & 0xFFFF) << 5 | number
        for half in range(4)
    ]


def _distance(at: int, target: int) -> int:
    return (target - at) // 4
