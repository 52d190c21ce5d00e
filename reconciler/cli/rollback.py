"""`reconciler rollback`: take an application's path back to an earlier commit, by a commit.

The commit is made in a clone with the person's own git and identity; the daemon sees it as any other and stays on.  Where
the server does not answer the clone alone is enough.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cluster.client.transport import Query, Transport, list_all
from cluster.machinery.objects import Key, Obj, field_of, key_of
from reconciler.cli.access import application_named, configure_access, with_transport
from reconciler.cli.clone import Clone, clone_at
from reconciler.cli.exit_codes import CommandError, Exit, Unreachable
from reconciler.crds.repository import REPOSITORIES
from reconciler.crds.run import RUNS
from reconciler.errors import StageError
from reconciler.history.runs import good_before, runs_of
from reconciler.source.address import checked_path
from reconciler.source.command import Git
from reconciler.source.going_back import (
    APPLICATION_TRAILER,
    GOOD_TRAILER,
    REVERT_TRAILER,
    GoingBack,
    message_of,
    returning_commit,
)


@dataclass(frozen=True, slots=True)
class Place:
    """What the cluster knows of an application; all empty where it could not be asked but for the name."""

    name: str
    path: str = ""
    url: str = ""
    local: str = ""
    branch: str = ""
    good: str = ""
    """The newest commit that ran healthy with other content than the one applied last."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("application")
    parser.add_argument(
        "--to", default="", metavar="COMMIT", help="the commit to go back to (default: the last one that ran healthy)"
    )
    parser.add_argument(
        "--repository",
        type=Path,
        metavar="DIR",
        help="the clone to work in (default: the repository itself where it is local, else the current directory)",
    )
    parser.add_argument(
        "--directory", metavar="PATH", help="the application's path in the repository (default: what the cluster knows)"
    )
    parser.add_argument("-m", "--message", default="", help="why, for the commit")
    configure_access(parser)


def run(args: argparse.Namespace) -> int:
    place = _place(args)
    clone = clone_at(args.repository or Path(place.local or "."))
    path = checked_path(args.directory if args.directory is not None else place.path)
    branch = place.branch or clone.asks("symbolic-ref", "--short", "HEAD")
    if not branch:
        raise CommandError("the repository is at no branch: no commit can be added")
    remote = _remote(clone, place, branch)
    head = clone.commit_of(f"refs/remotes/{remote}/{branch}" if remote else f"refs/heads/{branch}")
    good = clone.commit_of(args.to or place.good) if args.to or place.good else _before(clone, head, path)
    commit = _commit(clone, place.name, path, head, good, args.message)
    _publish(clone, remote, branch, commit, head)
    print(f"{place.name} goes back to {good[:8]} {clone.git('log', '-1', '--format=%s', good)}")
    print(f"commit {commit[:8]} {'pushed to ' + remote if remote else 'made'} on {branch}")
    return Exit.OK


def _place(args: argparse.Namespace) -> Place:
    found: list[Place] = []

    async def act(transport: Transport) -> int:
        found.append(await place_of(transport, args.application, args.namespace))
        return Exit.OK

    try:
        with_transport(args, act)
    except Unreachable as error:
        if args.directory is None:
            hint = "with --directory PATH the rollback is made in a clone alone ('.' for everything)"
            raise CommandError(error.message, hint=hint) from error
        return Place(args.application)
    return found[0]


async def place_of(transport: Transport, name: str, namespace: str) -> Place:
    """Raises CommandError for an application that follows no branch."""
    application = await application_named(transport, name, namespace)
    key = key_of(application)
    repository_key = Key(key.namespace, str(field_of(application, "spec", "repositoryRef", "name", default="")))
    spec: Obj = (await transport.get(REPOSITORIES, repository_key)).get("spec") or {}
    if spec.get("folder"):
        raise CommandError("a folder has no history to go back to")
    if field_of(spec, "ref", "tag", default="") or field_of(spec, "ref", "commit", default=""):
        raise CommandError(f"repository {repository_key.name} follows no branch: change its spec.ref instead")
    runs = runs_of((await list_all(transport, RUNS, Query(namespace=key.namespace))).items, key)
    return Place(
        name=str(key),
        path=str(field_of(application, "spec", "path", default="")),
        url=str(spec.get("url", "")),
        local=str(spec.get("path", "")),
        branch=str(field_of(spec, "ref", "branch", default="")),
        good=good_before(runs, str(field_of(application, "status", "lastAttempted", default=""))),
    )


def _remote(clone: Clone, place: Place, branch: str) -> str:
    """The remote to push to, freshly fetched; empty for a repository that is itself what is followed."""
    if place.local:
        return ""
    remote = clone.remote_of(place.url) if place.url else clone.asks("config", f"branch.{branch}.remote")
    if place.url and not remote:
        raise CommandError(f"{clone.directory} is no clone of {place.url}", hint="name one with --repository")
    if remote:
        clone.git("fetch", "--quiet", "--", remote, f"+refs/heads/{branch}:refs/remotes/{remote}/{branch}")
    return remote


def _before(clone: Clone, head: str, path: str) -> str:
    """The commit before the last that changed the path."""
    paths = (f":(top,literal){path}",) if path else ()
    changed = clone.git("rev-list", "-1", head, "--", *paths)
    earlier = clone.asks("rev-parse", "--verify", "--quiet", f"{changed}^") if changed else ""
    if not earlier:
        raise CommandError("there is no earlier commit to go back to", hint="name one with --to")
    return earlier


def _commit(clone: Clone, name: str, path: str, head: str, good: str, why: str) -> str:
    subject = clone.git("log", "-1", "--format=%s", head)
    body = [why] if why else [f"This takes {path or 'everything'} back to {good}."]
    trailers = [(REVERT_TRAILER, head), (GOOD_TRAILER, good), (APPLICATION_TRAILER, name)]
    message = message_of(f'Roll back "{subject}" for {name}', body, trailers)
    wanted = GoingBack(head=head, good=good, path=path, message=message, author=clone.person())
    with tempfile.TemporaryDirectory(prefix="reconciler-rollback-") as home:
        try:
            return asyncio.run(returning_commit(Git.prepare(Path(home)), clone.common_dir, wanted))
        except StageError as error:
            raise CommandError(error.message) from error


def _publish(clone: Clone, remote: str, branch: str, commit: str, head: str) -> None:
    checked_out = not clone.is_bare and clone.asks("symbolic-ref", "--short", "HEAD") == branch
    if remote:
        clone.git("push", "--quiet", "--", remote, f"{commit}:refs/heads/{branch}")
        if checked_out:
            clone.asks("merge", "--quiet", "--ff-only", commit)  # local commits of its own are no reason to fail
    elif checked_out:
        clone.git("merge", "--quiet", "--ff-only", commit)
    else:
        clone.git("update-ref", f"refs/heads/{branch}", commit, head)
