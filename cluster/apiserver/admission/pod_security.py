"""What pods may ask of their host, as its operator decides outside any repository: the baseline of the standards.

Upstream: pod-security-admission/policy (baseline).  Fields that would make a pod safer but that nothing here enforces are
refused rather than ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from cluster.apiserver.admission.api import Attributes, Validating
from cluster.machinery.errors import Forbidden
from cluster.machinery.objects import Obj, field_of
from cluster.resources.enforcement import findings_of
from cluster.resources.pod_checks import CAPABILITIES, SAFE_SYSCTLS, containers_of


@dataclass(frozen=True, slots=True)
class PodSecurity:
    """The host's policy.  `allowed_host_paths` are prefixes; `/` allows all.  `exempt` namespaces may do anything."""

    allow_privileged: bool = False
    allow_host_network: bool = False
    allow_host_pid: bool = False
    allow_host_ipc: bool = False
    allow_host_ports: bool = True
    allowed_host_paths: tuple[str, ...] = ()
    allowed_capabilities: frozenset[str] = CAPABILITIES
    exempt: tuple[str, ...] = ("kube-system",)


class PodPolicy(Validating):
    def __init__(self, policy: PodSecurity) -> None:
        self._policy = policy

    def validate(self, attributes: Attributes) -> None:
        """Raises Forbidden with everything that the policy forbids in the pod."""
        if attributes.group_resource != ("", "pods") or attributes.operation not in ("CREATE", "UPDATE"):
            return
        if attributes.subresource not in ("", "ephemeralcontainers"):
            return
        # An exempt namespace is still bound by what nothing enforces: there is nothing to exempt it from.
        problems = [f"{path} (not supported)" for path in findings_of(attributes.obj).forbidden]
        if attributes.key.namespace not in self._policy.exempt:
            problems += violations(attributes.obj, self._policy)
        if problems:
            raise Forbidden(
                f'pods "{attributes.key.name}" is forbidden: violates the host\'s pod security policy: '
                + ", ".join(problems),
                kind="pods",
                name=attributes.key.name,
            )


def violations(pod: Obj, policy: PodSecurity) -> list[str]:
    """What in `pod` goes beyond `policy`, in the order of the pod's own fields."""
    spec = pod.get("spec") or {}
    found = [
        f"{field}=true"
        for field, allowed in (
            ("hostNetwork", policy.allow_host_network),
            ("hostPID", policy.allow_host_pid),
            ("hostIPC", policy.allow_host_ipc),
        )
        if spec.get(field) and not allowed
    ]
    for volume in spec.get("volumes") or ():
        path = field_of(volume, "hostPath", "path")
        if path is not None and not _is_below(str(path), policy.allowed_host_paths):
            found.append(f'hostPath volume "{volume.get("name")}" ({path})')
    context = spec.get("securityContext") or {}
    for sysctl in context.get("sysctls") or ():
        if sysctl.get("name") not in SAFE_SYSCTLS:
            found.append(f'sysctl "{sysctl.get("name")}"')
    found += _profiles(context, "pod", policy)
    for container in containers_of(pod):
        found += _container_violations(container, policy)
    return found


def _container_violations(container: Obj, policy: PodSecurity) -> Iterator[str]:
    name, context = container.get("name"), container.get("securityContext") or {}
    if context.get("privileged") and not policy.allow_privileged:
        yield f'privileged container "{name}"'
    for capability in field_of(context, "capabilities", "add", default=()):
        plain = str(capability).removeprefix("CAP_")
        if plain not in policy.allowed_capabilities and not policy.allow_privileged:
            yield f'capability {capability} of container "{name}"'
    for port in container.get("ports") or ():
        if port.get("hostPort") and not policy.allow_host_ports:
            yield f'hostPort {port["hostPort"]} of container "{name}"'
    if context.get("procMount") not in (None, "Default"):
        yield f'procMount={context["procMount"]} of container "{name}"'
    yield from _profiles(context, f'container "{name}"', policy)


def _profiles(context: Obj, where: str, policy: PodSecurity) -> Iterator[str]:
    for field in ("seccompProfile", "appArmorProfile") if context else ():
        if field_of(context, field, "type") == "Unconfined" and not policy.allow_privileged:
            yield f"{field} Unconfined of {where}"


def _is_below(path: str, prefixes: tuple[str, ...]) -> bool:
    asked = PurePosixPath(path)
    return ".." not in asked.parts and any(asked.is_relative_to(prefix) for prefix in prefixes)
