"""`reconciler events`: what Kubernetes reports about an application, its objects, and what controllers made of them."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime

from cluster.client.discovery import Discovery
from cluster.client.transport import Query, Transport, list_all
from cluster.machinery.objects import Obj, field_of, namespace_of, uid_of
from cluster.machinery.timestamps import age_of
from cluster.resources.builtin import EVENTS
from reconciler.cli.access import application_named, configure_access, with_transport
from reconciler.cli.columns import table
from reconciler.cli.exit_codes import CommandError, Exit
from reconciler.cli.tree import branch_of

LINES = 100
CELL_MAX = 200


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("application", help="NAME or NAMESPACE/NAME")
    parser.add_argument("--warnings", action="store_true", help="only what went wrong")
    parser.add_argument("--lines", type=int, default=LINES, help="the newest so many (default: %(default)s)")
    configure_access(parser)


def run(args: argparse.Namespace) -> int:
    if args.lines < 1:
        raise CommandError("--lines must be at least 1", code=Exit.USAGE)

    async def act(transport: Transport) -> int:
        application = await application_named(transport, args.application, args.namespace)
        discovery = Discovery(transport)
        await discovery.refresh()
        branch = await branch_of(transport, discovery, application)
        about = [application, *branch.all()]
        spaces = sorted({namespace_of(obj) or "default" for obj in about})
        found = [
            event for space in spaces for event in (await list_all(transport, EVENTS, Query(namespace=space))).items
        ]
        chosen = events_about(found, {uid_of(obj) for obj in about}, warnings=args.warnings)
        print(report(chosen[-args.lines :], datetime.now(UTC)))
        return Exit.OK

    return with_transport(args, act)


def events_about(events: Iterable[Obj], uids: Collection[str], *, warnings: bool) -> Sequence[Obj]:
    """The newest last."""
    chosen = [
        event
        for event in events
        if field_of(event, "involvedObject", "uid", default="") in uids
        and (not warnings or event.get("type") == "Warning")
    ]
    return sorted(chosen, key=lambda event: (_last_at(event), str(event["metadata"].get("name", ""))))


def _last_at(event: Obj) -> str:
    """Events of events.k8s.io have a series or an eventTime in place of lastTimestamp."""
    series: Obj = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or "")


def report(events: Sequence[Obj], now: datetime) -> str:
    if not events:
        return "There are no events."
    header = ("WHEN", "TYPE", "REASON", "OBJECT", "TIMES", "MESSAGE")
    return table(header, [_row(event, now) for event in events], cell_max=CELL_MAX)


def _row(event: Obj, now: datetime) -> Sequence[str]:
    about: Obj = event.get("involvedObject") or {}
    space = f"{about['namespace']}/" if about.get("namespace") else ""
    times = (event.get("series") or {}).get("count") or event.get("count") or 1
    return (
        f"{age_of(_last_at(event), now)} ago",
        str(event.get("type", "")),
        str(event.get("reason", "")),
        f"{about.get('kind', '')} {space}{about.get('name', '')}",
        str(times),
        str(event.get("message", "")),
    )
