"""`reconciler resume`: reconcile a suspended application again."""

from __future__ import annotations

import argparse

from cluster.client.transport import Transport
from reconciler.cli.access import configure_access, with_transport
from reconciler.cli.suspend import set_suspended


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("application")
    configure_access(parser)


def run(args: argparse.Namespace) -> int:
    async def act(transport: Transport) -> int:
        return await set_suspended(transport, args, {"suspend": False, "suspension": None})

    return with_transport(args, act)
