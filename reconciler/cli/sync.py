"""`reconciler sync`: look at the source now, and wait for what comes of it."""

from __future__ import annotations

import argparse
import asyncio
from datetime import UTC, datetime

from cluster.client.transport import Patch, PatchType, Transport
from cluster.machinery.conditions import conditions_of, get_condition
from cluster.machinery.objects import Key, Obj, field_of, key_of
from cluster.machinery.timestamps import format_micro_time
from reconciler.cli.access import application_named, configure_access, reread, with_transport
from reconciler.cli.exit_codes import CommandError, Exit
from reconciler.cli.status import is_ready, report
from reconciler.crds.application import APPLICATIONS
from reconciler.crds.repository import REPOSITORIES
from reconciler.daemon.spec import REQUESTED_ANNOTATION, application_spec

POLL_S = 0.25


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("application")
    parser.add_argument("--no-wait", action="store_true", help="ask and return at once")
    parser.add_argument(
        "--timeout", type=float, default=300.0, metavar="SECONDS", help="how long to wait (default: 300)"
    )
    configure_access(parser)


def run(args: argparse.Namespace) -> int:
    async def act(transport: Transport) -> int:
        application = await application_named(transport, args.application, args.namespace)
        requested = await request(transport, application)
        if args.no_wait:
            return Exit.OK
        try:
            async with asyncio.timeout(args.timeout):
                while not is_settled(application, requested):
                    await asyncio.sleep(POLL_S)
                    application = await reread(transport, application)
        except TimeoutError:
            print(report([application], datetime.now(UTC)))
            raise CommandError(f"not finished after {args.timeout:g} s") from None
        print(report([application], datetime.now(UTC)))
        return Exit.OK if is_ready(application) else Exit.DIFFERS

    return with_transport(args, act)


async def request(transport: Transport, application: Obj) -> str:
    """Ask for a look at the repository and then the application; return the request's value."""
    value = format_micro_time(datetime.now(UTC))
    patch = Patch(PatchType.MERGE, {"metadata": {"annotations": {REQUESTED_ANNOTATION: value}}})
    key = key_of(application)
    repository = Key(key.namespace, str(field_of(application, "spec", "repositoryRef", "name", default="")))
    await transport.patch(REPOSITORIES, repository, patch)
    await transport.patch(APPLICATIONS, key, patch)
    return value


def is_settled(application: Obj, requested: str) -> bool:
    """The request was acted on and nothing more is about to happen by itself."""
    if field_of(application, "status", "lastHandledRequest") != requested:
        return application_spec(application).is_suspended(datetime.now(UTC))
    reconciling = get_condition(conditions_of(application), "Reconciling") or {}
    return reconciling.get("status") != "True"
