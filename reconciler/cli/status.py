"""`reconciler status`: what is deployed, from which commit, how healthy; exits 1 when something is not."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from cluster.client.transport import Transport
from cluster.machinery.conditions import conditions_of, get_condition
from cluster.machinery.objects import Obj, field_of, key_of, name_of, namespace_of
from cluster.machinery.timestamps import age_of
from reconciler.cli.access import application_named, applications, configure_access, with_transport
from reconciler.cli.columns import clean, table
from reconciler.cli.exit_codes import Exit

SHORT = 8


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("application", nargs="?", default="", help="one application (default: all)")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    configure_access(parser)


def run(args: argparse.Namespace) -> int:
    async def act(transport: Transport) -> int:
        if args.application:
            found: Sequence[Obj] = [await application_named(transport, args.application, args.namespace)]
        else:
            found = await applications(transport, args.namespace)
        if args.output == "json":
            import orjson

            sys.stdout.write(orjson.dumps(list(found), option=orjson.OPT_INDENT_2).decode() + "\n")
        else:
            print(report(found, datetime.now(UTC)))
        return Exit.OK if all(is_ready(application) for application in found) else Exit.DIFFERS

    return with_transport(args, act)


def is_ready(application: Obj) -> bool:
    ready = get_condition(conditions_of(application), "Ready")
    return ready is not None and ready.get("status") == "True"


def report(found: Sequence[Obj], now: datetime) -> str:
    """The table, and below it what is wrong with each that is not ready."""
    if not found:
        return "There are no applications."
    header = ("NAMESPACE", "NAME", "SYNC", "HEALTH", "REVISION", "AUTHOR", "SUBJECT", "SYNCED")
    text = table(header, [_row(application, now) for application in found])
    remarks = [_remark(application) for application in found if not is_ready(application)]
    return "\n".join([text, *([""] if remarks else []), *remarks])


def _row(application: Obj, now: datetime) -> Sequence[str]:
    status: Obj = application.get("status") or {}
    synced_at = str(status.get("lastSyncedAt", ""))
    return (
        namespace_of(application),
        name_of(application),
        str(status.get("sync", "Unknown")),
        str(status.get("health", "Unknown")),
        short(str(status.get("revision", ""))),
        str(status.get("author", "")).partition(" <")[0],
        str(status.get("subject", "")),
        f"{age_of(synced_at, now)} ago" if synced_at else "never",
    )


def short(revision: str) -> str:
    return revision.removeprefix("sha256:")[:SHORT]


def _remark(application: Obj) -> str:
    ready = get_condition(conditions_of(application), "Ready") or {}
    attempted = short(str(field_of(application, "status", "lastAttempted", default="")))
    at = f" at {attempted}" if attempted else ""
    problems: Sequence[str] = field_of(application, "status", "problems", default=())
    head = f"{key_of(application)}{at}: {ready.get('reason', 'Unknown')}:"
    if not problems:
        return f"{head} {clean(str(ready.get('message') or 'not looked at yet'))}"
    omitted = field_of(application, "status", "problemsOmitted", default=0)
    more = [f"  and {omitted} more: `reconciler history {name_of(application)} latest`"] if omitted else []
    return "\n".join([head, *(f"  {clean(str(problem))}" for problem in problems), *more])
