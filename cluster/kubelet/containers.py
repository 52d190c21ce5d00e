"""From a pod's container to what the engine creates.  Pure: everything it needs is in `Inputs`; raises ConfigError.

Every field of ContainerSpec is set here from a checked value: what the pod says reaches the engine by no other way.
Upstream: pkg/kubelet/kuberuntime/kuberuntime_container.go (generateContainerConfig).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from cluster.kubelet.downward import Placement
from cluster.kubelet.environment import ConfigError, environment_of
from cluster.kubelet.expansion import expand
from cluster.kubelet.identity import Identity
from cluster.kubelet.limits import limits_of
from cluster.kubelet.podspec import PodContainer, hostname_of, is_host_network, spec_of
from cluster.kubelet.runtime.api import ContainerSpec, Image, Mount, Sandbox, SandboxNeeds
from cluster.kubelet.security import PodPolicy, security_of
from cluster.kubelet.sources import Sources
from cluster.machinery.objects import Obj, namespace_of
from cluster.machinery.quantity import QuantityError
from cluster.resources.enforcement import findings_of

TERMINATION_PATH = "/dev/termination-log"
SAFE_SYSCTLS = (
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_wmem",
)  # fmt: skip
"""Namespaced and harmless to neighbours (upstream: pkg/kubelet/sysctl/safe_sysctls.go)."""

_PROPAGATION = {"": "rprivate", "None": "rprivate", "HostToContainer": "rslave", "Bidirectional": "rshared"}


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a container is made of besides its pod.

    `volumes` are host paths by volume name; `sub_paths` those of mounts with a subPath, by index in volumeMounts;
    `files` are the managed files on the host by their path in the container; `message_path` the termination message's.
    """

    image: Image
    sandbox: Sandbox
    sources: Sources
    where: Placement
    policy: PodPolicy
    services: Sequence[Obj] = ()
    volumes: Mapping[str, tuple[str, bool]] = field(default_factory=dict)
    sub_paths: Mapping[int, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    message_path: str = ""
    pid_target: str = ""  # the container whose PID namespace is joined


def sandbox_needs_of(pod: Obj, policy: PodPolicy) -> SandboxNeeds:
    """What the pod asks of its sandbox.  Raises ConfigError where the host's policy refuses."""
    spec = spec_of(pod)
    exempt = namespace_of(pod) in policy.exempt
    needs = SandboxNeeds(
        sysctls={
            entry["name"]: str(entry["value"]) for entry in (spec.get("securityContext") or {}).get("sysctls") or ()
        },
        host_network=bool(spec.get("hostNetwork")),
        host_pid=bool(spec.get("hostPID")),
        host_ipc=bool(spec.get("hostIPC")),
    )
    if (needs.host_network or needs.host_pid or needs.host_ipc) and not (policy.host_namespaces or exempt):
        raise ConfigError("host namespaces are not allowed on this node")
    unsafe = sorted(name.replace("/", ".") for name in needs.sysctls if name.replace("/", ".") not in SAFE_SYSCTLS)
    if unsafe:
        raise ConfigError(f"sysctls {', '.join(unsafe)} are not allowed on this node")
    found = findings_of(pod)
    if refused := (*found.forbidden, *found.refused):
        raise ConfigError(f"{', '.join(refused)}: not supported on this node")
    return needs


def container_spec_of(pod: Obj, container: PodContainer, identity: Identity, inputs: Inputs) -> ContainerSpec:
    """What the engine creates for one attempt at `container`, not yet joined to its sandbox.  Raises ConfigError."""
    spec = container.spec
    environment = environment_of(pod, spec, sources=inputs.sources, where=inputs.where, services=inputs.services)
    for name, value in environment.items():
        if "\0" in value or "=" in name or not name:
            raise ConfigError(f"environment variable {name!r} cannot be set")
    security = security_of(pod, spec, inputs.image, inputs.policy)
    try:
        limits = limits_of(pod, spec, node_memory_bytes=inputs.where.memory_bytes)
    except QuantityError as error:
        raise ConfigError(f"resources of container {container.name}: {error}") from error
    command = [expand(word, environment) for word in spec.get("command") or ()]
    args = [expand(word, environment) for word in spec.get("args") or ()]
    return ContainerSpec(
        name=identity.container_name,
        image=str(spec.get("image", "")),
        labels=identity.labels(),
        entrypoint=command or None,
        # A command without args also drops the image's own arguments (the table in the Kubernetes documentation).
        args=args if args or command else None,
        env=[f"{name}={value}" for name, value in (_own_name(pod) | environment).items()],
        working_dir=str(spec.get("workingDir") or ""),
        mounts=mounts_of(pod, spec, inputs, environment),
        user=security.user,
        supplemental_groups=security.groups,
        privileged=security.privileged,
        capabilities_add=security.capabilities_add,
        capabilities_drop=security.capabilities_drop,
        read_only_root=security.read_only_root,
        no_new_privileges=security.no_new_privileges,
        seccomp=security.seccomp,
        apparmor=security.apparmor,
        host_pid=bool(spec_of(pod).get("hostPID")),
        share_pid_with=inputs.pid_target,
        cpu_shares=limits.cpu_shares,
        cpu_quota_us=limits.cpu_quota_us,
        memory_limit_bytes=limits.memory_bytes,
        oom_score_adj=limits.oom_score_adj,
        stdin=bool(spec.get("stdin")),
        stdin_once=bool(spec.get("stdinOnce")),
        tty=bool(spec.get("tty")),
    )


def _own_name(pod: Obj) -> dict[str, str]:
    """HOSTNAME, as every runtime sets it; ours would otherwise say what the warm sandbox was called."""
    return {} if is_host_network(pod) else {"HOSTNAME": hostname_of(pod)}


def mounts_of(pod: Obj, container: Obj, inputs: Inputs, environment: Mapping[str, str]) -> list[Mount]:
    """Volume mounts first, then the managed files the pod did not itself mount over.  Raises ConfigError."""
    mounts: list[Mount] = []
    for place, mount in enumerate(container.get("volumeMounts") or ()):
        volume = inputs.volumes.get(mount["name"])
        if volume is None:
            raise ConfigError(f'volume "{mount["name"]}" is not mounted')
        path, read_only = volume
        propagation = str(mount.get("mountPropagation") or "")
        exempt = namespace_of(pod) in inputs.policy.exempt
        if propagation == "Bidirectional" and not (inputs.policy.privileged or exempt):
            raise ConfigError("mountPropagation Bidirectional is not allowed on this node")
        mounts.append(
            Mount(
                source=inputs.sub_paths.get(place, path),
                target=_target(str(mount["mountPath"])),
                read_only=read_only or bool(mount.get("readOnly")),
                propagation=_PROPAGATION.get(propagation, "rprivate"),
            )
        )
    taken = {mount.target for mount in mounts}
    managed = dict(inputs.files)
    if inputs.message_path:
        managed[_target(str(container.get("terminationMessagePath") or TERMINATION_PATH))] = inputs.message_path
    mounts += [Mount(source, target) for target, source in sorted(managed.items()) if target not in taken]
    return mounts


def sub_path_of(mount: Obj, environment: Mapping[str, str]) -> str:
    """The subPath of a mount with subPathExpr expanded; empty for none.  Raises ConfigError for an unknown variable."""
    if expression := mount.get("subPathExpr"):
        expanded = expand(str(expression), environment)
        if "$(" in expanded:
            raise ConfigError(f"subPathExpr {expression!r} names a variable that is not set")
        return expanded
    return str(mount.get("subPath") or "")


def _target(path: str) -> str:
    """A mount path as the engine takes it; relative ones count from the root, as in upstream's runtime."""
    pure = PurePosixPath("/") / path
    if ".." in pure.parts or ":" in path or "\0" in path:
        raise ConfigError(f"mount path {path!r} is not valid")
    return str(pure)
