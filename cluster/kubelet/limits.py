"""From cpu and memory quantities to what the engine takes.  Pure.  Upstream: pkg/kubelet/cm/helpers_linux.go."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.kubelet.podspec import qos_class_of
from cluster.machinery.objects import Obj
from cluster.machinery.quantity import bytes_of, millicores_of

MIN_SHARES = 2
MAX_SHARES = 262_144
MIN_QUOTA_US = 1000
PERIOD_US = 100_000


@dataclass(frozen=True, slots=True)
class Limits:
    """`cpu_quota_us` is per PERIOD_US; 0 in either limit is none.  `oom_score_adj` ranks who dies first."""

    cpu_shares: int
    cpu_quota_us: int
    memory_bytes: int
    oom_score_adj: int


def limits_of(pod: Obj, container: Obj, *, node_memory_bytes: int) -> Limits:
    """The limits of one container of `pod`.  Raises QuantityError."""
    resources = container.get("resources") or {}
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    cpu_request = millicores_of(requests.get("cpu", limits.get("cpu", 0)))
    cpu_limit = millicores_of(limits.get("cpu", 0))
    memory_request = bytes_of(requests.get("memory", limits.get("memory", 0)))
    return Limits(
        cpu_shares=min(MAX_SHARES, max(MIN_SHARES, cpu_request * 1024 // 1000)),
        cpu_quota_us=max(MIN_QUOTA_US, cpu_limit * PERIOD_US // 1000) if cpu_limit else 0,
        memory_bytes=bytes_of(limits.get("memory", 0)),
        oom_score_adj=_oom_score_adj(qos_class_of(pod), memory_request, node_memory_bytes),
    )


def _oom_score_adj(qos: str, memory_request: int, node_memory_bytes: int) -> int:
    """Upstream's qos.GetContainerOOMScoreAdjust, but Guaranteed is 0: a negative value needs CAP_SYS_RESOURCE."""
    if qos == "Guaranteed":
        return 0
    if qos == "BestEffort" or node_memory_bytes <= 0:
        return 1000
    return max(3, min(999, 1000 - 1000 * memory_request // node_memory_bytes))
