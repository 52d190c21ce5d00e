"""`reconciler serve`: the daemon in the foreground, as `up` starts it.

Builds the cluster's roles and the GitOps daemon in one process, says it is ready in the state directory, and runs until
SIGTERM or SIGINT.  Stopping leaves the containers running.  With --kubeconfig only the GitOps daemon runs, against that
cluster.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path

from reconciler.cli.exit_codes import CommandError, Exit
from reconciler.cli.start import (
    Ready,
    cluster_settings,
    configure_cluster,
    configure_process,
    run_process,
    said_ready,
    stop_signal,
)

FOREIGN = "foreign"
"""What stands for the runtime where somebody else's cluster runs the containers."""


def configure(parser: argparse.ArgumentParser) -> None:
    configure_process(parser, state=".reconciler")
    configure_cluster(parser)
    parser.add_argument(
        "--kubeconfig", type=Path, help="serve the cluster this names instead of building one: any Kubernetes API"
    )
    parser.add_argument("--context", default="", help="a context of the kubeconfig")


def run(args: argparse.Namespace) -> int:
    if args.context and not args.kubeconfig:
        raise CommandError("--context needs --kubeconfig", code=Exit.USAGE)
    return run_process(args, _serve_foreign if args.kubeconfig else _serve)


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
    stopping = stop_signal()
    ready = Ready(f"serving {access.host}:{access.port}", FOREIGN, args.kubeconfig.resolve(), args.source)
    async with service_manager(clock, os.environ) as manager, Supervisor(clock) as supervisor:
        supervisor.start("foreign-gitops", gitops.run)
        with said_ready(state_dir, manager, ready):
            logger.info("ready", pid=os.getpid(), server=f"{access.host}:{access.port}", state=str(state_dir))
            await stopping.wait()
        logger.info("stopping; what was applied stays")
    return Exit.OK


async def _serve(args: argparse.Namespace, state_dir: Path) -> int:
    from loguru import logger

    from cluster.base.collector import spare_what_is_loaded
    from cluster.base.sd_notify import service_manager
    from cluster.compose import Cluster
    from cluster.machine import machine_ports
    from reconciler.cli.bootstrap import bootstrap_of, start_gitops

    settings = await cluster_settings(args, state_dir)
    stopping = stop_signal()
    ports = machine_ports(settings)
    cluster = Cluster(settings, ports)
    status = f"serving port {settings.api_port}, runtime {settings.runtime}"
    ready = Ready(status, settings.runtime, settings.kubeconfig, args.source)
    async with service_manager(ports.clock, os.environ) as manager:
        try:
            await cluster.start()
            bootstrap = bootstrap_of(args.source, directory=args.path, branch=args.ref) if args.source else None
            gitops = await start_gitops(cluster.plane, bootstrap, state_dir=state_dir, ports=ports)
            try:
                _give_to_invoker(settings.kubeconfig)
                with said_ready(state_dir, manager, ready):
                    logger.info("ready", pid=os.getpid(), runtime=settings.runtime, state=str(state_dir))
                    spare_what_is_loaded()
                    await stopping.wait()
            finally:
                logger.info("stopping; containers keep running")
                await gitops.stop()
        finally:
            await cluster.stop()
    return Exit.OK


def _give_to_invoker(path: Path) -> None:
    """Under sudo the kubeconfig belongs to who asked: nobody should need root to use it."""
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if uid.isdigit() and gid.isdigit():
        with contextlib.suppress(OSError):
            os.chown(path, int(uid), int(gid))
