"""Which plugins decide about a pod, with what weights: one profile a schedulerName.  Pure.

Upstream: KubeSchedulerProfile; the default profile is upstream's default configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.scheduler.framework import Filter, Relation, Scorer
from cluster.scheduler.plugins.image_locality import ImageLocality
from cluster.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from cluster.scheduler.plugins.node_affinity import NodeAffinity
from cluster.scheduler.plugins.node_name import NodeName
from cluster.scheduler.plugins.node_ports import NodePorts
from cluster.scheduler.plugins.node_resources import NodeResourcesBalanced, NodeResourcesFit
from cluster.scheduler.plugins.pod_topology_spread import PodTopologySpread
from cluster.scheduler.plugins.taints import NodeUnschedulable, TaintToleration

DEFAULT_SCHEDULER = "default-scheduler"


@dataclass(frozen=True, slots=True)
class Profile:
    """Filters in the order they are asked; scorers and relations with weights, by plugin name."""

    name: str
    filters: tuple[Filter, ...]
    scorers: tuple[Scorer, ...]
    relations: tuple[Relation, ...]
    weights: Mapping[str, int]


def default_profile(name: str = DEFAULT_SCHEDULER, *, volumes: Sequence[Relation] = ()) -> Profile:
    """`volumes` are the relations that read claims: they need a view on them."""
    affinity, taints, fit = NodeAffinity(), TaintToleration(), NodeResourcesFit()
    scorers: tuple[Scorer, ...] = (taints, affinity, fit, NodeResourcesBalanced(), ImageLocality())
    relations: tuple[Relation, ...] = (*volumes, PodTopologySpread(), InterPodAffinity())
    return Profile(
        name=name,
        filters=(NodeUnschedulable(), NodeName(), taints, affinity, NodePorts(), fit),
        scorers=scorers,
        relations=relations,
        weights={scorer.name: scorer.weight for scorer in scorers}
        | {relation.name: relation.weight for relation in relations},
    )
