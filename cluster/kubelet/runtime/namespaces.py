"""Entering another process's namespaces for the length of a few system calls.

Synchronous on purpose: nothing else runs on this thread until it is back, so no other code ever sees the foreign
namespace.  Coming back cannot fail for lack of a name, as the way back is held open before leaving.  Needs CAP_SYS_ADMIN.
Source: setns(2), namespaces(7).
"""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path


class Namespace(Enum):
    """The file under /proc/PID/ns and its CLONE_NEW flag."""

    UTS = ("uts", 0x04000000)
    NETWORK = ("net", 0x40000000)


@contextmanager
def inside(namespace: Namespace, pid: int) -> Iterator[None]:
    """Run the body, which must not await, in a namespace of process `pid`.  Raises OSError."""
    name, flag = namespace.value
    back = os.open(f"/proc/thread-self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(there, flag)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _setns(back, flag)
    finally:
        os.close(back)


def set_hostname(pid: int, name: str) -> None:
    """Name the host as process `pid` sees it.  Raises OSError, PermissionError if that is our own host."""
    if Path(f"/proc/{pid}/ns/uts").samefile("/proc/thread-self/ns/uts"):
        raise PermissionError(f"process {pid} shares the host's own name")
    with inside(Namespace.UTS, pid):
        socket.sethostname(name)


def hostname_of(pid: int) -> str:
    """The host's name as process `pid` sees it.  Raises OSError."""
    with inside(Namespace.UTS, pid):
        return socket.gethostname()


def _setns(descriptor: int, flag: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, flag) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")
