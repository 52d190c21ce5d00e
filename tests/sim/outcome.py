"""What a world came to, without what chance and time decide: for comparing a run with faults to one without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from cluster.kubelet.identity import CONTAINER_NAME
from cluster.machinery.objects import Obj, field_of
from tests.sim.world import World

COUNTED = ("configmaps", "deployments", "replicasets", "pods", "services", "endpointslices")
"""Kinds of which a fault must cause no more and no fewer creations and deletions."""

_CHANCE = frozenset(
    (
        *("uid", "resourceVersion", "creationTimestamp", "managedFields", "name", "generateName", "ownerReferences"),
        *("lastTransitionTime", "lastUpdateTime", "observedGeneration", "generation", "labels", "nodeName", "nodePort"),
        *("clusterIP", "clusterIPs", "addresses", "ip", "targetRef", "deployment.kubernetes.io/revision"),
        "endpoints.kubernetes.io/last-change-trigger-time",
    )
)
"""Field names whose values are chosen by chance, by time or by how often something was written."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`objects` by kind, each as its declared and observed state; `made` and `removed` per kind; containers by name."""

    objects: Mapping[str, Counter[str]]
    made: Mapping[str, int]
    removed: Mapping[str, int]
    containers: Counter[str]


def outcome_of(world: World) -> Outcome:
    return Outcome(
        objects={kind: Counter(shape_of(obj) for obj in world.view.all(kind).values()) for kind in COUNTED},
        made={kind: world.creates[kind] for kind in COUNTED},
        removed={kind: world.deletes[kind] for kind in COUNTED},
        containers=Counter(
            f"{container.labels[CONTAINER_NAME]} of {container.image}"
            for _, container in world.view.containers()
            if CONTAINER_NAME in container.labels
        ),
    )


def shape_of(obj: Obj) -> str:
    if obj.get("kind") == "Pod":
        # Restart counts and messages of earlier attempts are history, not state.
        conditions = {c["type"]: c["status"] for c in field_of(obj, "status", "conditions", default=())}
        images = [container["image"] for container in field_of(obj, "spec", "containers", default=())]
        return orjson.dumps([images, conditions, field_of(obj, "status", "phase", default="")]).decode()
    return orjson.dumps(_without_chance(obj), option=orjson.OPT_SORT_KEYS).decode()


def _without_chance(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_chance(each) for name, each in value.items() if name not in _CHANCE}
    if isinstance(value, list):
        return [_without_chance(each) for each in value]
    return value
