"""DaemonSets: a pod on every node that fits.  Upstream: pkg/controller/daemon.

`daemonset_pods` says where and what, `daemonset_plan` what happens next, `daemonset_status` what is told, `history` which
templates there were.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from cluster.base.tasks import Supervisor
from cluster.client.cache import Change
from cluster.client.controller import DONE, Result, Terminal, owner_or_selecting
from cluster.client.writes import SetStatus
from cluster.controllers.daemonset_plan import DaemonPlan, plan_daemon_set
from cluster.controllers.daemonset_status import next_look_s, status_of
from cluster.controllers.failed_pods import FailedPodBackoff
from cluster.controllers.history import POD_REVISION, plan_truncation
from cluster.controllers.pods import phase_of
from cluster.controllers.revisions import RevisedController
from cluster.machinery.errors import ApiError
from cluster.machinery.objects import Key, Obj, field_of, is_deleting, key_of, labels_of, name_of, uid_of
from cluster.machinery.selectors import SelectorError, selector_of
from cluster.resources.builtin import CONTROLLER_REVISIONS, DAEMON_SETS, NODES, PODS


class DaemonSetController(RevisedController):
    name: ClassVar = "daemonset"
    account: ClassVar = "daemon-set-controller"
    primary: ClassVar = DAEMON_SETS
    wakes: ClassVar = (owner_or_selecting(PODS), owner_or_selecting(CONTROLLER_REVISIONS))
    reads: ClassVar = (NODES,)

    def on_start(self, supervisor: Supervisor) -> None:
        self._backoff = FailedPodBackoff()
        supervisor.start("daemonset-nodes", self._follow_nodes)

    async def reconcile(self, key: Key) -> Result:
        daemon = self.cache.get(DAEMON_SETS, key)
        if daemon is None or is_deleting(daemon):
            return DONE
        try:
            selector = selector_of(field_of(daemon, "spec", "selector"))
        except SelectorError as error:
            raise Terminal(f"invalid selector: {error}") from error
        if selector.is_empty:
            message = "This daemon set is selecting all pods. A non-empty selector is required."
            self.recorder.event(daemon, "Warning", "SelectingAll", message)
            return DONE
        kept = await self.claim(daemon, selector, CONTROLLER_REVISIONS)
        pods = await self.claim(daemon, selector, PODS) if kept is not None else None
        if kept is None or pods is None:
            return DONE
        update = await self.update_revision(daemon, kept, hash_label=POD_REVISION)
        if update is None:
            return DONE
        nodes = self.cache.list(NODES)
        hash_ = labels_of(update).get(POD_REVISION, "")
        held = self._backoff.held(uid_of(daemon), self.clock.monotonic())
        now = self.clock.now()
        plan = plan_daemon_set(daemon, nodes, pods, hash_=hash_, held=held, now=now)
        refusal = await self._carry_out(daemon, plan)
        if plan and refusal is None:
            # Status and the next step follow from what was just written, once the cache shows it.
            self.queue.add(key)
            return DONE
        status = status_of(daemon, nodes, pods, hash_=hash_, now=now)
        used = {hash_, *(labels_of(pod).get(POD_REVISION, "") for pod in pods)}
        live = {name_of(revision) for revision in kept if labels_of(revision).get(POD_REVISION) in used}
        await self.commit((SetStatus(DAEMON_SETS, daemon, status), *plan_truncation(daemon, kept, live=live)))
        if refusal is not None:
            raise refusal
        waits = [*held.values(), *((wait,) if (wait := next_look_s(daemon, pods, now=now)) is not None else ())]
        return Result(min(waits, default=None))

    async def _carry_out(self, daemon: Obj, plan: DaemonPlan) -> ApiError | None:
        for node, pod in plan.ended.items():
            if phase_of(pod) == "Failed":
                self._backoff.failed(uid_of(daemon), node, self.clock.monotonic())
                message = f"Found failed daemon pod {key_of(pod)} on node {node}, will try to kill it"
                self.recorder.event(daemon, "Warning", "FailedDaemonPod", message)
            else:
                message = f"Found succeeded daemon pod {key_of(pod)} on node {node}, will try to delete it"
                self.recorder.event(daemon, "Normal", "SucceededDaemonPod", message)
        created = await self.change_pods(daemon, plan.creates)
        deleted = await self.change_pods(daemon, plan.deletes)
        return created or deleted

    async def _follow_nodes(self) -> None:
        stop = self.cache.subscribe(NODES, self._on_node)
        try:
            await asyncio.Event().wait()
        finally:
            stop()

    def _on_node(self, change: Change) -> None:
        """A heartbeat moves no daemon; what may is looked at by every DaemonSet."""
        if change.old is not None and change.new is not None and _attractions(change.old) == _attractions(change.new):
            return
        for daemon in self.cache.list(DAEMON_SETS):
            self.queue.add(key_of(daemon))


def _attractions(node: Obj) -> Any:
    """What of a node decides who may run there."""
    return labels_of(node), field_of(node, "spec", "taints", default=())
