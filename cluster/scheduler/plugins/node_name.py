"""A pod that names its node runs there or nowhere.  Upstream: plugins/nodename."""

from __future__ import annotations

from typing import ClassVar

from cluster.machinery.objects import field_of
from cluster.scheduler.framework import Reject, Verdict, Wake
from cluster.scheduler.requests import PodInfo
from cluster.scheduler.snapshot import NodeInfo


class NodeName:
    name: ClassVar = "NodeName"
    wakes_on: ClassVar = frozenset({Wake.NODE_ADDED})

    def filter(self, pod: PodInfo, node: NodeInfo) -> Verdict:
        wanted = field_of(pod.pod, "spec", "nodeName", default="")
        if wanted and wanted != node.name:
            return Reject(("node(s) didn't match the requested node name",), final=True)
        return None
