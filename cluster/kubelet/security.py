"""Security of a container: the pod's context and its own, merged, checked against the host's policy.  Pure.

Admission checks the policy first; here it is checked again, because the agent is what would carry it out.
Upstream: pkg/securitycontext/util.go, pkg/kubelet/kuberuntime/security_context.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cluster.kubelet.environment import ConfigError
from cluster.kubelet.podspec import spec_of
from cluster.kubelet.runtime.api import Image
from cluster.machinery.numbers import whole_number
from cluster.machinery.objects import Obj


@dataclass(frozen=True, slots=True)
class PodPolicy:
    """What pods may do to this host; set in the host's own configuration, never by a repository.

    `host_paths` are path prefixes a hostPath volume may name; `/` allows all.  Namespaces in `exempt` may do anything.
    """

    privileged: bool = False
    host_namespaces: bool = False
    host_paths: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = (
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
        "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    )  # fmt: skip
    unconfined: bool = False
    exempt: tuple[str, ...] = ("kube-system",)


@dataclass(frozen=True, slots=True)
class Security:
    """The engine's settings for one container."""

    user: str
    groups: tuple[int, ...]
    privileged: bool
    capabilities_add: tuple[str, ...]
    capabilities_drop: tuple[str, ...]
    read_only_root: bool
    no_new_privileges: bool
    seccomp: str
    apparmor: str


def security_of(pod: Obj, container: Obj, image: Image, policy: PodPolicy) -> Security:
    """The merged context.  Raises ConfigError where policy, runAsNonRoot or this kubelet refuses it."""
    pod_context = spec_of(pod).get("securityContext") or {}
    own = container.get("securityContext") or {}
    exempt = (pod.get("metadata") or {}).get("namespace", "") in policy.exempt
    merged = {**pod_context, **own}
    privileged = bool(own.get("privileged"))
    if privileged and not (policy.privileged or exempt):
        raise ConfigError("privileged containers are not allowed on this node")
    add = tuple(_capabilities(own, "add"))
    if not exempt and not policy.privileged:
        forbidden = sorted(set(add) - set(policy.capabilities))
        if forbidden:
            raise ConfigError(f"capabilities {', '.join(forbidden)} are not allowed on this node")
    _check_non_root(container, merged, image)
    return Security(
        user=_user(merged, image),
        groups=tuple(int(group) for group in _groups(pod_context)),
        privileged=privileged,
        capabilities_add=add,
        capabilities_drop=tuple(_capabilities(own, "drop")),
        read_only_root=bool(own.get("readOnlyRootFilesystem")),
        # Privileged and SYS_ADMIN containers could regain what the flag takes away: upstream's validation refuses both.
        no_new_privileges=own.get("allowPrivilegeEscalation") is False,
        seccomp=_seccomp(merged, policy, exempt=exempt),
        apparmor=_apparmor(merged, policy, exempt=exempt),
    )


def _capabilities(context: Obj, side: str) -> Sequence[str]:
    named = (context.get("capabilities") or {}).get(side) or ()
    return [str(name).upper().removeprefix("CAP_") for name in named]


def _groups(pod_context: Obj) -> Sequence[int]:
    groups = list(pod_context.get("supplementalGroups") or ())
    if pod_context.get("fsGroup") is not None:
        groups.append(pod_context["fsGroup"])
    return groups


def _user(merged: Obj, image: Image) -> str:
    user, group = merged.get("runAsUser"), merged.get("runAsGroup")
    if user is None and group is None:
        return ""
    name = str(user) if user is not None else (image.user.partition(":")[0] or "0")
    return name if group is None else f"{name}:{group}"


def _check_non_root(container: Obj, merged: Obj, image: Image) -> None:
    if not merged.get("runAsNonRoot"):
        return
    user = merged.get("runAsUser")
    name = container["name"]
    if user is not None:
        if int(user) == 0:
            raise ConfigError(f"container's runAsUser breaks non-root policy (container: {name})")
        return
    image_user = image.user.partition(":")[0]
    image_uid = whole_number(image_user or "0")
    if image_uid == 0:
        raise ConfigError(f"container has runAsNonRoot and image will run as root (container: {name})")
    if image_uid is None:
        raise ConfigError(
            f"container has runAsNonRoot and image has non-numeric user ({image_user}), "
            f"cannot verify user is non-root (container: {name})"
        )


def _seccomp(merged: Obj, policy: PodPolicy, *, exempt: bool) -> str:
    """Docker's default profile is RuntimeDefault, and stays where nothing is said (stricter than upstream's Unconfined)."""
    match (merged.get("seccompProfile") or {}).get("type", "RuntimeDefault"):
        case "RuntimeDefault":
            return ""
        case "Unconfined":
            if not (policy.unconfined or policy.privileged or exempt):
                raise ConfigError("seccomp profile Unconfined is not allowed on this node")
            return "unconfined"
        case other:
            raise ConfigError(f"seccomp profile type {other} is not supported on this node")


def _apparmor(merged: Obj, policy: PodPolicy, *, exempt: bool) -> str:
    match (merged.get("appArmorProfile") or {}).get("type", "RuntimeDefault"):
        case "RuntimeDefault":
            return ""
        case "Unconfined":
            if not (policy.unconfined or policy.privileged or exempt):
                raise ConfigError("AppArmor profile Unconfined is not allowed on this node")
            return "unconfined"
        case other:
            raise ConfigError(f"AppArmor profile type {other} is not supported on this node")
