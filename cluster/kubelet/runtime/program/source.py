"""The sandbox program itself.

`PROGRAM` without arguments is **pause**: block every signal, take them one by one; reap children on SIGCHLD, end with 0
on SIGTERM or SIGINT.  As first process of a shared PID namespace it inherits the orphans of the pod's containers.

`PROGRAM HOSTNAME COMMAND [ARGUMENT...]` is **start**: wait until the kernel's host name is HOSTNAME, then become COMMAND,
looked up in PATH as a shell does.  The agent names the UTS namespace once the container runs; a container cannot do so
itself (CAP_SYS_ADMIN).  It waits without limit: an agent that restarts names its containers again.  If COMMAND cannot
be run it says so on standard error and ends with 127 (not found) or 126 (found, not executable).
"""

from __future__ import annotations

from collections.abc import Sequence

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
    Operation,
    Reg,
    StackPointer,
    Store,
    StoreByte,
    Syscall,
)

MEMORY = "memory"
MEMORY_BYTES = 0x60000
"""Room for a PATH entry and a command name at their longest (MAX_ARG_STRLEN, 128 KiB each), after the small areas."""
_SIGNALS = 0  # offsets in MEMORY: a signal set, a timespec, struct utsname, a file name
_DELAY = 16
_UTSNAME = 64
_NODENAME = _UTSNAME + 65
_FILE = 1024

_SIG_BLOCK, _SIGINT, _SIGTERM, _SIGCHLD, _WNOHANG = 0, 2, 15, 17, 1
_ENOENT, _EACCES, _ENOTDIR = -2, -13, -20
_FIRST_DELAY_NS, _LAST_DELAY_NS = 250_000, 50_000_000
_STANDARD_ERROR = 2

A, B, C, D, E, F, G = Reg  # A: the stack; G: the exit code; the others serve where they are used


def program() -> Sequence[Operation]:
    """All operations; execution begins with the first."""
    return [*_ENTRY, *_PAUSE, *_WAIT_FOR_NAME, *_FIND_COMMAND, *_GIVE_UP, *_CONSTANTS]


_ENTRY: list[Operation] = [
    StackPointer(A),
    Load(B, A),
    JumpIf(B, If.LESS, 2, "pause"),
    JumpIf(B, If.LESS, 3, "usage"),
    Jump("start"),
    Label("usage"),
    Move(G, 2),
    Jump("exit"),
]

_PAUSE: list[Operation] = [
    Label("pause"),
    Move(C, Address(MEMORY)),
    Move(D, -1),
    Store(C, D, _SIGNALS),
    Syscall(E, "rt_sigprocmask", (_SIG_BLOCK, C, 0, 8)),
    Label("next signal"),
    Syscall(E, "rt_sigtimedwait", (C, 0, 0, 8)),
    JumpIf(E, If.EQUAL, _SIGCHLD, "reap"),
    Move(G, 0),
    JumpIf(E, If.EQUAL, _SIGTERM, "exit"),
    JumpIf(E, If.EQUAL, _SIGINT, "exit"),
    Jump("next signal"),
    Label("reap"),
    Syscall(E, "wait4", (-1, 0, _WNOHANG, 0)),
    JumpIf(E, If.LESS, 1, "next signal"),
    Jump("reap"),
]

_WAIT_FOR_NAME: list[Operation] = [
    Label("start"),
    Move(C, Address(MEMORY)),
    Move(D, _FIRST_DELAY_NS),
    Store(C, D, _DELAY + 8),
    Label("look"),
    Move(C, Address(MEMORY)),
    Add(C, _UTSNAME),
    Syscall(E, "uname", (C,)),
    Add(C, _NODENAME - _UTSNAME),
    Load(B, A, 16),  # argv[1], the awaited name
    Label("compare"),
    LoadByte(D, B),
    LoadByte(E, C),
    JumpIf(D, If.NOT_EQUAL, E, "sleep"),
    JumpIf(D, If.EQUAL, 0, "run"),
    Add(B, 1),
    Add(C, 1),
    Jump("compare"),
    Label("sleep"),
    Move(C, Address(MEMORY)),
    Move(B, C),
    Add(B, _DELAY),
    Syscall(E, "nanosleep", (B, 0)),
    Load(D, C, _DELAY + 8),
    JumpIf(D, If.LESS, _LAST_DELAY_NS, "longer"),
    Jump("look"),
    Label("longer"),  # most names are set within milliseconds; a dead agent is waited for cheaply
    Add(D, D),
    Store(C, D, _DELAY + 8),
    Jump("look"),
]

