"""`reconciler trace`: the way from commit to container, stage by stage, with the time of each."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cluster.client.discovery import Discovery
from cluster.client.transport import Transport
from cluster.machinery.objects import namespace_of
from cluster.machinery.timestamps import parse_time
from cluster.resources.builtin import JOBS, PODS, REPLICA_SETS
from reconciler.cli.access import with_transport
from reconciler.cli.columns import table
from reconciler.cli.exit_codes import CommandError, Exit
from reconciler.cli.named import configure_object, listed, object_named, owner_of, root_of
from reconciler.history.trace import Step, cause_of, created_at, newest_below, steps_of
from reconciler.model import Ref, ref_of

CELL_MAX = 160
_CREATED = " created"


@dataclass(frozen=True, slots=True)
class Trace:
    """`ref` is what was asked for."""

    ref: Ref
    steps: Sequence[Step]

    @property
    def is_complete(self) -> bool:
        return not any(step.is_missing for step in self.steps)


def configure(parser: argparse.ArgumentParser) -> None:
    configure_object(parser)


def run(args: argparse.Namespace) -> int:
    async def act(transport: Transport) -> int:
        found = await traced(transport, args.object, args.namespace)
        print(report(found.steps))
        return Exit.OK if found.is_complete else Exit.DIFFERS

    return with_transport(args, act)


async def traced(transport: Transport, words: str, namespace: str) -> Trace:
    """Raises CommandError when there is no such object, or nothing is known of its way."""
    discovery = Discovery(transport)
    await discovery.refresh()
    obj = await object_named(transport, discovery, words, namespace)
    chain = await root_of(transport, discovery, obj)
    root = chain[-1]
    below = [*reversed(chain[:-1])]
    if space := namespace_of(obj):
        made = [each for kind in (REPLICA_SETS, JOBS, PODS) for each in await listed(transport, kind, space)]
        below += newest_below(obj, made)
    owned = await owner_of(transport, ref_of(root))
    cause = cause_of(owned.runs, ref_of(root), created_at(below[0]) if below else "")
    steps = steps_of(root, below, cause)
    if not steps:
        why = "the run that made it is no longer kept" if owned.application is not None else "no application owns it"
        raise CommandError(f"{ref_of(obj)}: nothing is known of its way: {why}")
    return Trace(ref_of(obj), steps)


def report(steps: Sequence[Step]) -> str:
    first = _first(steps)
    rows = [(_shown(step), after(step, first), step.stage, step.what) for step in steps]
    return table(("TIME", "AFTER", "STAGE", "WHAT"), rows, cell_max=CELL_MAX)


def after(step: Step, first: datetime | None) -> str:
    """`+1.2s` since the first stage; never below zero, as most instants are whole seconds cut off."""
    at = instant(step.at)
    if at is None or first is None:
        return ""
    seconds = max((at - first).total_seconds(), 0.0)
    return f"+{seconds:.1f}s" if seconds < 120 else f"+{seconds / 60:.0f}m"


def instant(text: str) -> datetime | None:
    try:
        return parse_time(text)
    except ValueError:
        return None


def _first(steps: Sequence[Step]) -> datetime | None:
    return next((at for step in steps if (at := instant(step.at)) is not None), None)


def _shown(step: Step) -> str:
    if step.is_missing:
        return "not yet"
    at = instant(step.at)
    return at.isoformat(sep=" ", timespec="milliseconds")[:23] if at is not None else "unknown"


def line_of(found: Trace) -> str:
    """All of it in one line."""
    first = _first(found.steps)
    parts = []
    for step in found.steps:
        if step.is_missing:
            parts.append(f"not {step.stage}: {step.what}")
            continue
        tells = step.stage in ("committed", "changed") or step.stage.endswith(_CREATED)
        words = (step.stage.removesuffix(_CREATED), step.what if tells else "", after(step, first))
        parts.append(" ".join(word for word in words if word))
    return f"{found.ref}: " + " -> ".join(parts)
