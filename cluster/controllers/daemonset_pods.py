"""Where a DaemonSet's pods belong, and what one made for a node looks like.

Pure.  Upstream: pkg/controller/daemon/{daemon_controller,util/daemonset_util}.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.controllers.history import POD_REVISION
from cluster.controllers.pods import pod_from_template
from cluster.machinery.objects import Obj, annotations_of, field_of, labels_of, meta_of, name_of, with_field
from cluster.resources.apps_daemon_set import TEMPLATE_GENERATION
from cluster.resources.node_selection import selects_node
from cluster.resources.taints import tolerates

GENERATION_LABEL = "pod-template-generation"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a node gets a daemon pod, and whether one that is there may stay."""

    should_run: bool
    should_stay: bool


def fit_of(daemon: Obj, node: Obj) -> Fit:
    """By the template's node name, selector, affinity and tolerations; room on the node is the scheduler's to judge."""
    spec = daemon["spec"]["template"]["spec"]
    named = spec.get("nodeName")
    if named and named != name_of(node):
        return Fit(should_run=False, should_stay=False)
    if not selects_node(spec, labels=labels_of(node), name=name_of(node)):
        return Fit(should_run=False, should_stay=False)
    tolerations = tolerations_of(spec)
    untolerated = {
        taint.get("effect")
        for taint in field_of(node, "spec", "taints", default=())
        if not tolerates(tolerations, taint)
    }
    return Fit(should_run=not untolerated & {"NoSchedule", "NoExecute"}, should_stay="NoExecute" not in untolerated)


def tolerations_of(pod_spec: Obj) -> Sequence[Obj]:
    """The template's own, and those that keep a daemon on a node that is unwell or cordoned."""
    wanted = list(_TOLERATED)
    if pod_spec.get("hostNetwork"):
        wanted.append(("node.kubernetes.io/network-unavailable", "NoSchedule"))
    own: Sequence[Obj] = pod_spec.get("tolerations") or ()
    added = ({"key": key, "operator": "Exists", "effect": effect} for key, effect in wanted)
    return [*own, *(toleration for toleration in added if toleration not in own)]


def daemon_pod(daemon: Obj, node: str, *, hash_: str) -> dict[str, Any]:
    """The pod for `node`: the scheduler binds it, held there by a node affinity."""
    pod = pod_from_template(daemon)
    labels = {**labels_of(pod), POD_REVISION: hash_}
    if generation := annotations_of(daemon).get(TEMPLATE_GENERATION):
        labels[GENERATION_LABEL] = generation
    pod["metadata"] = {**pod["metadata"], "labels": labels}
    only = {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]}
    spec = with_field(pod["spec"], ["affinity", "nodeAffinity", _REQUIRED], only)
    return {**pod, "spec": {**spec, "tolerations": tolerations_of(pod["spec"])}}


def node_of(pod: Obj) -> str:
    """The node it is on, or is made for; empty for a pod that names none."""
    if bound := field_of(pod, "spec", "nodeName", default=""):
        return str(bound)
    for term in field_of(pod, "spec", "affinity", "nodeAffinity", _REQUIRED, "nodeSelectorTerms", default=()):
        for expression in term.get("matchFields") or ():
            if expression.get("key") == "metadata.name" and expression.get("operator") == "In":
                values: Sequence[str] = expression.get("values") or ()
                if len(values) == 1:
                    return str(values[0])
    return ""


def by_node(pods: Sequence[Obj]) -> Mapping[str, Sequence[Obj]]:
    """Pods by their node, nodes sorted; on each the bound before the unbound, the oldest first."""
    found: dict[str, list[Obj]] = {}
    for pod in pods:
        found.setdefault(node_of(pod), []).append(pod)
    return {node: sorted(found[node], key=_seniority) for node in sorted(found)}


def _seniority(pod: Obj) -> tuple[bool, str, str]:
    bound = bool(field_of(pod, "spec", "nodeName", default=""))
    return not bound, str(meta_of(pod).get("creationTimestamp", "")), name_of(pod)