_FIND_COMMAND: list[Operation] = [
    Label("run"),
    Load(B, A),  # envp = stack + 8 * (argc + 2)
    Add(B, B),
    Add(B, B),
    Add(B, B),
    Add(B, A),
    Add(B, 16),
    Move(G, 127),
    Load(C, A, 24),  # argv[2], the command
    LoadByte(D, C),
    JumpIf(D, If.EQUAL, 0, "failed"),
    Label("is it a path"),
    LoadByte(D, C),
    JumpIf(D, If.EQUAL, ord("/"), "run the path"),
    Add(C, 1),
    JumpIf(D, If.NOT_EQUAL, 0, "is it a path"),
    Move(D, B),
    Label("next variable"),
    Load(C, D),
    Add(D, 8),
    JumpIf(C, If.EQUAL, 0, "no path variable"),
    *(
        operation
        for offset, letter in enumerate(b"PATH=")
        for operation in (LoadByte(E, C, offset), JumpIf(E, If.NOT_EQUAL, letter, "next variable"))
    ),
    Add(C, len(b"PATH=")),
    Jump("search"),
    Label("no path variable"),
    Move(C, Address("default path")),
    Label("search"),  # C: what is left of PATH
    Move(D, Address(MEMORY)),
    Add(D, _FILE),
    LoadByte(E, C),
    JumpIf(E, If.EQUAL, 0, "failed"),
    JumpIf(E, If.EQUAL, ord(":"), "skip colon"),  # an empty entry would be the working directory: not searched
    Label("copy directory"),
    LoadByte(E, C),
    JumpIf(E, If.EQUAL, 0, "copy name"),
    JumpIf(E, If.EQUAL, ord(":"), "copy name"),
    StoreByte(D, E),
    Add(C, 1),
    Add(D, 1),
    Jump("copy directory"),
    Label("copy name"),
    Move(E, ord("/")),
    StoreByte(D, E),
    Add(D, 1),
    Load(F, A, 24),
    Label("copy letter"),
    LoadByte(E, F),
    StoreByte(D, E),
    Add(F, 1),
    Add(D, 1),
    JumpIf(E, If.NOT_EQUAL, 0, "copy letter"),
    Move(D, Address(MEMORY)),
    Add(D, _FILE),
    Move(F, A),
    Add(F, 24),
    Syscall(E, "execve", (D, F, B)),
    JumpIf(E, If.EQUAL, _ENOENT, "next directory"),
    JumpIf(E, If.EQUAL, _ENOTDIR, "next directory"),
    Move(G, 126),
    JumpIf(E, If.NOT_EQUAL, _EACCES, "failed"),
    Label("next directory"),
    LoadByte(E, C),
    JumpIf(E, If.EQUAL, 0, "failed"),
    Label("skip colon"),
    Add(C, 1),
    Jump("search"),
    Label("run the path"),
    Load(C, A, 24),
    Move(F, A),
    Add(F, 24),
    Syscall(E, "execve", (C, F, B)),
    JumpIf(E, If.EQUAL, _ENOENT, "failed"),
    JumpIf(E, If.EQUAL, _ENOTDIR, "failed"),
    Move(G, 126),
    Jump("failed"),
]

_CANNOT = b"exec: cannot run "
_NOT_FOUND = b": executable file not found\n"
_NOT_EXECUTABLE = b": permission denied or not an executable\n"

_GIVE_UP: list[Operation] = [
    Label("failed"),
    Syscall(E, "write", (_STANDARD_ERROR, Address("cannot"), len(_CANNOT))),
    Load(C, A, 24),
    Label("write letter"),
    LoadByte(D, C),
    JumpIf(D, If.EQUAL, 0, "reason"),
    Syscall(E, "write", (_STANDARD_ERROR, C, 1)),
    Add(C, 1),
    Jump("write letter"),
    Label("reason"),
    JumpIf(G, If.EQUAL, 126, "not executable"),
    Syscall(E, "write", (_STANDARD_ERROR, Address("not found text"), len(_NOT_FOUND))),
    Jump("exit"),
    Label("not executable"),
    Syscall(E, "write", (_STANDARD_ERROR, Address("not executable text"), len(_NOT_EXECUTABLE))),
    Label("exit"),
    Syscall(E, "exit", (G,)),
]

_CONSTANTS: list[Operation] = [
    Label("cannot"),
    Data(_CANNOT),
    Label("not found text"),
    Data(_NOT_FOUND),
    Label("not executable text"),
    Data(_NOT_EXECUTABLE),
    Label("default path"),
    Data(b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\0"),
]
