"""`reconciler plan`: what syncing an application to a commit, or to files not committed yet, would do; nothing is written.

The daemon's own decision, each write of it then tried at the server without effect.  Exits 0 when nothing would change, 1
when something would, 2 when something would be refused.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cluster.client.discovery import Discovery
from cluster.client.transport import Patch, PatchType, Query, Transport, WriteOptions, list_all
from cluster.machinery.errors import ApiError, NotFound
from cluster.machinery.objects import GroupKind, Key, Obj, field_of, key_of
from reconciler.apply.inventory import entry_of
from reconciler.apply.refusal import refusal_of
from reconciler.cli.access import application_named, configure_access, with_transport
from reconciler.cli.columns import clean, table
from reconciler.cli.declared import place_of
from reconciler.cli.diff import Rendered, rendered_below, shown
from reconciler.cli.exit_codes import CommandError, Exit
from reconciler.cli.named import listed
from reconciler.config import SYSTEM_NAMESPACE, Bootstrap
from reconciler.crds.inventory import INVENTORIES
from reconciler.crds.repository import REPOSITORIES
from reconciler.crds.run import RUNS
from reconciler.daemon.spec import ApplicationSpec, application_spec
from reconciler.errors import StageError
from reconciler.history.runs import proven_trees, runs_of
from reconciler.model import Action, Owned, Plan, Ref, Verb, ref_of
from reconciler.plan.decide import plan
from reconciler.plan.diff import Live, live_of
from reconciler.plan.guard import Evidence, parse_allowance
from reconciler.plan.normalise import Normalised, normalise
from reconciler.projection import FIELD_MANAGER

REFUSED = 2
CELL_MAX = 300
_TEMPLATES = frozenset({GroupKind("apps", kind) for kind in ("Deployment", "StatefulSet", "DaemonSet")})
_ORDER = tuple(str(verb).lower() for verb in Verb)


@dataclass(frozen=True, slots=True)
class Tried:
    """An action as the server takes it; `restarts` pods would be replaced."""

    action: Action
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """What the API holds of an application and of its neighbours."""

    spec: ApplicationSpec
    applied: str
    owned: Mapping[Ref, Owned]
    claims: Mapping[Ref, str]
    proven: frozenset[str]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("application", help="NAME or NAMESPACE/NAME")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--ref", default="HEAD", help="a commit, branch or tag of the repository (default: HEAD)")
    what.add_argument("--working-tree", action="store_true", help="the files as they lie there")
    parser.add_argument(
        "--repository",
        type=Path,
        help="where the source lies here (default: where the Repository says, if that is here)",
    )
    parser.add_argument("--gate", action="store_true", help="exit 0 unless something would be refused or held back")
    configure_access(parser)


def run(args: argparse.Namespace) -> int:
    async def act(transport: Transport) -> int:
        application = await application_named(transport, args.application, args.namespace)
        discovery = Discovery(transport)
        await discovery.refresh()
        try:
            known = await known_of(transport, application)
            name = known.spec.repository
            place = place_of(await transport.get(REPOSITORIES, name), args.repository)
            if place is None:
                raise CommandError(
                    "the source is not on this host", hint="name a clone with --repository", code=Exit.USAGE
                )
            is_folder = args.working_tree or known.applied.startswith("sha256:")
            ref = "" if is_folder else args.ref
            made = await rendered_below(place, known.spec.path, ref, applied=known.applied)
        except StageError as error:
            raise CommandError(error.message, code=Exit.USAGE) from error
        desired = normalise(
            made.manifests.items, scopes=discovery.scopes(), target_namespace=known.spec.target_namespace
        )
        live = await _live(transport, discovery, desired, known.owned)
        decided = decide(known, made, desired, live)
        created = {action.ref for action in decided.of(Verb.CREATE)}
        tried = [
            await _tried(transport, discovery, action, live.get(action.ref), created) for action in decided.actions
        ]
        print(report(made, tried, held=decided.held))
        problems = [str(problem) for problem in made.manifests.problems]
        for problem in problems:
            print(clean(problem), file=sys.stderr)
        return verdict(tried, problems, gate=args.gate)

    return with_transport(args, act)


async def known_of(transport: Transport, application: Obj) -> Known:
    """Raises ApiError, StageError."""
    spec = application_spec(application)
    owned: dict[Ref, Owned] = {}
    claims: dict[Ref, str] = {}
    for chunk in (await list_all(transport, INVENTORIES, Query())).items:
        owner = Key(key_of(chunk).namespace, str(chunk.get("application", "")))
        for entry in map(entry_of, chunk.get("entries") or ()):
            if owner == spec.key:
                owned[entry.ref] = entry
            else:
                claims[entry.ref] = str(owner)
    runs = await list_all(transport, RUNS, Query(namespace=spec.key.namespace))
    applied = str(field_of(application, "status", "revision", default=""))
    return Known(spec, applied, owned, claims, frozenset(proven_trees(runs_of(runs.items, spec.key))))


def decide(known: Known, made: Rendered, desired: Normalised, live: Mapping[Ref, Obj]) -> Plan:
    """As the daemon decides, except that what another application takes over from this one counts as deleted."""
    spec = known.spec
    operator = spec.key == Key(SYSTEM_NAMESPACE, Bootstrap().name)
    declared = {manifest.ref: manifest.obj for manifest in desired.manifests}
    there: dict[Ref, Live] = {ref: live_of(obj, declared.get(ref)) for ref, obj in live.items()}
    evidence = Evidence(
        complete=not made.manifests.problems and not desired.refused,
        rewritten=not made.follows,
        proven=made.manifests.tree in known.proven,
        approved=spec.approves(made.revision.id),
        allowance=parse_allowance(made.revision.trailers),
    )
    authority = spec.authority(operator=operator, system_namespace=SYSTEM_NAMESPACE)
    return plan(
        desired, there, known.owned, claims=known.claims, authority=authority, evidence=evidence, drift=spec.drift,
        prune=spec.prune,
    )  # fmt: skip


async def _live(
    transport: Transport, discovery: Discovery, desired: Normalised, owned: Iterable[Ref]
) -> Mapping[Ref, Obj]:
    refs = {manifest.ref for manifest in desired.manifests} | set(owned)
    found: dict[Ref, Obj] = {}
    for kind, namespace in sorted({(ref.group_kind, ref.namespace) for ref in refs}):
        resource = discovery.preferred(kind)
        for obj in await listed(transport, resource, namespace) if resource is not None else ():
            if (ref := ref_of(obj)) in refs:
                found[ref] = obj
    return found


async def _tried(
    transport: Transport, discovery: Discovery, action: Action, live: Obj | None, created: Iterable[Ref]
) -> Tried:
    """The write without effect.  What would change nothing is kept, what the server refuses is refused."""
    manifest = action.manifest
    if action.verb not in (Verb.CREATE, Verb.UPDATE) or manifest is None:
        return Tried(action)
    resource = discovery.find(manifest.gvk)
    if resource is None:
        return Tried(replace(action, reason=f"{action.reason}; not tried: its kind comes with this revision"))
    if Ref("", "Namespace", "", action.ref.namespace) in created:
        return Tried(replace(action, reason=f"{action.reason}; not tried: its namespace comes with this revision"))
    options = WriteOptions(field_manager=FIELD_MANAGER, dry_run=True, field_validation="Strict")
    try:
        after = await transport.patch(
            resource, action.ref.key, Patch(PatchType.APPLY, manifest.obj, force=True), options=options
        )
    except NotFound as error:
        return Tried(replace(action, verb=Verb.REFUSE, reason=error.message))
    except ApiError as error:
        return Tried(replace(action, verb=Verb.REFUSE, reason=refusal_of(manifest.obj, error)))
    if live is None:
        return Tried(action)
    salt = secrets.token_bytes(16)
    if shown(live, salt=salt) == shown(after, salt=salt):
        return Tried(replace(action, verb=Verb.KEEP, reason="the server holds it already"))
    return Tried(action, restarts_of(action.ref, live, after))


def restarts_of(ref: Ref, live: Obj, after: Obj) -> int:
    """Pods that a changed pod template replaces."""
    if ref.group_kind not in _TEMPLATES:
        return 0
    if field_of(live, "spec", "template") == field_of(after, "spec", "template"):
        return 0
    if ref.kind == "DaemonSet":
        return int(field_of(live, "status", "currentNumberScheduled", default=0))
    return min(int(field_of(each, "spec", "replicas", default=1)) for each in (live, after))


def report(made: Rendered, tried: Sequence[Tried], *, held: str) -> str:
    """What is simply kept is counted only."""
    lines = [clean(f"{made.revision.short} {made.revision.subject}")]
    rows = [_row(each) for each in tried if each.action.verb is not Verb.KEEP]
    if rows:
        lines += ["", table(("ACTION", "OBJECT", "REASON", "FROM"), rows, cell_max=CELL_MAX)]
    counts = {verb: sum(str(each.action.verb).lower() == verb for each in tried) for verb in _ORDER}
    restarts = sum(each.restarts for each in tried)
    told = [f"{count} to {verb}" for verb, count in counts.items() if count]
    told += [f"{restarts} pods restarted"] if restarts else []
    lines += ["", ", ".join(told) or "nothing is declared"]
    return "\n".join([*lines, *([f"deletions are held back: {held}"] if held else [])])


def _row(tried: Tried) -> Sequence[str]:
    action = tried.action
    restarts = f"; restarts {tried.restarts} pods" if tried.restarts else ""
    origin = str(action.manifest.origin) if action.manifest else ""
    return (str(action.verb), str(action.ref), action.reason + restarts, origin)


def verdict(tried: Sequence[Tried], problems: Sequence[str], *, gate: bool) -> int:
    verbs = {each.action.verb for each in tried}
    if problems or Verb.REFUSE in verbs:
        return REFUSED
    if gate:
        kept_back = any(each.action.verb is Verb.HOLD and each.action.manifest is None for each in tried)
        return Exit.DIFFERS if kept_back else Exit.OK
    return Exit.OK if verbs <= {Verb.KEEP} else Exit.DIFFERS
