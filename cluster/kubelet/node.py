"""The Node object: what this host is, what it has, how it fares; and the Lease that says it lives.

`node_status` is pure; `NodeReporter` writes when something changed, at the latest every five minutes.
Upstream: pkg/kubelet/nodestatus, pkg/kubelet/kubelet_node_status.go.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from loguru import logger

from cluster.base.clock import Clock
from cluster.client.lease import Heartbeat
from cluster.client.transport import Patch, PatchType, Transport
from cluster.kubelet.pressure import Pressure
from cluster.kubelet.runtime.api import EngineInfo
from cluster.kubelet.settings import KUBELET_VERSION, KubeletSettings
from cluster.machinery.errors import AlreadyExists, ApiError, NotFound
from cluster.machinery.objects import Key, Obj, labels_of, uid_of
from cluster.machinery.timestamps import format_time
from cluster.resources.builtin import NODES

BEAT_S = 10.0
REPORT_MAX_S = 300.0
LEASE_NAMESPACE = "kube-node-lease"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class NodeState:
    """What a status is made of; `info` is None while the engine does not answer."""

    info: EngineInfo | None
    address: str
    pressure: Pressure
    disk_bytes: int = 0
    machine_id: str = ""
    boot_id: str = ""


def default_address() -> str:
    """The source address of the default route; loopback where there is none.  Sends nothing: a UDP connect only routes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def node_object(settings: KubeletSettings, info: EngineInfo | None) -> dict[str, Any]:
    """The Node as it is first registered."""
    spec: dict[str, Any] = {}
    if settings.pod_cidr:
        spec |= {"podCIDR": settings.pod_cidr, "podCIDRs": [settings.pod_cidr]}
    if settings.taints:
        spec["taints"] = [dict(taint) for taint in settings.taints]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": settings.node_name, "labels": node_labels(settings, info)},
        "spec": spec,
    }


def node_labels(settings: KubeletSettings, info: EngineInfo | None) -> dict[str, str]:
    labels = {
        "kubernetes.io/hostname": settings.node_name,
        "kubernetes.io/os": "linux",
        "beta.kubernetes.io/os": "linux",
    }
    if info is not None:
        architecture = _ARCHITECTURES.get(info.architecture, info.architecture)
        labels |= {"kubernetes.io/arch": architecture, "beta.kubernetes.io/arch": architecture}
    return labels | settings.labels


