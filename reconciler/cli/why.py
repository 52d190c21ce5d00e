"""`reconciler why`: in one line, which commit an object or a container comes from and how it got there."""

from __future__ import annotations

import argparse

from cluster.client.transport import Transport
from reconciler.cli.access import with_transport
from reconciler.cli.columns import clean
from reconciler.cli.exit_codes import Exit
from reconciler.cli.named import configure_object
from reconciler.cli.trace import line_of, traced


def configure(parser: argparse.ArgumentParser) -> None:
    configure_object(parser)


def run(args: argparse.Namespace) -> int:
    async def act(transport: Transport) -> int:
        found = await traced(transport, args.object, args.namespace)
        print(clean(line_of(found)))
        return Exit.OK if found.is_complete else Exit.DIFFERS

    return with_transport(args, act)
