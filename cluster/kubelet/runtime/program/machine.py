"""The operations the sandbox program is written in: a machine with seven registers that every Linux CPU can imitate.

Registers survive system calls.  Immediates are signed and fit 32 bits; addresses are absolute.  `assemble` resolves
labels; an encoder turns one operation into bytes of a fixed length, so that one pass places them and a second encodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Protocol


class Reg(IntEnum):
    A = 0
    B = 1
    C = 2
    D = 3
    E = 4
    F = 5
    G = 6


class If(Enum):
    EQUAL = "eq"
    NOT_EQUAL = "ne"
    LESS = "lt"  # signed


@dataclass(frozen=True, slots=True)
class Address:
    """Where a label (of code or data) ends up."""

    label: str


Operand = Reg | int | Address


@dataclass(frozen=True, slots=True)
class Label:
    name: str


@dataclass(frozen=True, slots=True)
class Data:
    """Constant bytes among the code, padded to eight bytes so that instructions stay aligned; never executed."""

    content: bytes


@dataclass(frozen=True, slots=True)
class StackPointer:
    """The stack as the kernel left it: argc, argv, NULL, envp, NULL."""

    to: Reg


@dataclass(frozen=True, slots=True)
class Move:
    to: Reg
    value: Operand


@dataclass(frozen=True, slots=True)
class Add:
    to: Reg
    value: Operand


@dataclass(frozen=True, slots=True)
class Load:
    """The 64-bit word at `base + offset`; the offset is a multiple of 8."""

    to: Reg
    base: Reg
    offset: int = 0


@dataclass(frozen=True, slots=True)
class LoadByte:
    to: Reg
    base: Reg
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Store:
    base: Reg
    value: Reg
    offset: int = 0


@dataclass(frozen=True, slots=True)
class StoreByte:
    base: Reg
    value: Reg


@dataclass(frozen=True, slots=True)
class Jump:
    label: str


@dataclass(frozen=True, slots=True)
class JumpIf:
    """Jump when `left` compares so with `right`."""

    left: Reg
    test: If
    right: Operand
    label: str


@dataclass(frozen=True, slots=True)
class Syscall:
    """`to` becomes what the kernel answers: a result or a negated errno.  At most four arguments."""

    to: Reg
    name: str
    arguments: tuple[Operand, ...]


Operation = Label | Data | StackPointer | Move | Add | Load | LoadByte | Store | StoreByte | Jump | JumpIf | Syscall


class Encoder(Protocol):
    """One instruction set."""

    elf_machine: int

    def encode(self, operation: Operation, at: int, addresses: Mapping[str, int]) -> bytes:
        """The bytes of `operation` placed at `at`; an address not known yet counts as zero and changes no length."""
        ...


def assemble(program: Sequence[Operation], encoder: Encoder, *, origin: int, known: Mapping[str, int]) -> bytes:
    """The program's bytes as they lie from address `origin`; `known` places the labels outside it.

    Raises ValueError for a label used but not defined, or defined twice.
    """
    addresses = dict(known)
    at = origin
    for operation in program:
        if isinstance(operation, Label):
            if operation.name in addresses:
                raise ValueError(f"label {operation.name} is defined twice")
            addresses[operation.name] = at
        at += len(encoder.encode(operation, at, {}))
    for operation in program:
        for label in _labels_used(operation):
            if label not in addresses:
                raise ValueError(f"label {label} is not defined")
    out = bytearray()
    for operation in program:
        out += encoder.encode(operation, origin + len(out), addresses)
    return bytes(out)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 8)


def _labels_used(operation: Operation) -> list[str]:
    match operation:
        case Jump(label):
            return [label]
        case JumpIf(_, _, right, label):
            return [label, *_label_of(right)]
        case Move(_, value) | Add(_, value):
            return _label_of(value)
        case Syscall(_, _, arguments):
            return [label for value in arguments for label in _label_of(value)]
        case _:
            return []


def _label_of(operand: Operand) -> list[str]:
    return [operand.label] if isinstance(operand, Address) else []