def node_status(settings: KubeletSettings, state: NodeState, old: Obj, now: datetime) -> dict[str, Any]:
    """The status to report; transition times of unchanged conditions are kept from `old`."""
    status: dict[str, Any] = {
        "addresses": [
            {"type": "InternalIP", "address": state.address},
            {"type": "Hostname", "address": settings.node_name},
        ],
        "conditions": _conditions(state, old, now),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
    }
    if state.info is None:
        return status
    info = state.info
    cpu = info.cpu_count * 1000
    capacity = {
        "cpu": str(info.cpu_count),
        "memory": f"{info.memory_bytes // 1024}Ki",
        "pods": str(settings.pods_max),
        "ephemeral-storage": f"{state.disk_bytes // 1024}Ki",
    }
    allocatable = {
        **capacity,
        "cpu": f"{max(0, cpu - settings.reserved_cpu_millicores)}m",
        "memory": f"{max(0, info.memory_bytes - settings.reserved_memory_bytes) // 1024}Ki",
        "ephemeral-storage": str(state.disk_bytes * 9 // 10),
    }
    if not settings.reserved_cpu_millicores:
        allocatable["cpu"] = capacity["cpu"]
    return status | {
        "capacity": capacity,
        "allocatable": allocatable,
        "nodeInfo": {
            "machineID": state.machine_id,
            "systemUUID": state.machine_id,
            "bootID": state.boot_id,
            "kernelVersion": info.kernel,
            "osImage": info.operating_system,
            "containerRuntimeVersion": f"{info.name}://{info.version}",
            "kubeletVersion": KUBELET_VERSION,
            "kubeProxyVersion": KUBELET_VERSION,
            "operatingSystem": "linux",
            "architecture": _ARCHITECTURES.get(info.architecture, info.architecture),
        },
    }


def _conditions(state: NodeState, old: Obj, now: datetime) -> list[dict[str, Any]]:
    pressure = state.pressure
    said = [
        ("MemoryPressure", pressure.memory, "KubeletHasInsufficientMemory", "KubeletHasSufficientMemory", "memory"),
        ("DiskPressure", pressure.disk, "KubeletHasDiskPressure", "KubeletHasNoDiskPressure", "disk space"),
        ("PIDPressure", pressure.pids, "KubeletHasInsufficientPID", "KubeletHasSufficientPID", "process ids"),
    ]
    rows = [
        (kind, bad, reason if bad else fine, f"kubelet {'lacks' if bad else 'has enough'} {what}")
        for kind, bad, reason, fine, what in said
    ]
    ready = state.info is not None
    rows.append(
        (
            "Ready",
            ready,
            "KubeletReady" if ready else "KubeletNotReady",
            "kubelet is posting ready status" if ready else "container runtime is down",
        )
    )
    known = {condition["type"]: condition for condition in old.get("conditions") or ()}
    made: list[dict[str, Any]] = []
    for kind, true, reason, message in rows:
        status = "True" if true else "False"
        before = known.get(kind)
        changed_at = format_time(now)
        if before is not None and before.get("status") == status:
            changed_at = str(before.get("lastTransitionTime") or changed_at)
        made.append(
            {
                "type": kind,
                "status": status,
                "lastHeartbeatTime": format_time(now),
                "lastTransitionTime": changed_at,
                "reason": reason,
                "message": message,
            }
        )
    return made


def host_identity() -> tuple[str, str]:
    """The machine id and the boot id; empty where the host has none."""
    return _first_line(Path("/etc/machine-id")), _first_line(Path("/proc/sys/kernel/random/boot_id"))


def _first_line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


class NodeReporter:
    """Registers the Node, reports its status, renews its Lease."""

    def __init__(
        self,
        *,
        settings: KubeletSettings,
        transport: Transport,
        clock: Clock,
        look: Callable[[], NodeState],
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._clock = clock
        self._look = look
        self._registered = False
        self._report_at = 0.0
        self._heartbeat: Heartbeat | None = None
        self._beating = asyncio.Lock()

    async def beat(self) -> None:
        """Once: the Lease, and the status when the API has another or it is five minutes old.  Raises ApiError."""
        async with self._beating:
            await self._beat()

    async def _beat(self) -> None:
        state = self._look()
        node = await self._node(state)
        if self._heartbeat is None:
            owner = {
                "apiVersion": "v1",
                "kind": "Node",
                "name": self._settings.node_name,
                "uid": uid_of(node),
            }
            self._heartbeat = Heartbeat(
                self._transport, self._clock, key=Key(LEASE_NAMESPACE, self._settings.node_name), owner=owner
            )
        await self._report(state, node)
        await self._heartbeat.beat()

    async def run(self) -> None:
        """Beat every BEAT_S until cancelled; an API that is away is tried again at the next beat."""
        while True:
            try:
                await self.beat()
            except ApiError as error:
                logger.warning("node status not reported", node=self._settings.node_name, reason=error.message)
            await self._clock.sleep(BEAT_S)

    @property
    def _key(self) -> Key:
        return Key("", self._settings.node_name)

    async def _node(self, state: NodeState) -> Obj:
        """The Node as the API has it: others write it too, and call a node unknown that was cut off for a while."""
        if self._registered:
            try:
                return await self._transport.get(NODES, self._key)
            except NotFound:
                # Someone deleted the Node, with what named it as its owner.
                self._heartbeat = None
        node = await self._register(state)
        self._registered = True
        return node

    async def _register(self, state: NodeState) -> Obj:
        wanted = node_object(self._settings, state.info)
        # With its status at once: a node without capacity would be tried, and told of, by the scheduler.
        wanted["status"] = node_status(self._settings, state, {}, self._clock.now())
        try:
            node = await self._transport.create(NODES, wanted)
        except AlreadyExists:
            node = await self._transport.get(NODES, self._key)
            labels = wanted["metadata"]["labels"]
            if any(labels_of(node).get(name) != value for name, value in labels.items()):
                patch = {"metadata": {"labels": labels}}
                node = await self._transport.patch(NODES, self._key, Patch(PatchType.MERGE, patch))
        else:
            logger.info("node registered", node=self._settings.node_name)
        return node

    async def _report(self, state: NodeState, node: Obj) -> None:
        now = self._clock.monotonic()
        old: Obj = node.get("status") or {}
        status = node_status(self._settings, state, old, self._clock.now())
        if now < self._report_at and _is_told(status, old):
            return
        await self._transport.patch(NODES, self._key, Patch(PatchType.MERGE, {"status": status}), subresource="status")
        self._report_at = now + REPORT_MAX_S


def _is_told(status: dict[str, Any], old: Obj) -> bool:
    """`old` says everything that `status` does, whenever it said so."""
    known = {condition["type"]: condition for condition in old.get("conditions") or ()}
    same = all(old.get(name) == value for name, value in status.items() if name != "conditions")
    return same and all(_quiet(each) == _quiet(known.get(each["type"], {})) for each in status["conditions"])


def _quiet(condition: Obj) -> Obj:
    """`condition` without what changes at every look."""
    return {name: value for name, value in condition.items() if name != "lastHeartbeatTime"}
