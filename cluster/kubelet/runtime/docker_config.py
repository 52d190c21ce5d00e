"""From a ContainerSpec to the Engine API's container configuration: the one place that decides what Docker is asked for.

Everything is named here one by one; nothing is passed through.  Pure.  Source: Docker Engine API, ContainerCreate.
"""

from __future__ import annotations

from typing import Any

from cluster.kubelet.runtime.api import ContainerSpec

MANAGED = "io.reconciler.managed"
"""Its value is the cluster id: containers that carry it are ours, all others are never touched."""
HOSTNAME = "io.reconciler.hostname"
"""The host name a joining container waits for; the engine gives it right after the start."""

LOG_OPTIONS = {"max-size": "10m", "max-file": "3"}
CPU_PERIOD_US = 100_000


def container_config(spec: ContainerSpec, cluster_id: str) -> dict[str, Any]:
    """The body of `POST /containers/create`."""
    labels = {**spec.labels, MANAGED: cluster_id}
    config: dict[str, Any] = {
        "Image": spec.image,
        "Env": list(spec.env),
        "OpenStdin": spec.stdin,
        "StdinOnce": spec.stdin_once,
        "AttachStdin": spec.stdin,
        "Tty": spec.tty,
        "Healthcheck": {"Test": ["NONE"]},  # probes are the kubelet's
    }
    if spec.entrypoint is not None:
        config["Entrypoint"] = list(spec.entrypoint)
    if spec.args is not None:
        config["Cmd"] = list(spec.args)
    if spec.working_dir:
        config["WorkingDir"] = spec.working_dir
    if spec.user:
        config["User"] = spec.user
    if spec.stop_signal:
        config["StopSignal"] = spec.stop_signal
    if spec.hostname and spec.sandbox_id:
        labels[HOSTNAME] = spec.hostname  # Docker refuses a name of its own to a container that joins another
    elif spec.hostname and not spec.host_network:
        config["Hostname"] = spec.hostname
    config["Labels"] = labels
    config["HostConfig"] = _host_config(spec)
    return config


def _host_config(spec: ContainerSpec) -> dict[str, Any]:
    config: dict[str, Any] = {
        "NetworkMode": _mode(spec.host_network, spec.sandbox_id, "none"),
        "IpcMode": _mode(spec.host_ipc, spec.sandbox_id, "shareable"),
        "PidMode": _mode(spec.host_pid, spec.share_pid_with, ""),
        "LogConfig": {"Type": "json-file", "Config": dict(LOG_OPTIONS)},
        "RestartPolicy": {"Name": "no"},
        "Privileged": spec.privileged,
        "ReadonlyRootfs": spec.read_only_root,
        "CapAdd": list(spec.capabilities_add),
        "CapDrop": list(spec.capabilities_drop),
        "GroupAdd": [str(group) for group in spec.supplemental_groups],
        "SecurityOpt": _security_options(spec),
        "Mounts": [
            {
                "Type": "bind",
                "Source": mount.source,
                "Target": mount.target,
                "ReadOnly": mount.read_only,
                "BindOptions": {"Propagation": mount.propagation},
            }
            for mount in spec.mounts
        ],
        "Tmpfs": dict(spec.tmpfs),
        "Sysctls": dict(spec.sysctls),
        "OomScoreAdj": spec.oom_score_adj,
    }
    if spec.cpu_shares:
        config["CpuShares"] = spec.cpu_shares
    if spec.cpu_quota_us:
        config["CpuPeriod"] = CPU_PERIOD_US
        config["CpuQuota"] = spec.cpu_quota_us
    if spec.memory_limit_bytes:
        config["Memory"] = spec.memory_limit_bytes
        config["MemorySwap"] = spec.memory_limit_bytes  # equal to memory: no swap
    if spec.pids_limit:
        config["PidsLimit"] = spec.pids_limit
    return config


def _mode(is_host: bool, container_id: str, own: str) -> str:
    if is_host:
        return "host"
    return f"container:{container_id}" if container_id else own


def _security_options(spec: ContainerSpec) -> list[str]:
    options = []
    if spec.no_new_privileges:
        options.append("no-new-privileges")
    if spec.seccomp:
        options.append(f"seccomp={spec.seccomp}")
    if spec.apparmor:
        options.append(f"apparmor={spec.apparmor}")
    return options
