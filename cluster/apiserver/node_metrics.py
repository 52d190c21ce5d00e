"""`metrics.k8s.io`: what nodes and pods use now, asked of the nodes' agents when somebody reads it.

A node that does not answer in time has no metrics, as upstream's metrics-server has none of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from cluster.apiserver.backend import Backend
from cluster.apiserver.call import Call, Result, RowResult, RowsResult
from cluster.apiserver.selection import selection_of
from cluster.apiserver.state import Row
from cluster.apiserver.view import ObjView
from cluster.client.node_stats import NodeStats, Use
from cluster.machinery.errors import not_found
from cluster.machinery.objects import Key, Obj, key_of, labels_of, meta_of, name_of, uid_of
from cluster.machinery.quantity import Format, Quantity
from cluster.resources.builtin import NODES, PODS
from cluster.resources.metrics import NODE_METRICS, POD_METRICS


async def get_node_metrics(backend: Backend, call: Call) -> Result:
    node = ObjView(backend.state, backend.catalog).get(NODES, call.key)
    rows = await _node_rows(backend, [node] if node is not None else [])
    return RowResult(_only(rows, call))


async def list_node_metrics(backend: Backend, call: Call) -> Result:
    chosen = _chosen(call, ObjView(backend.state, backend.catalog).list(NODES))
    return RowsResult(await _node_rows(backend, chosen), backend.state.revision)


async def get_pod_metrics(backend: Backend, call: Call) -> Result:
    pod = ObjView(backend.state, backend.catalog).get(PODS, call.key)
    rows = await _pod_rows(backend, [pod] if pod is not None else [])
    return RowResult(_only(rows, call))


async def list_pod_metrics(backend: Backend, call: Call) -> Result:
    view = ObjView(backend.state, backend.catalog)
    chosen = _chosen(call, view.list(PODS, namespace=call.route.namespace))
    return RowsResult(await _pod_rows(backend, chosen), backend.state.revision)


def _only(rows: Sequence[Row], call: Call) -> Row:
    if not rows:
        resource = call.descriptor.resource
        raise not_found(resource.group, resource.plural, call.key.name)
    return rows[0]


def _chosen(call: Call, objs: Sequence[Obj]) -> list[Obj]:
    selection = selection_of(call)
    selectable = call.descriptor.selectable
    return [
        obj
        for obj in objs
        if selection.labels.matches(labels_of(obj))
        and all((selectable[field.path](obj) == field.value) != field.negated for field in selection.fields)
    ]


async def _node_rows(backend: Backend, nodes: Sequence[Obj]) -> list[Row]:
    stats = await backend.node_stats.of([name_of(node) for node in nodes])
    rows: list[Row] = []
    for node in nodes:
        if (found := stats.get(name_of(node))) is not None:
            body = _sample(NODE_METRICS.kind, node, found) | {"usage": _usage(found.node)}
            rows.append(_row(body))
    return rows


async def _pod_rows(backend: Backend, pods: Sequence[Obj]) -> list[Row]:
    """Of the pods that run: a pod's containers are taken from its own node only."""
    nodes = sorted({node for pod in pods if (node := _node_of(pod))})
    stats = await backend.node_stats.of(nodes)
    uses: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for node, found in stats.items():
        for one in found.containers:
            uses.setdefault((node, one.uid), []).append({"name": one.container, "usage": _usage(one.use)})
    rows: list[Row] = []
    for pod in pods:
        node = _node_of(pod)
        if containers := uses.get((node, uid_of(pod))):
            rows.append(_row(_sample(POD_METRICS.kind, pod, stats[node]) | {"containers": containers}))
    return rows


def _node_of(pod: Obj) -> str:
    return str((pod.get("spec") or {}).get("nodeName") or "")


def _sample(kind: str, obj: Obj, stats: NodeStats) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": name_of(obj), "creationTimestamp": stats.at}
    if namespace := key_of(obj).namespace:
        meta["namespace"] = namespace
    if labels_of(obj):
        meta["labels"] = dict(labels_of(obj))
    return {
        "kind": kind,
        "apiVersion": NODE_METRICS.api_version,
        "metadata": meta,
        "timestamp": stats.at,
        "window": f"{stats.window_ms / 1000:g}s",
    }


def _usage(use: Use) -> dict[str, str]:
    memory = Quantity(use.memory_bytes // 1024 * 1024 * 10**9, Format.BINARY)
    return {"cpu": f"{use.cpu_nanocores}n", "memory": str(memory)}


def _row(body: Obj) -> Row:
    key = Key(str(meta_of(body).get("namespace", "")), name_of(body))
    return Row(key, "", orjson.dumps(body), 0, body)
