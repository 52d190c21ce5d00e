"""Short-lived host programs (nft, iptables, conntrack): a fixed environment, input on stdin, bounded time and output."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

SEARCH_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
TIMEOUT_S = 60.0
MESSAGE_MAX = 2_000


class CommandFailed(Exception):
    """The program is missing, ended with `code` (nonzero) or took too long; the message has the end of what it said."""

    def __init__(self, program: str, code: int, message: str) -> None:
        super().__init__(f"{program}: {message[-MESSAGE_MAX:].strip() or f'exit code {code}'}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Commands:
    """Runs programs on this host.  `prefix` is put before each command (`nsenter --net=…` for another namespace)."""

    prefix: tuple[str, ...] = ()

    def has(self, program: str) -> bool:
        return shutil.which(program, path=SEARCH_PATH) is not None

    async def run(self, *command: str, stdin: bytes = b"") -> bytes:
        """What the program wrote to stdout.  Raises CommandFailed.  Nothing from outside belongs into `command`."""
        program = shutil.which(command[0], path=SEARCH_PATH)
        if program is None:
            raise CommandFailed(command[0], 127, "is not installed")
        child = await asyncio.create_subprocess_exec(
            *self.prefix,
            program,
            *command[1:],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": SEARCH_PATH, "LC_ALL": "C"},
            cwd=os.sep,
        )
        try:
            async with asyncio.timeout(TIMEOUT_S):
                stdout, stderr = await child.communicate(stdin)
        except TimeoutError:
            raise CommandFailed(command[0], -1, f"took more than {TIMEOUT_S:g} s") from None
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        if child.returncode != 0:
            raise CommandFailed(command[0], child.returncode or 1, stderr.decode(errors="replace"))
        return stdout


def is_missing(error: CommandFailed) -> bool:
    """The program, or the thing it was asked about, is not there."""
    text = str(error)
    return error.code == 127 or "No such file or directory" in text or "No chain/target/match" in text


def lines_of(output: bytes) -> Sequence[str]:
    return output.decode(errors="replace").splitlines()
