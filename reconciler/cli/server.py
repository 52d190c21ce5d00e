"""`reconciler server`: the API, its store, controllers, scheduler and GitOps as one process that needs no root and no engine.

It leaves in its state directory what an agent on the same host needs to become its node, and runs until SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from reconciler.cli.exit_codes import Exit
from reconciler.cli.start import (
    Ready,
    cluster_settings,
    configure_cluster,
    configure_process,
    run_process,
    said_ready,
    stop_signal,
)


def configure(parser: argparse.ArgumentParser) -> None:
    configure_process(parser, state="/var/lib/reconciler")
    configure_cluster(parser)


def run(args: argparse.Namespace) -> int:
    return run_process(args, _serve)


async def _serve(args: argparse.Namespace, state_dir: Path) -> int:
    from loguru import logger

    from cluster.base.collector import spare_what_is_loaded
    from cluster.base.sd_notify import service_manager
    from cluster.control_plane import ControlPlane
    from cluster.machine import hand_over, machine_ports
    from reconciler.cli.bootstrap import bootstrap_of, start_gitops

    settings = await cluster_settings(args, state_dir)
    stopping = stop_signal()
    ports = machine_ports(settings)
    plane = ControlPlane(settings, ports)
    ready = Ready(f"serving port {settings.api_port}", settings.runtime, settings.kubeconfig, args.source)
    async with service_manager(ports.clock, os.environ) as manager:
        try:
            await plane.start()
            hand_over(settings, ports.clock)
            bootstrap = bootstrap_of(args.source, directory=args.path, branch=args.ref) if args.source else None
            gitops = await start_gitops(plane, bootstrap, state_dir=state_dir, ports=ports)
            try:
                with said_ready(state_dir, manager, ready):
                    logger.info("ready", pid=os.getpid(), runtime=settings.runtime, state=str(state_dir))
                    spare_what_is_loaded()
                    await stopping.wait()
            finally:
                logger.info("stopping; nodes go on with what they know")
                await gitops.stop()
        finally:
            await plane.stop()
    return Exit.OK
