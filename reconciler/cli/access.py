"""How verbs reach the API: the kubeconfig's transport for one command, failures as one line for people."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from cluster.client.kubeconfig import KubeconfigError, load_kubeconfig
from cluster.client.rest import HttpTransport
from cluster.client.transport import Query, Transport, list_all
from cluster.machinery.errors import ApiError, NotFound, ServiceUnavailable
from cluster.machinery.objects import Key, Obj, key_of, name_of
from reconciler.cli.exit_codes import CommandError, Exit, Unreachable
from reconciler.cli.units import STATE_DIRS
from reconciler.crds.application import APPLICATIONS

OF_THE_SERVICE = Path(STATE_DIRS["server"]) / "kubeconfig"


def configure_access(parser: argparse.ArgumentParser) -> None:
    configure_cluster(parser)
    parser.add_argument("-n", "--namespace", default="", help="only applications of this namespace (default: all)")


def configure_cluster(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kubeconfig",
        type=Path,
        help="the cluster's kubeconfig (default: $KUBECONFIG, ./.reconciler/kubeconfig, ~/.kube/config, the service's)",
    )
    parser.add_argument("--context", default="", help="a context of the kubeconfig")


def chosen_kubeconfig(args: argparse.Namespace) -> Path | None:
    """The file an option names, else that of the cluster which `up` runs from here; None leaves the usual ones."""
    given: Path | None = args.kubeconfig
    return given or _usual_place()


def with_transport(args: argparse.Namespace, act: Callable[[Transport], Awaitable[int]]) -> int:
    """Run `act` and return its exit code.  Raises CommandError when the cluster cannot be reached or refuses."""

    async def run() -> int:
        transport = HttpTransport(load_kubeconfig(chosen_kubeconfig(args), context=args.context))
        try:
            return await act(transport)
        finally:
            await transport.close()

    try:
        return asyncio.run(run())
    except KubeconfigError as error:
        raise Unreachable(
            str(error), hint="start a cluster with `reconciler up`, or name one with --kubeconfig"
        ) from error
    except ServiceUnavailable as error:
        raise Unreachable(error.message, hint="is the cluster running? `reconciler up` starts one") from error
    except ApiError as error:
        raise CommandError(error.message) from error


def _usual_place() -> Path | None:
    """Unless $KUBECONFIG names another: the cluster that `up` runs from here; for who has none of their own, the service's."""
    if os.environ.get("KUBECONFIG"):
        return None
    here = Path(".reconciler") / "kubeconfig"
    if here.is_file():
        return here
    if not (Path.home() / ".kube" / "config").exists() and os.access(OF_THE_SERVICE, os.R_OK):
        return OF_THE_SERVICE
    return None


async def applications(transport: Transport, namespace: str) -> Sequence[Obj]:
    """In order of namespace and name.  Raises CommandError where GitOps is not installed."""
    try:
        listing = await list_all(transport, APPLICATIONS, Query(namespace=namespace))
    except NotFound as error:
        raise CommandError("this cluster knows no applications: the reconciler has not been started for it") from error
    return sorted(listing.items, key=key_of)


async def application_named(transport: Transport, name: str, namespace: str) -> Obj:
    """The application NAME or NAMESPACE/NAME.  Raises CommandError when there is none, or several."""
    space, slash, short = name.rpartition("/")
    everything = await applications(transport, space if slash else namespace)
    found = [application for application in everything if name_of(application) == short]
    if len(found) == 1:
        return found[0]
    if found:
        places = ", ".join(str(key_of(application)) for application in found)
        raise CommandError(f"several applications are named {short}: {places}", code=Exit.USAGE)
    known = ", ".join(str(key_of(application)) for application in everything) or "none"
    raise CommandError(f"there is no application {name}", hint=f"known applications: {known}")


async def reread(transport: Transport, application: Obj) -> Obj:
    return await transport.get(APPLICATIONS, Key(*key_of(application)))
