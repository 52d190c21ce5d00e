"""StatefulSets: pods with names, host names and claims of their own.  Upstream: pkg/controller/statefulset.

`statefulset_pods` says who they are, `statefulset_plan` what happens next, `statefulset_status` what is told,
`history` which templates there were.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from cluster.client.controller import DONE, Result, Terminal, owner_or_selecting
from cluster.client.writes import Create, Delete, SetStatus, Write
from cluster.controllers.history import plan_truncation
from cluster.controllers.pods import is_finished, phase_of
from cluster.controllers.revisions import RevisedController
from cluster.controllers.statefulset_plan import Revisions, plan_stateful_set
from cluster.controllers.statefulset_pods import is_waiting_for_claims, ordinal_of, revision_of, wanted_ordinals
from cluster.controllers.statefulset_status import next_look_s, status_of
from cluster.machinery.errors import ApiError
from cluster.machinery.objects import Key, Obj, field_of, is_deleting, key_of, name_of, namespace_of
from cluster.machinery.selectors import SelectorError, selector_of
from cluster.resources.builtin import CONTROLLER_REVISIONS, PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS

HASH_LABEL = "controller.kubernetes.io/hash"
CLAIMS_RETRY_S = 1.0
"""How soon to look again whether a claim on its way out is gone."""


class StatefulSetController(RevisedController):
    name: ClassVar = "statefulset"
    account: ClassVar = "statefulset-controller"
    primary: ClassVar = STATEFUL_SETS
    wakes: ClassVar = (owner_or_selecting(PODS), owner_or_selecting(CONTROLLER_REVISIONS))
    reads: ClassVar = (PERSISTENT_VOLUME_CLAIMS,)

    async def reconcile(self, key: Key) -> Result:
        stateful = self.cache.get(STATEFUL_SETS, key)
        if stateful is None:
            return DONE
        try:
            selector = selector_of(field_of(stateful, "spec", "selector"))
        except SelectorError as error:
            raise Terminal(f"invalid selector: {error}") from error
        if is_deleting(stateful):
            return DONE

        def is_member(pod: Obj) -> bool:
            return ordinal_of(stateful, name_of(pod)) is not None

        kept = await self.claim(stateful, selector, CONTROLLER_REVISIONS)
        pods = await self.claim(stateful, selector, PODS, counts=is_member) if kept is not None else None
        if kept is None or pods is None:
            return DONE
        update = await self.update_revision(stateful, kept, hash_label=HASH_LABEL)
        if update is None:
            return DONE
        current_name = field_of(stateful, "status", "currentRevision", default="")
        current = next((revision for revision in kept if name_of(revision) == current_name), update)
        return await self._step(stateful, pods, kept, Revisions(current, update))

    async def _step(self, stateful: Obj, pods: Sequence[Obj], kept: Sequence[Obj], revisions: Revisions) -> Result:
        now = self.clock.now()
        namespace = namespace_of(stateful)
        claims = {key_of(claim): claim for claim in self._claims(stateful, namespace)}
        writes = plan_stateful_set(stateful, pods, claims, revisions, now=now)
        refusal = await self._carry_out(stateful, writes, pods)
        if writes and refusal is None:
            # Status and the next step follow from what was just written, once the cache shows it.
            self.queue.add(key_of(stateful))
            return DONE
        status = status_of(stateful, pods, revisions, now=now)
        live = {name_of(revisions.current), name_of(revisions.update), *map(revision_of, pods)}
        await self.commit((SetStatus(STATEFUL_SETS, stateful, status), *plan_truncation(stateful, kept, live=live)))
        if refusal is not None:
            raise refusal
        present = {ordinal_of(stateful, name_of(pod)) for pod in pods}
        if any(
            ordinal not in present and is_waiting_for_claims(stateful, ordinal, claims)
            for ordinal in wanted_ordinals(stateful)
        ):
            return Result(CLAIMS_RETRY_S)
        return Result(next_look_s(stateful, pods, now=now))

    def _claims(self, stateful: Obj, namespace: str) -> Sequence[Obj]:
        if not field_of(stateful, "spec", "volumeClaimTemplates"):
            return ()
        return self.cache.list(PERSISTENT_VOLUME_CLAIMS, namespace=namespace)

    async def _carry_out(self, stateful: Obj, writes: Sequence[Write], pods: Sequence[Obj]) -> ApiError | None:
        """Write one after the other's kind, telling each as an Event; the refusal that ended it, if one did."""
        finished = {key_of(pod): pod for pod in pods if is_finished(pod)}
        for write in writes:
            if isinstance(write, Delete) and write.key in finished:
                failed = phase_of(finished[write.key]) == "Failed"
                self.recorder.event(
                    stateful,
                    "Warning" if failed else "Normal",
                    "RecreatingFailedPod" if failed else "RecreatingTerminatedPod",
                    f"StatefulSet {key_of(stateful)} is recreating {'failed' if failed else 'terminated'} "
                    f"Pod {write.key.name}",
                )
        claims = [write for write in writes if write.resource == PERSISTENT_VOLUME_CLAIMS]
        others = [write for write in writes if write.resource != PERSISTENT_VOLUME_CLAIMS]
        for group in (claims, others):
            try:
                answers = await self.commit(group)
            except ApiError as error:
                self._tell(stateful, group[0], error)
                return error
            for write, answer in zip(group, answers, strict=True):
                if answer is not None:
                    self._tell(stateful, write, None)
        return None

    def _tell(self, stateful: Obj, write: Write, error: ApiError | None) -> None:
        what = _described(write, name_of(stateful))
        if what is None:
            return
        verb, subject = what
        reason = f"{'Failed' if error else 'Successful'}{verb.capitalize()}"
        if error is not None:
            message = f"{verb} {subject} in StatefulSet {name_of(stateful)} failed error: {error.message}"
        else:
            ending = "success" if subject.startswith("Claim") else "successful"
            message = f"{verb} {subject} in StatefulSet {name_of(stateful)} {ending}"
        self.recorder.event(stateful, "Warning" if error else "Normal", reason, message)


def _described(write: Write, stateful: str) -> tuple[str, str] | None:
    """The verb and what it is done to, as upstream's Events say it; None for what no Event tells."""
    match write:
        case Create(resource, obj) if resource == PERSISTENT_VOLUME_CLAIMS:
            pod = f"{stateful}-{name_of(obj).rpartition('-')[2]}"
            return "create", f"Claim {name_of(obj)} Pod {pod}"
        case Create(_, obj):
            return "create", f"Pod {name_of(obj)}"
        case Delete(_, key):
            return "delete", f"Pod {key.name}"
        case _:
            return None
