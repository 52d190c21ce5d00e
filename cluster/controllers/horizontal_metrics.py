"""One metric of an autoscaler: fetched from its source, reckoned into a number of replicas.

Upstream: pkg/controller/podautoscaler/horizontal.go computeReplicasForMetric.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cluster.controllers.horizontal_replicas import (
    NoMetrics,
    Proposal,
    replicas_for_average,
    replicas_for_share,
    replicas_for_utilization,
    replicas_for_value,
)
from cluster.controllers.horizontal_sources import MetricSource
from cluster.controllers.horizontal_status import metric_status
from cluster.machinery.objects import Obj
from cluster.machinery.quantity import parse_quantity
from cluster.machinery.resource import Resource


@dataclass(frozen=True, slots=True)
class Seen:
    """`name` as events and conditions call the metric."""

    name: str
    proposal: Proposal
    status: Obj


class MetricReader:
    def __init__(self, source: MetricSource, resource_of: Callable[[Obj], Resource | None]) -> None:
        self._source = source
        self._resource_of = resource_of

    async def read(
        self, metric: Obj, namespace: str, current: int, pods: Sequence[Obj], selector: str, now: datetime
    ) -> Seen:
        """Raises NoMetrics."""
        match metric.get("type"):
            case "Resource":
                return await self._resource(metric, "resource", namespace, current, pods, selector, now)
            case "ContainerResource":
                return await self._resource(metric, "containerResource", namespace, current, pods, selector, now)
            case "Pods":
                source = metric["pods"]
                measures = await self._source.pods(source["metric"], namespace, selector)
                target = _milli(source, "averageValue")
                proposal = replicas_for_average(target, current, pods, measures, now=now)
                name = f"pods metric {source['metric']['name']}"
                return Seen(name, proposal, metric_status(metric, "pods", proposal, "averageValue"))
            case "Object":
                return await self._object(metric, namespace, current, pods)
            case "External":
                source = metric["external"]
                value = await self._source.external(source["metric"], namespace)
                seen = _of_one_value(value, source, current, pods)
                name = f"external metric {source['metric']['name']}"
                return Seen(name, seen.proposal, metric_status(metric, "external", seen.proposal, seen.shown))
            case unknown:
                raise NoMetrics(f'unknown metric source type "{unknown}"')

    async def _resource(
        self, metric: Obj, field: str, namespace: str, current: int, pods: Sequence[Obj], selector: str, now: datetime
    ) -> Seen:
        source, container = metric[field], metric[field].get("container", "")
        resource = source["name"]
        measures = await self._source.resource(resource, namespace, selector, container=container)
        if source["target"].get("averageValue") is not None:
            target = _milli(source, "averageValue")
            proposal = replicas_for_average(target, current, pods, measures, resource=resource, now=now)
            name = f"{resource} {'container ' if container else ''}resource"
        else:
            percent = int(source["target"].get("averageUtilization") or 0)
            if percent <= 0:
                raise NoMetrics("invalid resource metric source: neither an average utilization nor an average value")
            proposal = replicas_for_utilization(
                resource, percent, current, pods, measures, container=container, now=now
            )
            kind = "container resource" if container else "resource"
            name = f"{resource} {kind} utilization (percentage of request)"
        return Seen(name, proposal, metric_status(metric, field, proposal, "averageValue"))

    async def _object(self, metric: Obj, namespace: str, current: int, pods: Sequence[Obj]) -> Seen:
        source = metric["object"]
        described = source["describedObject"]
        resource = self._resource_of(described)
        if resource is None:
            raise NoMetrics(f"no matches for kind {described.get('kind', '')}")
        value = await self._source.object(source["metric"], namespace, described["name"], resource)
        seen = _of_one_value(value, source, current, pods)
        name = f"{described['kind']} metric {source['metric']['name']}"
        return Seen(name, seen.proposal, metric_status(metric, "object", seen.proposal, seen.shown))


@dataclass(frozen=True, slots=True)
class _OfOneValue:
    proposal: Proposal
    shown: str


def _of_one_value(value: int, source: Obj, current: int, pods: Sequence[Obj]) -> _OfOneValue:
    if source["target"].get("averageValue") is not None:
        return _OfOneValue(replicas_for_share(value, _milli(source, "averageValue"), current), "averageValue")
    return _OfOneValue(replicas_for_value(value, _milli(source, "value"), current, pods), "value")


def _milli(source: Obj, field: str) -> int:
    amount: Any = source["target"].get(field)
    if amount is None or (milli := parse_quantity(amount).millis) <= 0:
        raise NoMetrics(f"the metric's target has no positive {field}")
    return milli
