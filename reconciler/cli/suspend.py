"""`reconciler suspend`: leave an application alone until it is resumed, or for a while; who and why stay on record."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from typing import Any

from cluster.client.transport import Patch, PatchType, Transport
from cluster.machinery.errors import ApiError
from cluster.machinery.objects import field_of, key_of
from cluster.machinery.timestamps import format_time
from cluster.resources.builtin import SELF_SUBJECT_REVIEWS
from reconciler.cli.access import application_named, configure_access, with_transport
from reconciler.cli.exit_codes import CommandError, Exit
from reconciler.crds.application import APPLICATIONS
from reconciler.daemon.spec import seconds_of, suspension_of
from reconciler.errors import StageError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("application")
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, for the others")
    parser.add_argument(
        "--for", dest="duration", default="", metavar="DURATION", help="go on by itself after 30m, 2h, ..."
    )
    configure_access(parser)


def run(args: argparse.Namespace) -> int:
    try:
        seconds = seconds_of(args.duration) if args.duration else 0.0
    except StageError as error:
        raise CommandError(error.message, code=Exit.USAGE) from error

    async def act(transport: Transport) -> int:
        until = format_time(datetime.now(UTC) + timedelta(seconds=seconds)) if seconds else None
        suspension = {"by": await _who(transport) or None, "reason": args.reason or None, "until": until}
        return await set_suspended(transport, args, {"suspend": True, "suspension": suspension})

    return with_transport(args, act)


async def set_suspended(transport: Transport, args: argparse.Namespace, spec: dict[str, Any]) -> int:
    application = await application_named(transport, args.application, args.namespace)
    changed = await transport.patch(APPLICATIONS, key_of(application), Patch(PatchType.MERGE, {"spec": spec}))
    print(f"{key_of(application)} {suspension_of(changed) if spec['suspend'] else 'resumed'}")
    return Exit.OK


async def _who(transport: Transport) -> str:
    """The name the server knows the person by; empty on a server too old to say."""
    body = {"apiVersion": SELF_SUBJECT_REVIEWS.api_version, "kind": SELF_SUBJECT_REVIEWS.kind, "metadata": {}}
    try:
        review = await transport.create(SELF_SUBJECT_REVIEWS, body)
    except ApiError:
        return ""
    return str(field_of(review, "status", "userInfo", "username", default=""))
