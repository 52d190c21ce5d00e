"""`reconciler agent`: this host as a node of a server in another process: kubelet, network, Service rules and DNS.

Its name is the one in its certificate.  What it knows it keeps in its state directory, so that it goes on, and even starts,
while the server is away.  Runs until SIGTERM or SIGINT; containers and rules stay.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.exit_codes import CommandError, Exit
from reconciler.cli.start import Ready, configure_process, run_process, said_ready, stop_signal, unless_stopped

if TYPE_CHECKING:
    from cluster.client.kubeconfig import ClusterAccess
    from cluster.client.rest import HttpTransport
    from cluster.config import Settings

LOOK_S = 1.0
"""Between two looks for a kubeconfig or a server that is not there yet."""
ANSWER_TIMEOUT_S = 5.0
NODE_PREFIX = "system:node:"


def configure(parser: argparse.ArgumentParser) -> None:
    configure_process(parser, state="/var/lib/reconciler-agent")
    parser.add_argument(
        "--kubeconfig",
        type=Path,
        default=Path("/var/lib/reconciler/agent/kubeconfig"),
        help="how to reach the server, with the node's certificate (default: %(default)s)",
    )
    parser.add_argument("--runtime", choices=("docker", "simulated"), default="docker", help="what runs containers")


def run(args: argparse.Namespace) -> int:
    return run_process(args, _serve)


async def _serve(args: argparse.Namespace, state_dir: Path) -> int:
    from loguru import logger

    from cluster.base.clock import SystemClock
    from cluster.base.collector import spare_what_is_loaded
    from cluster.base.sd_notify import service_manager
    from cluster.client.rest import HttpTransport
    from cluster.joined_agent import JoinedAgent
    from cluster.machine import machine_ports

    stopping = stop_signal()
    joining: asyncio.Future[JoinedAgent] = asyncio.get_running_loop().create_future()
    opened: list[HttpTransport] = []

    async def join() -> None:
        access = await _access(args.kubeconfig)
        transport = HttpTransport(access, user_agent="reconciler-agent")
        opened.append(transport)
        settings = await _settings(state_dir, transport, node_name=_node_name(access), runtime=args.runtime)
        agent = JoinedAgent(settings, machine_ports(settings), transport=transport, kubeconfig=args.kubeconfig)
        joining.set_result(agent)
        await agent.start()

    async with service_manager(SystemClock(), os.environ) as manager:
        try:
            if await unless_stopped(join(), stopping):
                ready = Ready(f"node {joining.result().node_name}", args.runtime, args.kubeconfig.resolve())
                with said_ready(state_dir, manager, ready):
                    logger.info("ready", pid=os.getpid(), runtime=args.runtime, state=str(state_dir))
                    spare_what_is_loaded()
                    await stopping.wait()
            logger.info("stopping; containers keep running")
        finally:
            if joining.done():
                await joining.result().stop()
            for transport in opened:
                await transport.close()
    return Exit.OK


async def _access(kubeconfig: Path) -> ClusterAccess:
    """What the file gives, once it is there: a server on this host may still be making it.  Raises CommandError."""
    from loguru import logger

    from cluster.client.kubeconfig import KubeconfigError, load_kubeconfig

    if not kubeconfig.exists():
        logger.info("waiting for the server to hand over a kubeconfig", path=str(kubeconfig))
    try:
        while True:
            if kubeconfig.exists():
                return load_kubeconfig(kubeconfig)
            await asyncio.sleep(LOOK_S)
    except KubeconfigError as error:
        raise CommandError(str(error), code=Exit.USAGE) from error


def _node_name(access: ClusterAccess) -> str:
    """Whose certificate it is.  Raises CommandError."""
    from cluster.base.pki import user_of

    user = user_of(access.certificate) if access.certificate else ""
    if not user.startswith(NODE_PREFIX):
        raise CommandError("the kubeconfig has no certificate of a node", hint="name the one the server handed over")
    return user.removeprefix(NODE_PREFIX)


async def _settings(state_dir: Path, transport: HttpTransport, *, node_name: str, runtime: str) -> Settings:
    """What the server says; what it last said, when it does not answer.  Raises CommandError."""
    from loguru import logger

    from cluster.client.node_settings import fetch_node_settings
    from cluster.config import SETTINGS_FILE, SettingsError, joined_settings, load_settings
    from cluster.machinery.errors import ApiError

    try:
        while True:
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    shared = await fetch_node_settings(transport)
                return joined_settings(state_dir, shared, node_name=node_name, runtime=runtime)
            except (ApiError, TimeoutError) as error:
                logger.warning("the server does not answer yet", reason=str(error) or "it took too long")
            if (state_dir / SETTINGS_FILE).exists():
                return load_settings(state_dir)
            await asyncio.sleep(LOOK_S)
    except SettingsError as error:
        raise CommandError(str(error), code=Exit.USAGE) from error
