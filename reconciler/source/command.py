"""Running git: an argument list, an environment made from nothing, limits on time and output.

No configuration but ours is read from the host; hooks, external transports and prompts are off.  The user's own
environment (tokens, proxies with passwords, GIT_* settings) does not reach git.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from reconciler.errors import Fault, source_error

OUTPUT_MAX_BYTES = 8 * 1024 * 1024
MESSAGE_MAX_CHARS = 600
_TOOK = re.compile(r" after \d+ ms")

_HARDENED = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.askPass=",
    "protocol.ext.allow=never",
    "protocol.file.allow=never",
    "fetch.recurseSubmodules=false",
    "transfer.fsckObjects=true",
    "gc.auto=0",
    "maintenance.auto=false",
    "http.followRedirects=initial",
    "credential.helper=",
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Files, never arguments.  Empty: none.

    `store` is in git's credential store format, `authority` the certificates that https trusts in place of the host's;
    `identity` and `known_hosts` are for ssh.
    """

    store: Path | None = None
    identity: Path | None = None
    known_hosts: Path | None = None
    authority: Path | None = None


CredentialsOf = Callable[[], Awaitable[Credentials]]
"""The credentials as they are at the moment of use.  Raises StageError."""


async def no_credentials() -> Credentials:
    return Credentials()


@dataclass(frozen=True, slots=True)
class Git:
    """The git program with a private configuration directory."""

    program: str
    home: Path

    @classmethod
    def prepare(cls, directory: Path) -> Git:
        """Write the global configuration into `directory` (mode 0700).  Raises StageError when git is not installed."""
        program = shutil.which("git", path=f"{os.environ.get('PATH', '')}:/usr/bin:/usr/local/bin")
        if program is None:
            raise source_error("git is not installed on this host: install the package git", retryable=True)
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Repositories belong to their users, not to this service: the ownership check would refuse every one.  They
        # are only ever read by object id, from directories the operator allows.
        (directory / "gitconfig").write_text("[safe]\n\tdirectory = *\n", encoding="utf-8")
        return cls(program, directory)

    def argv(self, git_dir: Path | None, arguments: Sequence[str], credentials: Credentials) -> list[str]:
        argv = [self.program]
        for setting in _HARDENED:
            argv += ["-c", setting]
        if credentials.store is not None:
            argv += ["-c", f"credential.helper=store --file={shlex.quote(str(credentials.store))}"]
        if credentials.authority is not None:
            argv += ["-c", f"http.sslCAInfo={credentials.authority}"]
        if git_dir is not None:
            argv.append(f"--git-dir={git_dir}")
        return [*argv, *arguments]

    def environment(self, credentials: Credentials, *, network: bool) -> dict[str, str]:
        ssh = ["ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
        ssh += ["-o", "IdentitiesOnly=yes", "-o", "UpdateHostKeys=no"]
        if credentials.known_hosts is not None:
            # A pinned key is the only one that is trusted.
            ssh += ["-o", f"UserKnownHostsFile={credentials.known_hosts}", "-o", "GlobalKnownHostsFile=/dev/null"]
        else:
            ssh += ["-o", "UserKnownHostsFile=/etc/ssh/ssh_known_hosts"]
        # The service user's own keys are not for whoever may create a Repository.
        ssh += ["-o", f"IdentityFile={credentials.identity or 'none'}"]
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.home),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(self.home / "gitconfig"),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_NO_REPLACE_OBJECTS": "1",
            # Reading must never reach for the network, whatever a repository's own configuration promises.
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_ALLOW_PROTOCOL": "https:ssh" if network else "none",
            "GIT_SSH_COMMAND": shlex.join(ssh),
        }

    async def run(
        self,
        *arguments: str,
        git_dir: Path | None = None,
        credentials: Credentials = Credentials(),
        network: bool = False,
        timeout_s: float = 60,
        accept: Sequence[int] = (0,),
        stdin: bytes = b"",
        extra: Mapping[str, str] = MappingProxyType({}),
    ) -> tuple[int, bytes]:
        """The exit code and standard output.  Raises StageError for other codes, too much output and time.

        `stdin` is for commands that read all of it before they answer; `extra` adds to the environment.
        """
        child = await asyncio.create_subprocess_exec(
            *self.argv(git_dir, arguments, credentials),
            env={**self.environment(credentials, network=network), **extra},
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd="/",
            start_new_session=True,
        )
        output_pipe = child.stdout
        error_pipe = child.stderr
        if output_pipe is None or error_pipe is None:
            raise RuntimeError("a child started with pipes has none")
        try:
            async with asyncio.timeout(timeout_s):
                if child.stdin is not None:
                    child.stdin.write(stdin)
                    child.stdin.close()
                output, message = await asyncio.gather(_bounded(output_pipe), _bounded(error_pipe))
                code = await child.wait()
        except TimeoutError as error:
            raise source_error(
                f"git {arguments[0]} took longer than {timeout_s:g} s", fault=Fault.NETWORK, retryable=True
            ) from error
        finally:
            if child.returncode is None:
                child.kill()
                await asyncio.shield(child.wait())
        if code not in accept:
            # The same failure reads the same each time: how long a connection took is not part of it.
            text = _TOOK.sub("", message.decode("utf-8", "replace")).strip()[-MESSAGE_MAX_CHARS:]
            fault = Fault.NETWORK if network else Fault.OPERATOR
            raise source_error(f"git {arguments[0]} failed: {text or f'exit code {code}'}", fault=fault, retryable=True)
        return code, output

    async def commit_of(self, git_dir: Path, name: str) -> str:
        """The commit that a user of the repository means by `name`.  Raises StageError when there is none."""
        arguments = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        code, output = await self.run(*arguments, git_dir=git_dir, accept=(0, 1, 128))
        if code:
            raise source_error(f"the repository has no commit {name!r}", fault=Fault.REPOSITORY)
        return output.decode("ascii", "replace").strip()


async def _bounded(pipe: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := await pipe.read(65536):
        size += len(part)
        if size > OUTPUT_MAX_BYTES:
            raise source_error(f"git answered more than {OUTPUT_MAX_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)
