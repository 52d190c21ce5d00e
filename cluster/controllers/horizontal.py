"""HorizontalPodAutoscalers: as many replicas as the metrics ask for.  Upstream: pkg/controller/podautoscaler/horizontal.go.

Each is looked at every PERIOD_S; with none there is nothing to do, and no metric is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.client.cache import Cache, Change
from cluster.client.controller import DONE, Controller, Recorder, Result
from cluster.client.transport import Transport
from cluster.client.writes import SetStatus
from cluster.controllers.horizontal_behavior import Decision, History, decide_replicas
from cluster.controllers.horizontal_metrics import MetricReader
from cluster.controllers.horizontal_replicas import NoMetrics, Proposal
from cluster.controllers.horizontal_sources import MetricSource
from cluster.controllers.horizontal_status import (
    Outcome,
    able,
    active,
    conditions_for,
    highest,
    inactive,
    status_of,
    unable,
)
from cluster.machinery.errors import ApiError, NotFound
from cluster.machinery.objects import Key, Obj, field_of, is_deleting, with_field
from cluster.machinery.resource import Resource
from cluster.machinery.selectors import SelectorError, parse_selector
from cluster.resources.builtin import HORIZONTAL_POD_AUTOSCALERS, PODS

PERIOD_S = 15.0
_REASONS = {
    "Resource": "FailedGetResourceMetric",
    "ContainerResource": "FailedGetContainerResourceMetric",
    "Pods": "FailedGetPodsMetric",
    "Object": "FailedGetObjectMetric",
    "External": "FailedGetExternalMetric",
}


class HorizontalController(Controller):
    name: ClassVar = "horizontal-pod-autoscaler"
    account: ClassVar = "horizontal-pod-autoscaler"
    primary: ClassVar = HORIZONTAL_POD_AUTOSCALERS
    reads: ClassVar = (PODS,)

    def __init__(
        self,
        *,
        transport: Transport,
        cache: Cache,
        clock: Clock,
        entropy: Entropy,
        recorder: Recorder,
        served: Callable[[], Sequence[Resource]],
    ) -> None:
        """`served` gives every resource there is now: whatever has a scale can be scaled."""
        super().__init__(transport=transport, cache=cache, clock=clock, entropy=entropy, recorder=recorder)
        self._served = served
        self._metrics = MetricReader(MetricSource(transport), self._resource_of)
        self._history: dict[Key, History] = {}

    def wants(self, change: Change) -> bool:
        """Its own writes of the status are no reason to look: it would look without pause."""
        old, new = change.old, change.new
        return old is None or new is None or old.get("spec") != new.get("spec")

    async def reconcile(self, key: Key) -> Result:
        autoscaler = self.cache.get(HORIZONTAL_POD_AUTOSCALERS, key)
        if autoscaler is None or is_deleting(autoscaler):
            self._history.pop(key, None)
            return DONE
        outcome = await self._look(autoscaler, key)
        status = status_of(autoscaler, outcome, now=self.clock.now())
        await self.commit([SetStatus(HORIZONTAL_POD_AUTOSCALERS, autoscaler, status)])
        return Result(PERIOD_S)

    async def _look(self, autoscaler: Obj, key: Key) -> Outcome:
        target = autoscaler["spec"]["scaleTargetRef"]
        before = int(field_of(autoscaler, "status", "currentReplicas", default=0))
        wanted = int(field_of(autoscaler, "status", "desiredReplicas", default=0))
        resource = self._resource_of(target)
        try:
            if resource is None or "scale" not in resource.subresources:
                raise NotFound(f"no matches for kind {target.get('kind', '')} with a scale")
            at = Key(key.namespace, target["name"])
            scale = await self.transport.get(resource, at, subresource="scale")
        except ApiError as error:
            self.recorder.event(autoscaler, "Warning", "FailedGetScale", error.message)
            why = f"the HPA controller was unable to get the target's current scale: {error.message}"
            return Outcome(before, wanted, (unable("FailedGetScale", why),))
        got = able("SucceededGetScale", "the HPA controller was able to get the target's current scale")
        current = int(field_of(scale, "spec", "replicas", default=0))
        if self._history.get(key) is None:
            self._history[key] = History().recommended(current, self.clock.monotonic())
        spec = autoscaler["spec"]
        least, most = int(spec.get("minReplicas") or 1), int(spec["maxReplicas"])
        if current == 0 and least:
            why = "scaling is disabled since the replica count of the target is zero"
            return Outcome(current, 0, (got, inactive("ScalingDisabled", why)))
        if current > most:
            return await self._rescale(
                autoscaler, resource, scale, most, "Current number of replicas above Spec.MaxReplicas", (got,), ()
            )
        if current < least:
            return await self._rescale(
                autoscaler, resource, scale, least, "Current number of replicas below Spec.MinReplicas", (got,), ()
            )
        return await self._by_metrics(autoscaler, key, resource, scale, got)

    async def _by_metrics(self, autoscaler: Obj, key: Key, resource: Resource, scale: Obj, got: Obj) -> Outcome:
        current = int(field_of(scale, "spec", "replicas", default=0))
        selector = field_of(scale, "status", "selector", default="")
        try:
            if not selector:
                raise SelectorError("selector is required")
            chosen = parse_selector(selector)
        except SelectorError as error:
            self.recorder.event(autoscaler, "Warning", "SelectorRequired", str(error))
            why = "the HPA target's scale is missing a selector"
            return Outcome(current, current, (got, inactive("InvalidSelector", why)))
        pods = self.cache.list(PODS, namespace=key.namespace, selector=chosen)
        proposals: list[tuple[str, Proposal]] = []
        shown: list[Obj] = []
        failure: Obj | None = None
        for metric in autoscaler["spec"].get("metrics") or ():
            try:
                seen = await self._metrics.read(metric, key.namespace, current, pods, selector, self.clock.now())
            except NoMetrics as error:
                reason = _REASONS.get(metric.get("type", ""), "InvalidMetricSourceType")
                self.recorder.event(autoscaler, "Warning", reason, str(error))
                why = f"the HPA was unable to compute the replica count: {error}"
                failure = failure or inactive(reason, why)
            else:
                proposals.append((seen.name, seen.proposal))
                shown.append(seen.status)
        if failure is not None and (not proposals or highest(proposals)[1].replicas < current):
            # A metric that cannot be read might ask for more: nothing shrinks without it.
            message = f"invalid metrics, first error is: {failure['message']}"
            self.recorder.event(autoscaler, "Warning", "FailedComputeMetricsReplicas", message)
            return Outcome(current, current, (got, failure), tuple(shown))
        name, proposal = highest(proposals)
        now = self.clock.monotonic()
        history = self._history[key].recommended(proposal.replicas, now)
        self._history[key] = history
        decision: Decision = decide_replicas(autoscaler["spec"], current, proposal.replicas, history, now)
        conditions = (got, *conditions_for(decision), active(name))
        if decision.replicas == current:
            return Outcome(current, current, conditions, tuple(shown))
        reason = f"{name} above target" if decision.replicas > current else "All metrics below target"
        return await self._rescale(
            autoscaler, resource, scale, decision.replicas, reason, conditions, tuple(shown)
        )  # fmt: skip

    async def _rescale(
        self,
        autoscaler: Obj,
        resource: Resource,
        scale: Obj,
        replicas: int,
        reason: str,
        conditions: tuple[Obj, ...],
        shown: tuple[Obj, ...],
    ) -> Outcome:
        current = int(field_of(scale, "spec", "replicas", default=0))
        said = f"New size: {replicas}; reason: {reason}"
        try:
            await self.transport.update(
                resource, with_field(scale, ("spec", "replicas"), replicas), subresource="scale"
            )
        except ApiError as error:
            self.recorder.event(autoscaler, "Warning", "FailedRescale", f"{said}; error: {error.message}")
            why = f"the HPA controller was unable to update the target scale: {error.message}"
            return Outcome(current, current, (*conditions, unable("FailedUpdateScale", why)), shown)
        self.recorder.event(autoscaler, "Normal", "SuccessfulRescale", said)
        key = Key(autoscaler["metadata"]["namespace"], autoscaler["metadata"]["name"])
        self._history[key] = self._history[key].changed(replicas - current, self.clock.monotonic())
        why = f"the HPA controller was able to update the target scale to {replicas}"
        return Outcome(current, replicas, (*conditions, able("SucceededRescale", why)), shown, rescaled=True)

    def _resource_of(self, reference: Any) -> Resource | None:
        """What an object reference's group and kind are served as; any version of it will do."""
        group = str(reference.get("apiVersion", "")).rpartition("/")[0]
        return next((one for one in self._served() if (one.group, one.kind) == (group, reference.get("kind"))), None)
