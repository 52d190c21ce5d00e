"""Two pods cannot hold one host port.  Upstream: plugins/nodeports."""

from __future__ import annotations

from typing import ClassVar

from cluster.scheduler.framework import Reject, Verdict, Wake
from cluster.scheduler.requests import PodInfo
from cluster.scheduler.snapshot import NodeInfo


class NodePorts:
    name: ClassVar = "NodePorts"
    wakes_on: ClassVar = frozenset({Wake.NODE_ADDED, Wake.POD_DELETED})

    def filter(self, pod: PodInfo, node: NodeInfo) -> Verdict:
        if any(wanted.conflicts(held) for wanted in pod.host_ports for held in node.host_ports):
            return Reject(("node(s) didn't have free ports for the requested pod ports",))
        return None
