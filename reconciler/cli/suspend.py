"""`reconciler suspend`: leave an application's objects alone until it is resumed."""

from __future__ import annotations

import argparse

from cluster.client.transport import Patch, PatchType, Transport
from cluster.machinery.objects import key_of
from reconciler.cli.access import application_named, configure_access, with_transport
from reconciler.cli.exit_codes import Exit
from reconciler.crds.application import APPLICATIONS


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("application")
    configure_access(parser)


def run(args: argparse.Namespace) -> int:
    return set_suspended(args, suspended=True)


def set_suspended(args: argparse.Namespace, *, suspended: bool) -> int:
    async def act(transport: Transport) -> int:
        application = await application_named(transport, args.application, args.namespace)
        patch = Patch(PatchType.MERGE, {"spec": {"suspend": suspended}})
        await transport.patch(APPLICATIONS, key_of(application), patch)
        print(f"{key_of(application)} {'suspended' if suspended else 'resumed'}")
        return Exit.OK

    return with_transport(args, act)
