"""What the processes `serve`, `server` and `agent` share: one of each on a state directory, its settings, its end.

Builds nothing itself: a verb says what runs, here is how it starts and stops.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.cli.exit_codes import CommandError, Exit
from reconciler.cli.process import LOG_FILE, PART, RECORDS_FILE, RUN_FILE

if TYPE_CHECKING:
    from cluster.base.sd_notify import ServiceManager
    from cluster.config import Settings


def configure_process(parser: argparse.ArgumentParser, *, state: str) -> None:
    parser.add_argument("--state", type=Path, default=Path(state), help="where state is kept (default: %(default)s)")
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))


def configure_cluster(parser: argparse.ArgumentParser) -> None:
    """What a process that holds the API and GitOps is told."""
    parser.add_argument("--source", default="", help="a Git URL, a local repository or a folder to deploy")
    parser.add_argument("--path", default="", help="the folder inside the source (default: all of it)")
    parser.add_argument("--ref", default="", help="a branch or a full commit id (default: the source's HEAD)")
    parser.add_argument("--runtime", choices=("docker", "simulated"), default="docker", help="what runs containers")
    parser.add_argument("--port", type=int, default=0, help="the API's port (default: 6443, or a free one)")
    parser.add_argument("--store", default="", help="etcd://HOST:PORT (default: SQLite in the state directory)")


def run_process(args: argparse.Namespace, main: Callable[[argparse.Namespace, Path], Coroutine[Any, Any, int]]) -> int:
    """Run `main(args, state directory)` to its end, alone on the directory."""
    from cluster.base.log import LogFiles
    from cluster.base.log import configure as configure_log

    state_dir: Path = args.state.resolve()
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"cannot make {state_dir}: {error.strerror}", hint="name another with --state") from error
    with _only_one(state_dir):
        files = LogFiles(records=state_dir / RECORDS_FILE, part=PART, output=state_dir / LOG_FILE)
        configure_log(level=args.log_level, files=files)
        try:
            return asyncio.run(main(args, state_dir))
        finally:
            (state_dir / RUN_FILE).unlink(missing_ok=True)


def stop_signal() -> asyncio.Event:
    """Set when the process is asked to end."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    return stopping


async def unless_stopped(work: Awaitable[None], stopping: asyncio.Event) -> bool:
    """Do `work`, which may wait for others as long as it likes; False when the process was asked to end first."""
    working = asyncio.ensure_future(work)
    waiting = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
            return True
        return False
    finally:
        waiting.cancel()
        working.cancel()
        await asyncio.gather(working, waiting, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class Ready:
    """What others are told once the process is ready: a line for the service manager, the rest for the state directory."""

    status: str
    runtime: str
    kubeconfig: Path
    repository: str = ""


@contextlib.contextmanager
def said_ready(state_dir: Path, manager: ServiceManager, ready: Ready) -> Iterator[None]:
    """The state directory, standard output and the service manager say that the process is ready; the last also when it
    begins to stop.  The directory says so until the process has ended: `run_process` takes it back."""
    from cluster.base.files import write_atomically

    record = {
        "pid": os.getpid(),
        "runtime": ready.runtime,
        "kubeconfig": str(ready.kubeconfig),
        "repository": ready.repository,
    }
    write_atomically(state_dir / RUN_FILE, json.dumps(record).encode(), mode=0o644)
    print("ready", file=sys.stdout, flush=True)
    manager.ready(ready.status)
    try:
        yield
    finally:
        manager.stopping()


async def cluster_settings(args: argparse.Namespace, state_dir: Path) -> Settings:
    """The settings of the cluster in `state_dir`, chosen now if it is new.  Raises CommandError."""
    from cluster.base.entropy import SystemEntropy
    from cluster.config import (
        DEFAULT_API_PORT,
        DEFAULT_POD_CIDR,
        DEFAULT_SERVICE_CIDR,
        SETTINGS_FILE,
        SettingsError,
        create_settings,
        free_port,
        load_settings,
        save_settings,
    )

    try:
        if (state_dir / SETTINGS_FILE).exists():
            settings = load_settings(state_dir)
        else:
            ranges = {}
            if args.runtime == "docker":
                from cluster.node_runtime import choose_ranges

                pods, services = await choose_ranges(DEFAULT_POD_CIDR, DEFAULT_SERVICE_CIDR)
                ranges = {"pod_cidr": pods, "service_cidr": services}
            settings = create_settings(
                state_dir,
                cluster_id=SystemEntropy().suffix(8),
                api_port=args.port or free_port(DEFAULT_API_PORT, host="127.0.0.1"),
                runtime=args.runtime,
                store=args.store,
                **ranges,
            )
        if args.runtime != settings.runtime:
            raise CommandError(
                f"this state directory belongs to the runtime {settings.runtime!r}",
                hint=f"go on with --runtime {settings.runtime}, or start afresh after `down --purge`",
                code=Exit.USAGE,
            )
        if args.store and args.store != settings.store:
            raise CommandError(
                f"this state directory belongs to a cluster with the store {settings.store or 'in SQLite'!r}",
                hint="leave --store out, or start afresh with another state directory",
                code=Exit.USAGE,
            )
        save_settings(settings)
    except SettingsError as error:
        raise CommandError(str(error), code=Exit.USAGE) from error
    return settings


@contextlib.contextmanager
def _only_one(state_dir: Path) -> Iterator[None]:
    """One daemon a state directory; the lock goes with the process, however it ends."""
    try:
        lock = (state_dir / "lock").open("w")
    except OSError as error:
        raise CommandError(
            f"cannot write to {state_dir}: {error.strerror}", hint="name another with --state"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(f"another daemon runs on {state_dir}", hint="stop it with `down`") from None
        yield
