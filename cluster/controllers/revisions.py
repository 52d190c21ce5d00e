"""What StatefulSets and DaemonSets share: the present template's ControllerRevision is there and the newest.

`history` decides, this carries it out.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.client.writes import Create, SetStatus
from cluster.controllers.claiming import ClaimingController
from cluster.controllers.history import is_same_revision, plan_history
from cluster.machinery.errors import AlreadyExists
from cluster.machinery.objects import Obj, controller_of, field_of, key_of, uid_of
from cluster.resources.builtin import CONTROLLER_REVISIONS


class RevisedController(ClaimingController):
    async def update_revision(self, owner: Obj, revisions: Sequence[Obj], *, hash_label: str) -> Obj | None:
        """The revision of the present template; None when it had to be written first: the key comes again."""
        history = plan_history(owner, revisions, hash_label=hash_label)
        if history.write is None:
            return history.update
        try:
            await self.commit([history.write])
        except AlreadyExists:
            if isinstance(history.write, Create):
                await self._resolve_collision(owner, history.write.obj)
        self.queue.add(key_of(owner))
        return None

    async def _resolve_collision(self, owner: Obj, wanted: Obj) -> None:
        """The name is taken: by ourselves before a crash, or by something else, and the next hash is tried."""
        present = await self.transport.get(CONTROLLER_REVISIONS, key_of(wanted))
        ours = (controller_of(present) or {}).get("uid") == uid_of(owner)
        if ours and is_same_revision(present, wanted):
            return
        collisions = int(field_of(owner, "status", "collisionCount", default=0)) + 1
        status = {**(owner.get("status") or {}), "collisionCount": collisions}
        await self.commit([SetStatus(self.primary, owner, status)])
