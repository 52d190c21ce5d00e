"""What every controller with a selector shares: making what matches it its own, and creating and deleting pods.

It knows no kind.  `ownership` decides, this carries it out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cluster.client.controller import Controller
from cluster.client.writes import Create, Delete, Write
from cluster.controllers.ownership import plan_claim
from cluster.machinery.errors import ApiError, NotFound
from cluster.machinery.objects import Obj, is_deleting, key_of, name_of, namespace_of, uid_of
from cluster.machinery.resource import Resource
from cluster.machinery.selectors import Selector


class ClaimingController(Controller):
    async def claim(
        self, owner: Obj, selector: Selector, resource: Resource, *, counts: Callable[[Obj], bool] = lambda _: True
    ) -> Sequence[Obj] | None:
        """The objects of `resource` that `owner` controls, in key order; those for which `counts` is false are let be.

        None when something had to be adopted or released first: the key comes again once the cache shows it.
        """
        matching = self.cache.list(resource, namespace=namespace_of(owner), selector=selector)
        known = {key_of(obj): obj for obj in (*matching, *self.cache.owned_by(owner, resource))}
        claim = plan_claim(owner, selector, [known[key] for key in sorted(known) if counts(known[key])], resource)
        if not claim.adopt and not claim.release:
            return claim.owned
        if claim.adopt and not await self._is_live(owner):
            return None
        await self.commit((*claim.release, *claim.adopt))
        self.queue.add(key_of(owner))
        return None

    async def change_pods(self, owner: Obj, writes: Sequence[Write]) -> ApiError | None:
        """Carry out `writes`, all of them creations or all deletions of pods, and tell of them as Events of `owner`.

        Returns the refusal that ended it, if one did.
        """
        try:
            answers = await self.commit(writes)
        except ApiError as error:
            creating = isinstance(writes[0], Create)
            verb = "creating" if creating else "deleting"
            self.recorder.event(owner, "Warning", failure_reason(writes), f"Error {verb}: {error.message}")
            return error
        for write, answer in zip(writes, answers, strict=True):
            if isinstance(write, Create) and answer is not None:
                self.recorder.event(owner, "Normal", "SuccessfulCreate", f"Created pod: {name_of(answer)}")
            elif isinstance(write, Delete):
                self.recorder.event(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {write.key.name}")
        return None

    async def _is_live(self, owner: Obj) -> bool:
        """Adopting for an owner that is gone would leave the garbage collector to delete the adopted."""
        try:
            live = await self.transport.get(self.primary, key_of(owner))
        except NotFound:
            return False
        return uid_of(live) == uid_of(owner) and not is_deleting(live)


def failure_reason(writes: Sequence[Write]) -> str:
    """How upstream calls that such writes were refused."""
    return "FailedCreate" if isinstance(writes[0], Create) else "FailedDelete"
