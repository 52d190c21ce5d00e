"""The kubelet's settings: values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cluster.kubelet.security import PodPolicy

KUBELET_VERSION = "v1.33.0"


@dataclass(frozen=True, slots=True)
class KubeletSettings:
    """What the host's configuration says.  `node_ip` empty: the source address of the default route.

    `reserved_*` is kept from pods; `orphan_quarantine_s` is how long containers of a pod that this agent has never seen in
    the API are left running (an API restored from an older backup must not kill what it has forgotten).
    """

    node_name: str
    root_dir: Path
    node_ip: str = ""
    cluster_dns: tuple[str, ...] = ("10.96.0.10",)
    cluster_domain: str = "cluster.local"
    pod_cidr: str = ""
    policy: PodPolicy = field(default_factory=PodPolicy)
    labels: dict[str, str] = field(default_factory=dict)
    taints: tuple[dict[str, str], ...] = ()
    pods_max: int = 110
    reserved_cpu_millicores: int = 0
    reserved_memory_bytes: int = 0
    resolv_conf: Path = Path("/etc/resolv.conf")
    hosts_file: Path = Path("/etc/hosts")
    orphan_quarantine_s: float = 600.0
    starts_per_core: int = 2
