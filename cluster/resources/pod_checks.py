"""Each check of the Pod Security Standards: a pod to what it finds.  Pure.

Upstream: k8s.io/pod-security-admission/policy/check_*.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from cluster.machinery.objects import Obj, annotations_of, field_of

CAPABILITIES = frozenset((
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
    "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
))  # fmt: skip
"""Those that any container may have."""
SAFE_SYSCTLS = frozenset((
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
))  # fmt: skip
"""Those that reach no further than the pod."""
CONTAINER_FIELDS = ("initContainers", "containers", "ephemeralContainers")
VOLUME_TYPES = frozenset(
    (
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
        "image",
    )
)
_SELINUX_TYPES = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_SYSCTLS_SINCE = {"net.ipv4.ip_local_reserved_ports": 27, "net.ipv4.tcp_keepalive_time": 29,
                  "net.ipv4.tcp_fin_timeout": 29, "net.ipv4.tcp_keepalive_intvl": 29,
                  "net.ipv4.tcp_keepalive_probes": 29}  # fmt: skip
_OS_KNOWN_SINCE = 25

Finder: TypeAlias = Callable[[Obj, int], Iterator[str]]


@dataclass(frozen=True, slots=True)
class Check:
    """`run` takes the pod and the standards' minor version; `replaces` names the weaker check of the same thing."""

    name: str
    run: Finder
    since_minor: int = 0
    replaces: str = ""


def containers_of(pod: Obj) -> Iterator[Obj]:
    spec = pod.get("spec") or {}
    for field in CONTAINER_FIELDS:
        yield from spec.get(field) or ()


def _context(holder: Obj) -> Obj:
    context: Obj = holder.get("securityContext") or {}
    return context


def _pod_context(pod: Obj) -> Obj:
    return _context(pod.get("spec") or {})


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _plural(word: str, items: Sequence[Any]) -> str:
    return word if len(items) == 1 else f"{word}s"


def _containers(names: Sequence[str]) -> str:
    return f"{_plural('container', names)} {_quoted(names)}"


def _names_where(pod: Obj, bad: Callable[[Obj], bool]) -> list[str]:
    return [str(container.get("name", "")) for container in containers_of(pod) if bad(container)]


def _setters(pod: Obj, bad: Callable[[Obj], bool]) -> str:
    """`pod and container "c"`: whose security context is bad; empty when none is."""
    names = _names_where(pod, lambda container: bad(_context(container)))
    return " and ".join([*(["pod"] if bad(_pod_context(pod)) else []), *([_containers(names)] if names else [])])


def _is_windows(pod: Obj, minor: int) -> bool:
    return minor >= _OS_KNOWN_SINCE and field_of(pod, "spec", "os", "name") == "windows"


def _app_armor(pod: Obj, minor: int) -> Iterator[str]:
    def bad(context: Obj) -> bool:
        return field_of(context, "appArmorProfile", "type", default="") not in ("", "RuntimeDefault", "Localhost")

    kinds = {
        field_of(c, "appArmorProfile", "type")
        for c in (_pod_context(pod), *map(_context, containers_of(pod)))
        if bad(c)
    }
    details = (
        [f"{who} must not set AppArmor profile type to {_quoted(sorted(kinds))}"] if (who := _setters(pod, bad)) else []
    )
    notes = [
        f'{key}="{value}"'
        for key, value in sorted(annotations_of(pod).items())
        if key.startswith(_APPARMOR) and value not in ("", "runtime/default") and not value.startswith("localhost/")
    ]
    if notes:
        details.append(f"{_plural('annotation', notes)} {', '.join(notes)}")
    if details:
        yield f"forbidden AppArmor {_plural('profile', [*kinds, *notes])} ({'; '.join(details)})"


def _added(container: Obj) -> Sequence[str]:
    added: Sequence[str] = field_of(_context(container), "capabilities", "add", default=())
    return added


def _capabilities(pod: Obj, minor: int) -> Iterator[str]:
    names = _names_where(pod, lambda container: any(name not in CAPABILITIES for name in _added(container)))
    if names:
        extra = sorted({name for container in containers_of(pod) for name in _added(container)} - CAPABILITIES)
        detail = f"{_containers(names)} must not include {_quoted(extra)} in securityContext.capabilities.add"
        yield f"non-default capabilities ({detail})"


