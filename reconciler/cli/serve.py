"""`reconciler serve`: the daemon in the foreground, as `up` and the service start it.

Builds the cluster's roles and the GitOps daemon in one process, says it is ready in the state directory, and runs until
SIGTERM or SIGINT.  Stopping leaves the containers running.  With --kubeconfig only the GitOps daemon runs, against that
cluster.
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
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.exit_codes import CommandError, Exit
from reconciler.cli.process import RUN_FILE

FOREIGN = "foreign"
"""What stands for the runtime where somebody else's cluster runs the containers."""

if TYPE_CHECKING:
    from cluster.config import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state", type=Path, default=Path(".reconciler"), help="where state is kept (default: %(default)s)"
    )
    parser.add_argument("--source", default="", help="a Git URL, a local repository or a folder to deploy")
    parser.add_argument("--path", default="", help="the folder inside the source (default: all of it)")
    parser.add_argument("--ref", default="", help="a branch or a full commit id (default: the source's HEAD)")
    parser.add_argument("--runtime", choices=("docker", "simulated"), default="docker", help="what runs containers")
    parser.add_argument("--port", type=int, default=0, help="the API's port (default: 6443, or a free one)")
    parser.add_argument(
        "--kubeconfig", type=Path, help="serve the cluster this names instead of building one: any Kubernetes API"
    )
    parser.add_argument("--context", default="", help="a context of the kubeconfig")
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))


def run(args: argparse.Namespace) -> int:
    from cluster.base.log import configure as configure_log

    configure_log(level=args.log_level)
    if args.context and not args.kubeconfig:
        raise CommandError("--context needs --kubeconfig", code=Exit.USAGE)
    state_dir: Path = args.state.resolve()
    state_dir.mkdir(parents=True, exist_ok=True)
    with _only_one(state_dir):
        return asyncio.run(_serve_foreign(args, state_dir) if args.kubeconfig else _serve(args, state_dir))


async def _serve_foreign(args: argparse.Namespace, state_dir: Path) -> int:
    from loguru import logger

    from cluster.base.clock import SystemClock
    from cluster.base.entropy import SystemEntropy
    from cluster.base.sd_notify import service_manager
    from cluster.base.tasks import Supervisor
    from cluster.client.kubeconfig import KubeconfigError, load_kubeconfig
    from cluster.config import SETTINGS_FILE
    from reconciler.cli.bootstrap import bootstrap_of, gitops_settings
    from reconciler.cli.foreign import ForeignGitops, holder_of

    if args.port:
        raise CommandError("--port is of the cluster that is built here, --kubeconfig builds none", code=Exit.USAGE)
    if (state_dir / SETTINGS_FILE).exists():
        raise CommandError(
            f"{state_dir} belongs to a cluster that was built here", hint="name another with --state", code=Exit.USAGE
        )
    try:
        access = load_kubeconfig(args.kubeconfig, context=args.context)
    except KubeconfigError as error:
        raise CommandError(str(error), code=Exit.USAGE) from error
    bootstrap = bootstrap_of(args.source, directory=args.path, branch=args.ref) if args.source else None
    clock, entropy = SystemClock(), SystemEntropy()
    gitops = ForeignGitops(
        access,
        gitops_settings(state_dir, bootstrap),
        holder=holder_of(state_dir, entropy),
        clock=clock,
        entropy=entropy,
    )
    stopping = _stop_signal()
    run_file = state_dir / RUN_FILE
    try:
        async with service_manager(clock, os.environ) as manager, Supervisor(clock) as supervisor:
            supervisor.start("foreign-gitops", gitops.run)
            _say_ready(run_file, FOREIGN, args.kubeconfig.resolve(), args.source)
            manager.ready(f"serving {access.host}:{access.port}")
            logger.info("ready", pid=os.getpid(), server=f"{access.host}:{access.port}", state=str(state_dir))
            await stopping.wait()
            manager.stopping()
            logger.info("stopping; what was applied stays")
    finally:
        run_file.unlink(missing_ok=True)
    return Exit.OK


def _stop_signal() -> asyncio.Event:
    """Set when the process is asked to end."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    return stopping


async def _serve(args: argparse.Namespace, state_dir: Path) -> int:
    from loguru import logger

    from cluster.base.collector import spare_what_is_loaded
    from cluster.base.sd_notify import service_manager
    from cluster.compose import Cluster
    from cluster.machine import machine_ports
    from reconciler.cli.bootstrap import bootstrap_of, start_gitops

    settings = await _settings(args, state_dir)
    stopping = _stop_signal()
    ports = machine_ports(settings)
    cluster = Cluster(settings, ports)
    run_file = state_dir / RUN_FILE
    async with service_manager(ports.clock, os.environ) as manager:
        try:
            await cluster.start()
            bootstrap = bootstrap_of(args.source, directory=args.path, branch=args.ref) if args.source else None
            gitops = await start_gitops(cluster.plane, bootstrap, state_dir=state_dir, ports=ports)
            try:
                _give_to_invoker(settings.kubeconfig)
                _say_ready(run_file, settings.runtime, settings.kubeconfig, args.source)
                manager.ready(f"serving port {settings.api_port}, runtime {settings.runtime}")
                logger.info("ready", pid=os.getpid(), runtime=settings.runtime, state=str(state_dir))
                spare_what_is_loaded()
                await stopping.wait()
            finally:
                manager.stopping()
                logger.info("stopping; containers keep running")
                await gitops.stop()
        finally:
            run_file.unlink(missing_ok=True)
            await cluster.stop()
    return Exit.OK


async def _settings(args: argparse.Namespace, state_dir: Path) -> Settings:
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
    from cluster.node_runtime import choose_ranges

    try:
        if (state_dir / SETTINGS_FILE).exists():
            settings = load_settings(state_dir)
        else:
            ranges = {}
            if args.runtime == "docker":
                pods, services = await choose_ranges(DEFAULT_POD_CIDR, DEFAULT_SERVICE_CIDR)
                ranges = {"pod_cidr": pods, "service_cidr": services}
            settings = create_settings(
                state_dir,
                cluster_id=SystemEntropy().suffix(8),
                api_port=args.port or free_port(DEFAULT_API_PORT, host="127.0.0.1"),
                runtime=args.runtime,
                **ranges,
            )
        if args.runtime != settings.runtime:
            raise CommandError(
                f"this state directory belongs to the runtime {settings.runtime!r}",
                hint=f"go on with --runtime {settings.runtime}, or start afresh after `down --purge`",
                code=Exit.USAGE,
            )
        save_settings(settings)
    except SettingsError as error:
        raise CommandError(str(error), code=Exit.USAGE) from error
    return settings


def _say_ready(run_file: Path, runtime: str, kubeconfig: Path, repository: str) -> None:
    from cluster.base.files import write_atomically

    record = {"pid": os.getpid(), "runtime": runtime, "kubeconfig": str(kubeconfig), "repository": repository}
    write_atomically(run_file, json.dumps(record).encode(), mode=0o644)
    print("ready", file=sys.stdout, flush=True)


def _give_to_invoker(path: Path) -> None:
    """Under sudo the kubeconfig belongs to who asked: nobody should need root to use it."""
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if uid.isdigit() and gid.isdigit():
        with contextlib.suppress(OSError):
            os.chown(path, int(uid), int(gid))


@contextlib.contextmanager
def _only_one(state_dir: Path) -> Iterator[None]:
    """One daemon a state directory; the lock goes with the process, however it ends."""
    with (state_dir / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(f"another daemon runs on {state_dir}", hint="stop it with `down`") from None
        yield
