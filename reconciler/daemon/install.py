"""What the daemon puts into a cluster before it can work: its kinds, its namespace, the first Repository and Application."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from loguru import logger

from cluster.base.clock import Clock
from cluster.client.discovery import Discovery
from cluster.client.transport import Patch, PatchType, Transport, WriteOptions
from cluster.machinery.objects import Key, Obj, field_of, name_of
from cluster.resources.builtin import CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES
from reconciler.config import SYSTEM_NAMESPACE, Bootstrap
from reconciler.crds.application import APPLICATION_CRD, APPLICATIONS
from reconciler.crds.inventory import INVENTORY_CRD
from reconciler.crds.repository import REPOSITORIES, REPOSITORY_CRD
from reconciler.crds.run import RUN_CRD
from reconciler.projection import FIELD_MANAGER

CRDS: Sequence[Obj] = (REPOSITORY_CRD, APPLICATION_CRD, RUN_CRD, INVENTORY_CRD)
ESTABLISH_S = 30.0
POLL_S = 0.05

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_APPLY = WriteOptions(field_manager=FIELD_MANAGER)


class NotEstablished(Exception):
    """The server accepted a definition and does not serve it."""


async def install_kinds(transport: Transport, discovery: Discovery, clock: Clock) -> None:
    """Create or upgrade our definitions and wait until they are served.  Raises ApiError, NotEstablished."""
    for crd in CRDS:
        await transport.patch(
            CUSTOM_RESOURCE_DEFINITIONS, Key("", name_of(crd)), Patch(PatchType.APPLY, crd, force=True), options=_APPLY
        )
    deadline = clock.monotonic() + ESTABLISH_S
    for crd in CRDS:
        while not _is_established(await transport.get(CUSTOM_RESOURCE_DEFINITIONS, Key("", name_of(crd)))):
            if clock.monotonic() >= deadline:
                raise NotEstablished(f"{name_of(crd)} is not established after {ESTABLISH_S:g} s")
            await clock.sleep(POLL_S)
    await discovery.refresh()


async def ensure_namespace(transport: Transport, name: str) -> None:
    """Create the namespace when it is absent; nothing else of it is ours."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    await transport.patch(NAMESPACES, Key("", name), Patch(PatchType.APPLY, namespace), options=_APPLY)


async def install_bootstrap(transport: Transport, bootstrap: Bootstrap) -> Key:
    """The first Repository and Application as the host's configuration has them now.  Returns the Application's key."""
    await ensure_namespace(transport, SYSTEM_NAMESPACE)
    where = {"url": bootstrap.url, "path": bootstrap.path, "folder": bootstrap.folder}
    spec: dict[str, Any] = {name: text for name, text in where.items() if text}
    if bootstrap.branch:
        spec["ref"] = {"commit" if _COMMIT.fullmatch(bootstrap.branch) else "branch": bootstrap.branch}
    key = Key(SYSTEM_NAMESPACE, bootstrap.name)
    meta = {"namespace": key.namespace, "name": key.name}
    repository = {
        "apiVersion": REPOSITORIES.api_version,
        "kind": REPOSITORIES.kind,
        "metadata": meta,
        "spec": spec,
    }
    application = {
        "apiVersion": APPLICATIONS.api_version,
        "kind": APPLICATIONS.kind,
        "metadata": meta,
        "spec": {
            "repositoryRef": {"name": bootstrap.name},
            "path": bootstrap.directory,
            "targetNamespace": bootstrap.target_namespace,
            "createNamespace": True,
            "prune": bootstrap.prune,
        },
    }
    await transport.patch(REPOSITORIES, key, Patch(PatchType.APPLY, repository, force=True), options=_APPLY)
    await transport.patch(APPLICATIONS, key, Patch(PatchType.APPLY, application, force=True), options=_APPLY)
    logger.info("bootstrap application installed", app=str(key), source=next(iter(spec.values()), ""))
    return key


def _is_established(crd: Obj) -> bool:
    conditions: Sequence[Obj] = field_of(crd, "status", "conditions", default=())
    return any(c.get("type") == "Established" and c.get("status") == "True" for c in conditions)
