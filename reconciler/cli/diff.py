"""`reconciler diff`: what applying a folder, or a commit of it, would change, as the server sees it; nothing is written.

Exits 0 without a difference, 1 with one, 2 when something cannot be compared.  Values of Secrets are not shown.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import hmac
import secrets
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.client.discovery import Discovery
from cluster.client.transport import Patch, PatchType, Transport, WriteOptions
from cluster.machinery.errors import ApiError, NotFound
from cluster.machinery.objects import Obj
from cluster.machinery.yaml_dump import dump
from reconciler.apply.refusal import refusal_of
from reconciler.cli.access import configure_access, with_transport
from reconciler.cli.columns import clean
from reconciler.cli.exit_codes import CommandError, Exit
from reconciler.errors import StageError
from reconciler.model import Manifest, Manifests, Revision
from reconciler.plan.normalise import normalise, problems_of
from reconciler.projection import FIELD_MANAGER
from reconciler.render.parsed import ParsedFiles
from reconciler.render.parser import Parser
from reconciler.render.plain import PlainRenderer
from reconciler.source.address import checked_path
from reconciler.source.command import Git
from reconciler.source.folder import Folder
from reconciler.source.git import GitRef, LocalRepository
from reconciler.source.refs import layout_of

DIFFERENT = 1
FAILED = 2
_NOISE = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="a folder of manifests")
    parser.add_argument("--ref", default="", help="as this commit, branch or tag of the folder's repository has it")
    parser.add_argument("--target-namespace", default="default", help="for objects that name none (default: default)")
    configure_access(parser)


def run(args: argparse.Namespace) -> int:
    async def act(transport: Transport) -> int:
        salt = secrets.token_bytes(32)
        try:
            manifests = await rendered(args.folder.resolve(), args.ref)
        except StageError as error:
            raise CommandError(f"{args.folder}: {error.message}", code=Exit.USAGE) from error
        discovery = Discovery(transport)
        await discovery.refresh()
        desired = normalise(manifests.items, scopes=discovery.scopes(), target_namespace=args.target_namespace)
        problems = [str(problem) for problem in (*manifests.problems, *problems_of(desired))]
        result = 0
        for manifest in desired.manifests:
            try:
                lines = await difference(transport, discovery, manifest, salt=salt)
            except ApiError as error:
                problems.append(f"{manifest.origin}: {manifest.ref}: {refusal_of(manifest.obj, error)}")
                continue
            if lines:
                result = DIFFERENT
                print("\n".join(lines))
        for problem in problems:
            print(clean(problem), file=sys.stderr)
        return FAILED if problems else result

    return with_transport(args, act)


@dataclass(frozen=True, slots=True)
class Rendered:
    """`follows`: the revision descends from the one it was compared with, or nothing is known to the contrary."""

    manifests: Manifests
    revision: Revision
    follows: bool = True


async def rendered(folder: Path, ref: str) -> Manifests:
    """What `folder` declares: as it lies there, or as `ref` has it.  Raises StageError."""
    if not ref:
        return (await rendered_below(folder, "", "")).manifests
    top = next((place for place in (folder, *folder.parents) if (place / ".git").exists()), folder)
    return (await rendered_below(top, checked_path(folder.relative_to(top).as_posix()), ref)).manifests


async def rendered_below(place: Path, path: str, ref: str, *, applied: str = "") -> Rendered:
    """What `path` of the source at `place` declares: of the files as they lie there, or of the commit that `ref` names.

    `applied` is the revision to descend from.  Raises StageError.
    """
    parser = Parser()
    renderer = PlainRenderer(ParsedFiles(None), parser)
    try:
        if not ref:
            source = Folder(place)
            head = await source.head()
            return Rendered(await renderer.render(source, head, path), head)
        with tempfile.TemporaryDirectory(prefix="reconciler-diff-") as home:
            git = Git.prepare(Path(home))
            commit = await git.commit_of(layout_of(place).common_dir, ref)
            repository = LocalRepository(git, place, GitRef(commit=commit))
            try:
                head = await repository.head()
                follows = not applied or await repository.follows(head, applied)
                return Rendered(await renderer.render(repository, head, path), head, follows)
            finally:
                await repository.close()
    finally:
        await parser.close()


async def difference(transport: Transport, discovery: Discovery, manifest: Manifest, *, salt: bytes) -> Sequence[str]:
    """The lines of a unified diff from what is live to what the server would make of the manifest.  Raises ApiError."""
    resource = discovery.find(manifest.gvk)
    if resource is None:
        raise NotFound(f'no matches for kind "{manifest.gvk.kind}" in version "{manifest.gvk.api_version}"')
    try:
        live: Obj | None = await transport.get(resource, manifest.ref.key)
    except NotFound:
        live = None
    options = WriteOptions(field_manager=FIELD_MANAGER, dry_run=True, field_validation="Strict")
    patch = Patch(PatchType.APPLY, manifest.obj, force=True)
    planned = await transport.patch(resource, manifest.ref.key, patch, options=options)
    before = shown(live, salt=salt) if live is not None else []
    after = shown(planned, salt=salt)
    name = str(manifest.ref)
    return list(difflib.unified_diff(before, after, f"live {name}", f"{manifest.origin} {name}", lineterm=""))


def shown(obj: Obj, *, salt: bytes) -> list[str]:
    """The object as lines of YAML, without what every write changes, Secret values as fingerprints."""
    meta = {name: value for name, value in obj["metadata"].items() if name not in _NOISE}
    rest: dict[str, Any] = {name: value for name, value in obj.items() if name != "status"}
    if obj.get("kind") == "Secret":
        for field in ("data", "stringData"):
            if isinstance(rest.get(field), Mapping):
                rest[field] = {name: _fingerprint(str(value), salt) for name, value in rest[field].items()}
    return [clean(line) for line in dump({**rest, "metadata": meta}).splitlines()]


def _fingerprint(value: str, salt: bytes) -> str:
    """Equal for equal values within one command, and nothing that a value could be guessed from later."""
    return f"*** ({hmac.new(salt, value.encode(), hashlib.sha256).hexdigest()[:8]})"
