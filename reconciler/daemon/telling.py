"""An application's status and what the log says of it: written when there is something new, said once."""

from __future__ import annotations

from loguru import logger

from cluster.base.clock import Clock
from cluster.client.transport import Patch, PatchType, Transport
from cluster.machinery.errors import ApiError, NotFound
from cluster.machinery.objects import Obj, key_of
from cluster.machinery.timestamps import format_time
from reconciler.crds.application import APPLICATIONS
from reconciler.daemon.own_kinds import OwnKinds
from reconciler.daemon.state import ApplicationState
from reconciler.daemon.status import UNKNOWN, View, status_of
from reconciler.model import Sync


class Telling:
    """Writes with the daemon's own rights."""

    def __init__(self, transport: Transport, kinds: OwnKinds, clock: Clock) -> None:
        self._transport = transport
        self._kinds = kinds
        self._clock = clock

    async def tell(self, application: Obj, state: ApplicationState | None, view: View) -> None:
        """Raises ApiError; an application that is gone is nothing to tell."""
        if state is not None and view.reason and view.reason != state.described:
            logger.info("application not ready", app=str(key_of(application)), result=view.reason, reason=view.message)
        if state is not None:
            state.described = view.reason
        fresh = self._kinds.get(APPLICATIONS, key_of(application)) or application
        status = status_of(fresh, view, format_time(self._clock.now()))
        if status == (fresh.get("status") or {}):
            return
        patch = Patch(PatchType.MERGE, {"status": status})
        try:
            await self._transport.patch(APPLICATIONS, key_of(application), patch, subresource="status")
        except NotFound:
            return

    async def tell_failure(
        self, application: Obj, state: ApplicationState | None, stage: str, message: str, *, stalled: bool
    ) -> None:
        """A look that ended early.  Never raises: the next look tries again anyway."""
        view = View(
            Sync.UNKNOWN,
            UNKNOWN,
            reason=f"{stage.capitalize()}Failed",
            message=message,
            stalled=stalled,
            reconciling=not stalled,
        )
        try:
            await self.tell(application, state, view)
        except ApiError as error:
            logger.warning("application status not written", app=str(key_of(application)), reason=error.message)
