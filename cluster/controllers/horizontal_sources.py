"""Where an autoscaler's metrics come from: the resource, custom and external metrics APIs, read as its own identity.

Upstream: pkg/controller/podautoscaler/metrics/client.go.  Only metrics.k8s.io is served here; the other two are asked for
wherever an APIService says.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from cluster.client.transport import Query, Transport
from cluster.controllers.horizontal_replicas import Measure, NoMetrics
from cluster.controllers.instants import instant_of
from cluster.machinery.errors import ApiError
from cluster.machinery.objects import Obj, field_of, name_of
from cluster.machinery.quantity import QuantityError, parse_quantity
from cluster.machinery.resource import Resource
from cluster.machinery.selectors import SelectorError, selector_of
from cluster.resources.metrics import POD_METRICS

CUSTOM = "/apis/custom.metrics.k8s.io/v1beta2"
EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1"


class MetricSource:
    """Every method raises NoMetrics."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def resource(self, name: str, namespace: str, selector: str, *, container: str = "") -> dict[str, Measure]:
        """What pods use of cpu or memory, by pod; of one `container` each, or of all together."""
        try:
            found = await self._transport.list(POD_METRICS, Query(namespace=namespace, label_selector=selector))
        except ApiError as error:
            raise NoMetrics(f"unable to fetch metrics from resource metrics API: {error.message}") from error
        measures: dict[str, Measure] = {}
        for item in found.items:
            parts = [one for one in item.get("containers") or () if not container or one.get("name") == container]
            amounts = [field_of(one, "usage", name) for one in parts]
            at = instant_of(item.get("timestamp"))
            # A pod of which any part is unknown is unknown.
            if amounts and all(amount is not None for amount in amounts) and at is not None:
                window = timedelta(seconds=_seconds(item.get("window", "")))
                measures[name_of(item)] = Measure(sum(map(_milli, amounts)), at, window)
        return measures

    async def pods(self, metric: Obj, namespace: str, selector: str) -> dict[str, Measure]:
        """A custom metric of each pod."""
        path = f"{CUSTOM}/namespaces/{quote(namespace)}/pods/{quote('*')}/{quote(metric['name'], safe='')}"
        items = await self._items(path, {"labelSelector": selector, **_metric_selector(metric, "metricLabelSelector")})
        return {
            str(field_of(item, "describedObject", "name", default="")): Measure(_milli(item.get("value")), at)
            for item in items
            if (at := instant_of(item.get("timestamp"))) is not None
        }

    async def object(self, metric: Obj, namespace: str, name: str, resource: Resource) -> int:
        """A custom metric of one object, in thousandths."""
        where = f"namespaces/{quote(namespace)}/" if resource.namespaced else ""
        path = f"{CUSTOM}/{where}{resource.qualified_name}/{quote(name, safe='')}/{quote(metric['name'], safe='')}"
        items = await self._items(path, _metric_selector(metric, "metricLabelSelector"))
        if not items:
            raise NoMetrics(f"no value of metric {metric['name']}")
        return _milli(items[0].get("value"))

    async def external(self, metric: Obj, namespace: str) -> int:
        """All series of an external metric together, in thousandths."""
        path = f"{EXTERNAL}/namespaces/{quote(namespace)}/{quote(metric['name'], safe='')}"
        items = await self._items(path, _metric_selector(metric, "labelSelector"))
        if not items:
            raise NoMetrics(f"no metrics returned from external metrics API for {metric['name']}")
        return sum(_milli(item.get("value")) for item in items)

    async def _items(self, path: str, query: dict[str, str]) -> list[dict[str, Any]]:
        try:
            answer = await self._transport.raw("GET", f"{path}?{urlencode(query)}" if query else path)
            items = orjson.loads(answer.body).get("items") or []
        except ApiError as error:
            raise NoMetrics(f"unable to fetch metrics: {error.message}") from error
        except (orjson.JSONDecodeError, AttributeError) as error:
            raise NoMetrics("the metrics API answered something that is no list") from error
        return [item for item in items if isinstance(item, dict)]


def _metric_selector(metric: Obj, parameter: str) -> dict[str, str]:
    if metric.get("selector") is None:
        return {}
    try:
        return {parameter: str(selector_of(metric["selector"]))}
    except SelectorError as error:
        raise NoMetrics(f"invalid metric selector: {error}") from error


def _milli(text: Any) -> int:
    try:
        return parse_quantity(text).millis
    except (QuantityError, TypeError) as error:
        raise NoMetrics("a metric's value is no quantity") from error


def _seconds(text: str) -> float:
    """A duration as metrics-server writes windows: `15s`, `1m0s`."""
    minutes, _, seconds = text.rpartition("m")
    try:
        return float(minutes or 0) * 60 + float(seconds.removesuffix("s") or 0)
    except ValueError:
        return 60.0
