"""`reconciler blame`: who each field of a live object comes from: a commit with author and line, a controller, a person.

Values are never shown.  Managers are as the server recorded them: any client may call itself anything.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cluster.client.discovery import Discovery
from cluster.client.transport import Transport
from cluster.machinery.errors import ApiError
from cluster.machinery.objects import Key, Obj, field_of, namespace_of
from cluster.machinery.timestamps import age_of
from reconciler.cli.access import with_transport
from reconciler.cli.columns import clean, table
from reconciler.cli.declared import Declaration, declaration_of, place_of
from reconciler.cli.exit_codes import CommandError, Exit
from reconciler.cli.named import Owned, configure_object, object_named, owner_of
from reconciler.cli.status import short
from reconciler.crds.repository import REPOSITORIES
from reconciler.errors import StageError
from reconciler.history.fields import LiveField, Owner, live_fields
from reconciler.history.ownership import change_in, changes_of, revision_held
from reconciler.model import Ref, ref_of
from reconciler.projection import FIELD_MANAGER

_PEOPLE = ("kubectl", "k9s", "Lens", "OpenLens", "Headlamp", "Mozilla", "dashboard")
"""How the programs begin that people change objects with."""

PATH_MAX = 500
_NO_CLONE = "commits are those of the object's last run: name a clone with --repository for each field's own"
_CONTROLLERS = ("kube-", "kubelet", "system:", "ancient-changes", "before-first-apply")


def configure(parser: argparse.ArgumentParser) -> None:
    configure_object(parser)
    parser.add_argument("field", nargs="?", default="", help="only this field and what is below it: spec.replicas")
    parser.add_argument("--status", action="store_true", help="also what controllers report in status")
    parser.add_argument(
        "--repository", type=Path, help="a clone of the source (default: where the Repository says, if that is here)"
    )


def run(args: argparse.Namespace) -> int:
    async def act(transport: Transport) -> int:
        discovery = Discovery(transport)
        await discovery.refresh()
        obj = await object_named(transport, discovery, args.object, args.namespace)
        wanted = args.field
        with_status = args.status or wanted.lstrip(".").startswith("status")
        fields = [
            each for each in live_fields(obj) if each.is_at(wanted) and (with_status or each.words[0] != "f:status")
        ]
        if not fields:
            raise CommandError(f"{ref_of(obj)} has no field {wanted}")
        ref = ref_of(obj)
        owned = await owner_of(transport, ref)
        declaration, remark = await _declaration(transport, owned, ref, args.repository)
        print(report(fields, ref, owned.runs, declaration, datetime.now(UTC)))
        if remark:
            print(clean(remark), file=sys.stderr)
        return Exit.OK

    return with_transport(args, act)


class Found(NamedTuple):
    """`remark` says why there is no declaration, when there should be one."""

    declaration: Declaration | None
    remark: str


async def _declaration(transport: Transport, owned: Owned, ref: Ref, given: Path | None) -> Found:
    application = owned.application
    if application is None:
        return Found(None, "no application owns it")
    name = str(field_of(application, "spec", "repositoryRef", "name", default=""))
    revision = revision_held(owned.runs, ref, str(field_of(application, "status", "revision", default="")))
    try:
        place = place_of(await transport.get(REPOSITORIES, Key(namespace_of(application), name)), given)
        if place is None:
            return Found(
                None,
                "each commit is that of the object's last run: name a clone with --repository for each field's own",
            )
        found = await declaration_of(place, application, revision, ref)
    except StageError as error:
        return Found(None, f"the source cannot be read here: {error.message}")
    except ApiError as error:
        return Found(None, f"the source is not known: {error.message}")
    return Found(found, "" if found else f"{short(revision)} as it is here does not declare it")


def report(
    fields: Sequence[LiveField], ref: Ref, runs: Sequence[Obj], declaration: Declaration | None, now: datetime
) -> str:
    header = ("FIELD", "BY", "COMMIT", "AUTHOR", "WHEN", "FROM")
    rows = [row for field in fields for row in _rows(field, ref, runs, declaration, now)]
    return table(header, rows, cell_max=PATH_MAX)


def _rows(
    field: LiveField, ref: Ref, runs: Sequence[Obj], declaration: Declaration | None, now: datetime
) -> Sequence[Sequence[str]]:
    if not field.owners:
        return [(field.path, "server (default)", "", "", "", "")]
    rows: list[Sequence[str]] = []
    for owner in field.owners:
        if (owner.manager, owner.operation) != (FIELD_MANAGER, "Apply"):
            rows.append((field.path, named(owner), "", "", _age(owner.time, now), ""))
            continue
        rows.append((field.path, "git", *_asked(field, ref, runs, declaration, now)))
    return rows


def _asked(
    field: LiveField, ref: Ref, runs: Sequence[Obj], declaration: Declaration | None, now: datetime
) -> tuple[str, str, str, str]:
    """Commit, author, age and place.  A place with `~` is that of what is above the field, or of the whole object."""
    changes = changes_of(runs, ref)
    if declaration is not None:
        span = declaration.span_of(field.words)
        place = f"{declaration.file}:{'' if span.exact else '~'}{span.start}"
        if (line := declaration.newest(span)) is not None:
            return short(line.commit), line.author, _age(line.authored_at, now), place
        revision = str(changes[0]["spec"].get("revision", "")) if changes else ""
        return short(revision), "", "", place
    if not changes:
        return "", "", "", ""
    spec: Obj = changes[0]["spec"]
    file, _, line_number = str(change_in(changes[0], ref).get("origin", "")).rpartition(":")
    author = str(spec.get("author", "")).partition(" <")[0]
    place = f"{file}:~{line_number}" if file else ""
    return short(str(spec.get("revision", ""))), author, _age(str(spec.get("finishedAt", "")), now), place


def named(owner: Owner) -> str:
    """Whose program wrote it, as far as its name tells."""
    below = f"/{owner.subresource}" if owner.subresource else ""
    who = f"{owner.manager or 'unknown'}{below}"
    if owner.manager.startswith(_PEOPLE):
        return f"person ({who})"
    return f"controller ({who})" if owner.manager.startswith(_CONTROLLERS) else f"client ({who})"


def _age(time: str, now: datetime) -> str:
    return f"{age_of(time, now)} ago" if time else ""
