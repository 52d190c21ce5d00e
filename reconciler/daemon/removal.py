"""An application that is deleted takes its objects with it, except what may hold data or contains other things."""

from __future__ import annotations

from collections.abc import Sequence

from loguru import logger

from cluster.client.transport import Patch, PatchType, Transport
from cluster.machinery.errors import NotFound
from cluster.machinery.objects import Obj, key_of
from reconciler.apply.inventory import Inventory
from reconciler.crds.application import APPLICATIONS
from reconciler.errors import Fault, Stage, StageError
from reconciler.pipeline import Pipeline

FINALIZER = "gitops.reconciler.io/prune"


class Removal:
    """`transport` writes our own kinds; `rights` deletes with the application's rights."""

    def __init__(self, transport: Transport, rights: Transport, pipeline: Pipeline) -> None:
        self._transport = transport
        self._rights = rights
        self._pipeline = pipeline

    async def remove(self, application: Obj, inventory: Inventory, *, prune: bool) -> None:
        """Delete what the inventory owns, then let the application go.  Raises ApiError, StageError: then it is tried again."""
        if FINALIZER not in application["metadata"].get("finalizers", ()):
            return
        if prune:
            done = await self._pipeline.prune_all(inventory, self._rights)
            for each in done:
                logger.info(
                    "object of a deleted application",
                    app=str(key_of(application)),
                    action=str(each.action.verb),
                    object=str(each.action.ref),
                    result="failed" if each.error else "done",
                    reason=each.error or each.action.reason,
                )
            failed = next((each for each in done if each.error), None)
            if failed is not None:
                raise StageError(
                    f"{failed.action.ref}: {failed.error}", stage=Stage.APPLY, fault=Fault.CLUSTER, retryable=True
                )
        left: Sequence[str] = [name for name in application["metadata"]["finalizers"] if name != FINALIZER]
        patch = Patch(PatchType.MERGE, {"metadata": {"finalizers": list(left) or None}})
        try:
            await self._transport.patch(APPLICATIONS, key_of(application), patch)
        except NotFound:
            return
