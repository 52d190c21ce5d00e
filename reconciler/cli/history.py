"""`reconciler history`: what each run changed, and which commit asked for it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from cluster.client.transport import Query, Transport, list_all
from cluster.machinery.objects import Obj, field_of, key_of, name_of
from cluster.machinery.timestamps import age_of
from reconciler.cli.access import application_named, configure_access, with_transport
from reconciler.cli.columns import clean, table
from reconciler.cli.exit_codes import CommandError, Exit
from reconciler.cli.status import short
from reconciler.crds.run import RUNS
from reconciler.history.runs import newest_first, runs_of


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("application", nargs="?", default="", help="whose runs (default: everybody's)")
    parser.add_argument("run", nargs="?", default="", help="one run in full (`latest` is the newest)")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    configure_access(parser)


def run(args: argparse.Namespace) -> int:
    async def act(transport: Transport) -> int:
        if args.application:
            key = key_of(await application_named(transport, args.application, args.namespace))
            listing = await list_all(transport, RUNS, Query(namespace=key.namespace))
            runs = newest_first(runs_of(listing.items, key))
        else:
            runs = newest_first((await list_all(transport, RUNS, Query(namespace=args.namespace or ""))).items)
        if args.run:
            runs = runs[:1] if args.run == "latest" else [each for each in runs if name_of(each) == args.run]
            if not runs:
                raise CommandError(f"application {args.application} has no run {args.run}")
        if args.output == "json":
            import orjson

            sys.stdout.write(orjson.dumps(list(runs), option=orjson.OPT_INDENT_2).decode() + "\n")
        elif args.run:
            print(details(runs[0]))
        else:
            print(report(runs, datetime.now(UTC)))
        return Exit.OK

    return with_transport(args, act)


def report(runs: Sequence[Obj], now: datetime) -> str:
    if not runs:
        return "There are no runs yet."
    header = ("RUN", "REVISION", "AUTHOR", "SUBJECT", "OUTCOME", "CHANGES", "WHEN")
    return table(header, [_row(each, now) for each in runs])


def _row(each: Obj, now: datetime) -> Sequence[str]:
    spec: Obj = each["spec"]
    counts: Obj = spec.get("counts") or {}
    signs = (("created", "+"), ("updated", "~"), ("pruned", "-"), ("failed", "!"), ("refused", "!"))
    changes = " ".join(f"{sign}{counts[name]}" for name, sign in signs if counts.get(name))
    return (
        name_of(each),
        short(str(spec.get("revision", ""))),
        str(spec.get("author", "")).partition(" <")[0],
        str(spec.get("subject", "")),
        str(spec.get("outcome", "")),
        changes or "none",
        f"{age_of(str(spec.get('finishedAt', '')), now)} ago",
    )


def details(each: Obj) -> str:
    """Everything a run recorded, for people."""
    spec: Obj = each["spec"]
    lines = [
        f"Run:       {name_of(each)}",
        f"Revision:  {spec.get('revision', '')}",
        f"Author:    {clean(str(spec.get('author', '')))}",
        f"Subject:   {clean(str(spec.get('subject', '')))}",
        f"Trigger:   {spec.get('trigger', '')}",
        f"Outcome:   {spec.get('outcome', '')} after {spec.get('durationMs', 0)} ms, {spec.get('finishedAt', '')}",
    ]
    if message := spec.get("message"):
        lines.append(f"Message:   {clean(str(message))}")
    actions: Sequence[Obj] = field_of(each, "spec", "actions", default=())
    if actions:
        rows = [[str(row.get(name, "")) for name in ("action", "object", "reason", "origin")] for row in actions]
        lines += ["", table(("ACTION", "OBJECT", "REASON", "FROM"), rows)]
    if omitted := spec.get("actionsOmitted"):
        lines.append(f"and {omitted} more")
    errors: Sequence[str] = spec.get("errors") or ()
    if errors:
        lines += ["", "Errors:", *(f"  {clean(error)}" for error in errors)]
    return "\n".join(lines)
