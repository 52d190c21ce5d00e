"""Nodes that have the pod's images start it sooner.  Upstream: plugins/imagelocality."""

from __future__ import annotations

from typing import ClassVar

from cluster.machinery.objects import field_of
from cluster.scheduler.framework import SCORE_MAX
from cluster.scheduler.requests import PodInfo
from cluster.scheduler.snapshot import NodeInfo

_MIB = 1024 * 1024
SMALL_BYTES = 23 * _MIB
LARGE_BYTES = 1000 * _MIB
"""Images below SMALL_BYTES gain nothing; LARGE_BYTES per container give the full score."""


class ImageLocality:
    name: ClassVar = "ImageLocality"
    weight: ClassVar = 1

    def score(self, pod: PodInfo, node: NodeInfo) -> int:
        wanted = [_normalized(c.get("image", "")) for c in field_of(pod.pod, "spec", "containers", default=())]
        if not wanted:
            return 0
        sizes = {
            _normalized(name): int(image.get("sizeBytes") or 0)
            for image in field_of(node.node, "status", "images", default=())
            for name in image.get("names") or ()
        }
        present = sum(sizes.get(image, 0) for image in wanted)
        most = LARGE_BYTES * len(wanted)
        return SCORE_MAX * (min(max(present, SMALL_BYTES), most) - SMALL_BYTES) // (most - SMALL_BYTES)


def _normalized(image: str) -> str:
    """The name with its tag; `latest` is implied."""
    return image if ":" in image.rpartition("/")[2] else f"{image}:latest"