def _host_namespaces(pod: Obj, minor: int) -> Iterator[str]:
    spec = pod.get("spec") or {}
    if found := [f"{field}=true" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]:
        yield f"host namespaces ({', '.join(found)})"


def _host_paths(pod: Obj, minor: int) -> Iterator[str]:
    volumes = field_of(pod, "spec", "volumes", default=())
    if names := [str(volume.get("name", "")) for volume in volumes if volume.get("hostPath") is not None]:
        yield f"hostPath volumes ({_plural('volume', names)} {_quoted(names)})"


def _host_ports(pod: Obj, minor: int) -> Iterator[str]:
    def taken(container: Obj) -> list[int]:
        return [port["hostPort"] for port in container.get("ports") or () if port.get("hostPort")]

    if names := _names_where(pod, lambda container: bool(taken(container))):
        ports = sorted({str(port) for container in containers_of(pod) for port in taken(container)})
        verb = "uses" if len(names) == 1 else "use"
        yield f"hostPort ({_containers(names)} {verb} {_plural('hostPort', ports)} {', '.join(ports)})"


def _privileged(pod: Obj, minor: int) -> Iterator[str]:
    if names := _names_where(pod, lambda container: bool(_context(container).get("privileged"))):
        yield f"privileged ({_containers(names)} must not set securityContext.privileged=true)"


def _proc_mount(pod: Obj, minor: int) -> Iterator[str]:
    def bad(container: Obj) -> bool:
        return _context(container).get("procMount") not in (None, "Default")

    if names := _names_where(pod, bad):
        kinds = sorted({_context(container)["procMount"] for container in containers_of(pod) if bad(container)})
        yield f"procMount ({_containers(names)} must not set securityContext.procMount to {_quoted(kinds)})"


def _se_linux(pod: Obj, minor: int) -> Iterator[str]:
    def bad(context: Obj) -> bool:
        options = context.get("seLinuxOptions") or {}
        return (options.get("type") or "") not in _SELINUX_TYPES or bool(options.get("user") or options.get("role"))

    if not (who := _setters(pod, bad)):
        return
    contexts = (_pod_context(pod), *map(_context, containers_of(pod)))
    options = [context["seLinuxOptions"] for context in contexts if bad(context)]
    kinds = sorted({kind for option in options if (kind := option.get("type") or "") not in _SELINUX_TYPES})
    details = [f"{_plural('type', kinds)} {_quoted(kinds)}"] if kinds else []
    details += [f"{field} may not be set" for field in ("user", "role") if any(option.get(field) for option in options)]
    yield f"seLinuxOptions ({who} set forbidden securityContext.seLinuxOptions: {'; '.join(details)})"


def _profile(context: Obj) -> str:
    return str(field_of(context, "seccompProfile", "type", default=""))


def _seccomp(pod: Obj, minor: int) -> Iterator[str]:
    if who := _setters(pod, lambda context: _profile(context) == "Unconfined"):
        yield f'seccompProfile ({who} must not set securityContext.seccompProfile.type to "Unconfined")'


def _sysctls(pod: Obj, minor: int) -> Iterator[str]:
    names = [str(sysctl.get("name", "")) for sysctl in _pod_context(pod).get("sysctls") or ()]
    if bad := [name for name in names if name not in SAFE_SYSCTLS or _SYSCTLS_SINCE.get(name, 0) > minor]:
        yield f"forbidden sysctls ({', '.join(sorted(bad))})"


def _host_process(pod: Obj, minor: int) -> Iterator[str]:
    if who := _setters(pod, lambda context: bool(field_of(context, "windowsOptions", "hostProcess"))):
        yield f"hostProcess ({who} must not set securityContext.windowsOptions.hostProcess=true)"


def _escalation(pod: Obj, minor: int) -> Iterator[str]:
    names = _names_where(pod, lambda container: _context(container).get("allowPrivilegeEscalation") is not False)
    if names and not _is_windows(pod, minor):
        detail = f"{_containers(names)} must set securityContext.allowPrivilegeEscalation=false"
        yield f"allowPrivilegeEscalation != false ({detail})"


