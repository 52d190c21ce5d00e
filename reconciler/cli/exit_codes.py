"""What the commands' exit codes mean, and the error that carries one."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    OK = 0
    DIFFERS = 1  # a difference was found, or something is not ready
    USAGE = 2
    FAILED = 3
    NO_RUNTIME = 4  # containers cannot run here


class CommandError(Exception):
    """A failure to tell the user: what is wrong, and what to do next."""

    def __init__(self, message: str, *, hint: str = "", code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code


class Unreachable(CommandError):
    """The cluster could not be asked at all: no kubeconfig names it, or nothing answers there."""