def _dropped_capabilities(pod: Obj, minor: int) -> Iterator[str]:
    if _is_windows(pod, minor):
        return
    keeping = _names_where(
        pod, lambda container: "ALL" not in field_of(_context(container), "capabilities", "drop", default=())
    )
    details = [f'{_containers(keeping)} must set securityContext.capabilities.drop=["ALL"]'] if keeping else []
    adding = _names_where(pod, lambda container: any(name != "NET_BIND_SERVICE" for name in _added(container)))
    if adding:
        extra = sorted({name for container in containers_of(pod) for name in _added(container)} - {"NET_BIND_SERVICE"})
        details.append(f"{_containers(adding)} must not include {_quoted(extra)} in securityContext.capabilities.add")
    if details:
        yield f"unrestricted capabilities ({'; '.join(details)})"


def _volume_types(pod: Obj, minor: int) -> Iterator[str]:
    found: list[tuple[str, str]] = []
    for volume in field_of(pod, "spec", "volumes", default=()):
        kinds = [kind for kind, source in volume.items() if kind != "name" and source is not None]
        found += [(str(volume.get("name", "")), kind) for kind in kinds if kind not in VOLUME_TYPES]
    if found:
        names, kinds = [name for name, _ in found], sorted({kind for _, kind in found})
        verb = "uses" if len(names) == 1 else "use"
        listed = f"{_plural('volume', names)} {_quoted(names)} {verb} restricted volume {_plural('type', kinds)} "
        yield f"restricted volume types ({listed}{_quoted(kinds)})"


def _inherited(pod: Obj, read: Callable[[Obj], object], is_good: Callable[[object], bool]) -> tuple[str, list[str]]:
    """Who sets something bad, and which containers are left with nothing good of their own or the pod's."""
    bad = _setters(pod, lambda context: read(context) not in (None, "") and not is_good(read(context)))
    pod_is_good = is_good(read(_pod_context(pod)))
    unset = _names_where(pod, lambda container: read(_context(container)) in (None, "") and not pod_is_good)
    return bad, unset


def _non_root(pod: Obj, minor: int) -> Iterator[str]:
    bad, unset = _inherited(pod, lambda context: context.get("runAsNonRoot"), lambda value: value is True)
    if bad:
        yield f"runAsNonRoot != true ({bad} must not set securityContext.runAsNonRoot=false)"
    elif unset:
        yield f"runAsNonRoot != true (pod or {_containers(unset)} must set securityContext.runAsNonRoot=true)"


def _root_user(pod: Obj, minor: int) -> Iterator[str]:
    if who := _setters(pod, lambda context: context.get("runAsUser") == 0):
        yield f"runAsUser=0 ({who} must not set runAsUser=0)"


def _required_seccomp(pod: Obj, minor: int) -> Iterator[str]:
    if _is_windows(pod, minor):
        return
    bad, unset = _inherited(pod, _profile, lambda value: value in ("RuntimeDefault", "Localhost"))
    if bad:
        contexts = (_pod_context(pod), *map(_context, containers_of(pod)))
        kinds = sorted({_profile(context) for context in contexts} - {"", "RuntimeDefault", "Localhost"})
        yield f"seccompProfile ({bad} must not set securityContext.seccompProfile.type to {_quoted(kinds)})"
    elif unset:
        wanted = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
        yield f"seccompProfile (pod or {_containers(unset)} {wanted})"


BASELINE: tuple[Check, ...] = (
    Check("appArmorProfile", _app_armor),
    Check("capabilities_baseline", _capabilities),
    Check("hostNamespaces", _host_namespaces),
    Check("hostPathVolumes", _host_paths),
    Check("hostPorts", _host_ports),
    Check("privileged", _privileged),
    Check("procMount", _proc_mount),
    Check("seLinuxOptions", _se_linux),
    Check("seccompProfile_baseline", _seccomp),
    Check("sysctls", _sysctls),
    Check("windowsHostProcess", _host_process),
)
RESTRICTED: tuple[Check, ...] = (
    Check("allowPrivilegeEscalation", _escalation, 8),
    Check("capabilities_restricted", _dropped_capabilities, 22, "capabilities_baseline"),
    Check("restrictedVolumes", _volume_types, 0, "hostPathVolumes"),
    Check("runAsNonRoot", _non_root),
    Check("runAsUser", _root_user, 23),
    Check("seccompProfile_restricted", _required_seccomp, 19, "seccompProfile_baseline"),
)
