"""What must hold of a pod's containers: names, images, ports, environment, mounts, resources, probes, hooks.

Upstream: pkg/apis/core/validation/validation.go validateContainers, validateInitContainers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import duplicate, forbidden, invalid, not_found, not_supported, required
from cluster.machinery.names import (
    config_key_errors,
    environment_name_errors,
    label_errors,
    port_name_errors,
    port_number_errors,
    qualified_name_errors,
)
from cluster.machinery.objects import Obj
from cluster.machinery.quantity import QuantityError, parse_quantity
from cluster.resources.volume_validation import validate_field_ref, validate_local_path, validate_resource_ref

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
PROTOCOLS = ("SCTP", "TCP", "UDP")
MESSAGE_POLICIES = ("FallbackToLogsOnError", "File")
SCHEMES = ("HTTP", "HTTPS")
ENV_FIELDS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP",
    "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
STANDARD_RESOURCES = frozenset({"cpu", "memory", "ephemeral-storage", "storage"})
NOT_NEGATIVE = "must be greater than or equal to 0"


def validate_containers(spec: Obj, path: str, volumes: Collection[str]) -> Iterator[Cause]:
    """All containers of the pod spec at `path`; `volumes` are the names mounts may use."""
    containers, init_containers = spec.get("containers") or (), spec.get("initContainers") or ()
    if not containers:
        yield required(f"{path}.containers")
    host_network = bool(spec.get("hostNetwork"))
    names: set[str] = set()
    host_ports: set[tuple[str, str, int]] = set()
    for index, container in enumerate(containers):
        at = f"{path}.containers[{index}]"
        yield from _validate_container(container, at, names, volumes, host_network=host_network)
        yield from _claim_host_ports(container, at, host_ports)
        if container.get("restartPolicy"):
            yield forbidden(f"{at}.restartPolicy", "may not be set for non-init containers")
    for index, container in enumerate(init_containers):
        at = f"{path}.initContainers[{index}]"
        yield from _validate_container(container, at, names, volumes, host_network=host_network)
        sidecar = container.get("restartPolicy") == "Always"
        if container.get("restartPolicy") and not sidecar:
            yield not_supported(f"{at}.restartPolicy", container["restartPolicy"], ("Always",))
        if sidecar:
            yield from _claim_host_ports(container, at, host_ports)
        else:
            for field in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
                if container.get(field) is not None:
                    yield forbidden(f"{at}.{field}", "may not be set for init containers without restartPolicy=Always")
    for index, container in enumerate(spec.get("ephemeralContainers") or ()):
        at = f"{path}.ephemeralContainers[{index}]"
        yield from _validate_container(container, at, names, volumes, host_network=host_network)
        for field in ("ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle"):
            if container.get(field):
                yield forbidden(f"{at}.{field}", "cannot be set for an Ephemeral Container")
        target = container.get("targetContainerName")
        if target and target not in {other.get("name") for other in (*containers, *init_containers)}:
            yield not_found(f"{at}.targetContainerName", target)


def _claim_host_ports(container: Obj, at: str, taken: set[tuple[str, str, int]]) -> Iterator[Cause]:
    for index, port in enumerate(container.get("ports") or ()):
        if number := port.get("hostPort"):
            claim = (port.get("protocol", "TCP"), port.get("hostIP", ""), number)
            if claim in taken:
                yield duplicate(f"{at}.ports[{index}].hostPort", "/".join(str(part) for part in claim))
            taken.add(claim)


def _validate_container(
    container: Obj, at: str, names: set[str], volumes: Collection[str], *, host_network: bool
) -> Iterator[Cause]:
    name = container.get("name", "")
    if not name:
        yield required(f"{at}.name")
    else:
        for why in label_errors(name):
            yield invalid(f"{at}.name", name, why)
        if name in names:
            yield duplicate(f"{at}.name", name)
        names.add(name)
    image = container.get("image", "")
    if not image:
        yield required(f"{at}.image")
    elif image != image.strip():
        yield invalid(f"{at}.image", image, "must not have leading or trailing whitespace")
    for field, allowed in (("imagePullPolicy", PULL_POLICIES), ("terminationMessagePolicy", MESSAGE_POLICIES)):
        if container.get(field) not in allowed:
            yield not_supported(f"{at}.{field}", container.get(field) or "", allowed)
    if ports := container.get("ports"):
        yield from _validate_ports(ports, f"{at}.ports", host_network=host_network)
    for index, variable in enumerate(container.get("env") or ()):
        yield from _validate_env(variable, f"{at}.env[{index}]")
    for index, source in enumerate(container.get("envFrom") or ()):
        yield from _validate_env_from(source, f"{at}.envFrom[{index}]")
    if mounts := container.get("volumeMounts"):
        yield from _validate_mounts(mounts, f"{at}.volumeMounts", volumes)
    if resources := container.get("resources"):
        yield from validate_resources(resources, f"{at}.resources")
    for field in ("livenessProbe", "readinessProbe", "startupProbe"):
        if (probe := container.get(field)) is not None:
            yield from _validate_probe(field, probe, f"{at}.{field}")
    lifecycle = container.get("lifecycle") or {}
    for hook in ("postStart", "preStop"):
        if (handler := lifecycle.get(hook)) is not None:
            yield from _validate_handler(handler, f"{at}.lifecycle.{hook}", _HOOK_ACTIONS)
    if context := container.get("securityContext"):
        yield from _validate_security_context(context, f"{at}.securityContext")


def _validate_ports(ports: list[Obj], path: str, *, host_network: bool) -> Iterator[Cause]:
    names: set[str] = set()
    for index, port in enumerate(ports):
        at = f"{path}[{index}]"
        if name := port.get("name"):
            for why in port_name_errors(name):
                yield invalid(f"{at}.name", name, why)
            if name in names:
                yield duplicate(f"{at}.name", name)
            names.add(name)
        number = port.get("containerPort", 0)
        if not number:
            yield required(f"{at}.containerPort")
        else:
            for why in port_number_errors(number):
                yield invalid(f"{at}.containerPort", number, why)
        if host_port := port.get("hostPort"):
            for why in port_number_errors(host_port):
                yield invalid(f"{at}.hostPort", host_port, why)
            if host_network and host_port != number:
                yield invalid(f"{at}.hostPort", host_port, "must match `containerPort` when `hostNetwork` is true")
        protocol = port.get("protocol", "")
        if protocol not in PROTOCOLS:
            yield not_supported(f"{at}.protocol", protocol, PROTOCOLS) if protocol else required(f"{at}.protocol")


def _validate_env(variable: Obj, at: str) -> Iterator[Cause]:
    name = variable.get("name", "")
    if not name:
        yield required(f"{at}.name")
    else:
        for why in environment_name_errors(name):
            yield invalid(f"{at}.name", name, why)
    source = variable.get("valueFrom")
    if source is None:
        return
    at = f"{at}.valueFrom"
    kinds = [kind for kind in source if source[kind] is not None]
    if not kinds:
        yield invalid(
            at, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        )
    elif variable.get("value"):
        yield invalid(at, "", "may not be specified when `value` is not empty")
    elif len(kinds) > 1:
        yield invalid(at, "", "may not have more than one field specified at a time")
    for kind in kinds:
        reference, path = source[kind], f"{at}.{kind}"
        match kind:
            case "fieldRef":
                yield from validate_field_ref(reference, path, ENV_FIELDS)
            case "resourceFieldRef":
                yield from validate_resource_ref(reference, path)
            case "configMapKeyRef" | "secretKeyRef":
                if not reference.get("name"):
                    yield required(f"{path}.name")
                key = reference.get("key", "")
                if not key:
                    yield required(f"{path}.key")
                else:
                    for why in config_key_errors(key):
                        yield invalid(f"{path}.key", key, why)


def _validate_env_from(source: Obj, at: str) -> Iterator[Cause]:
    if prefix := source.get("prefix"):
        for why in environment_name_errors(prefix):
            yield invalid(f"{at}.prefix", prefix, why)
    kinds = [kind for kind in ("configMapRef", "secretRef") if source.get(kind) is not None]
    if not kinds:
        yield invalid(at, "", "must specify one of: `configMapRef` or `secretRef`")
    elif len(kinds) > 1:
        yield invalid(at, "", "may not have more than one field specified at a time")
    for kind in kinds:
        if not source[kind].get("name"):
            yield required(f"{at}.{kind}.name")


def _validate_mounts(mounts: list[Obj], path: str, volumes: Collection[str]) -> Iterator[Cause]:
    points: set[str] = set()
    for index, mount in enumerate(mounts):
        at = f"{path}[{index}]"
        name, point = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            yield required(f"{at}.name")
        elif name not in volumes:
            yield not_found(f"{at}.name", name)
        if not point:
            yield required(f"{at}.mountPath")
        if point in points:
            yield invalid(f"{at}.mountPath", point, "must be unique")
        points.add(point)
        for field in ("subPath", "subPathExpr"):
            if text := mount.get(field):
                yield from validate_local_path(text, f"{at}.{field}")
        if mount.get("subPath") and mount.get("subPathExpr"):
            yield invalid(f"{at}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive")
        propagation = mount.get("mountPropagation")
        choices = ("Bidirectional", "HostToContainer", "None")
        if propagation is not None and propagation not in choices:
            yield not_supported(f"{at}.mountPropagation", propagation, choices)


def validate_resources(resources: Obj, path: str) -> Iterator[Cause]:
    """Requests and limits: quantities, not negative, whole but for cpu, requests within limits."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for field, amounts in (("limits", limits), ("requests", requests)):
        for name, text in amounts.items():
            yield from _validate_amount(name, text, f"{path}.{field}[{name}]")
    for name, text in requests.items():
        limit = limits.get(name)
        try:
            exceeds = limit is not None and parse_quantity(text) > parse_quantity(limit)
        except QuantityError:
            continue  # reported above
        at = f"{path}.requests"
        if exceeds:
            yield invalid(at, text, f"must be less than or equal to {name} limit of {limit}")
        elif name not in STANDARD_RESOURCES and limit is None:
            yield required(f"{path}.limits", "Limit must be set for non overcommitable resources")
        elif name not in STANDARD_RESOURCES and parse_quantity(text) != parse_quantity(limit):
            yield invalid(at, text, f"must be equal to {name} limit of {limit}")


def _validate_amount(name: str, text: str, path: str) -> Iterator[Cause]:
    for why in qualified_name_errors(name):
        yield invalid(path, name, why)
    if "/" not in name and name not in STANDARD_RESOURCES and not name.startswith("hugepages-"):
        yield invalid(path, name, "must be a standard resource for containers")
    try:
        amount = parse_quantity(text)
    except QuantityError as error:
        yield invalid(path, text, str(error))
        return
    if amount.nanos < 0:
        yield invalid(path, text, NOT_NEGATIVE)
    if "/" in name and amount.nanos % 10**9:
        yield invalid(path, text, "must be an integer")


def _validate_probe(field: str, probe: Obj, at: str) -> Iterator[Cause]:
    yield from _validate_handler(probe, at, _PROBE_ACTIONS)
    for name in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        if probe.get(name, 0) < 0:
            yield invalid(f"{at}.{name}", probe[name], NOT_NEGATIVE)
    grace_s = probe.get("terminationGracePeriodSeconds")
    if grace_s is not None:
        if field == "readinessProbe":
            yield invalid(f"{at}.terminationGracePeriodSeconds", grace_s, "must not be set for readinessProbes")
        elif grace_s <= 0:
            yield invalid(f"{at}.terminationGracePeriodSeconds", grace_s, "must be greater than 0")
    if field != "readinessProbe" and probe.get("successThreshold", 1) != 1:
        yield invalid(f"{at}.successThreshold", probe["successThreshold"], "must be 1")


def _validate_handler(handler: Obj, at: str, actions: tuple[str, ...]) -> Iterator[Cause]:
    chosen = [action for action in actions if handler.get(action) is not None]
    if not chosen:
        yield required(at, "must specify a handler type")
    for extra in chosen[1:]:
        yield forbidden(f"{at}.{extra}", "may not specify more than 1 handler type")
    for action in chosen[:1]:
        yield from _ACTIONS[action](handler[action], f"{at}.{action}")


def _validate_exec(action: Obj, at: str) -> Iterator[Cause]:
    if not action.get("command"):
        yield required(f"{at}.command")


def _validate_http(action: Obj, at: str) -> Iterator[Cause]:
    if not action.get("path"):
        yield required(f"{at}.path")
    yield from validate_port_reference(action.get("port", 0), f"{at}.port")
    if action.get("scheme") not in SCHEMES:
        yield not_supported(f"{at}.scheme", action.get("scheme") or "", SCHEMES)
    for header in action.get("httpHeaders") or ():
        name = header.get("name", "")
        if not name or not all(c.isascii() and (c.isalnum() or c == "-") for c in name):
            why = (
                "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for "
                "validation is '[-A-Za-z0-9]+')"
            )
            yield invalid(f"{at}.httpHeaders", name, why)


def _validate_tcp(action: Obj, at: str) -> Iterator[Cause]:
    yield from validate_port_reference(action.get("port", 0), f"{at}.port")


def _validate_grpc(action: Obj, at: str) -> Iterator[Cause]:
    for why in port_number_errors(action.get("port", 0)):
        yield invalid(f"{at}.port", action.get("port", 0), why)


def _validate_sleep(action: Obj, at: str) -> Iterator[Cause]:
    if action.get("seconds", 0) < 0:
        yield invalid(f"{at}.seconds", action["seconds"], NOT_NEGATIVE)


_ACTIONS: dict[str, Callable[[Obj, str], Iterator[Cause]]] = {
    "exec": _validate_exec,
    "httpGet": _validate_http,
    "tcpSocket": _validate_tcp,
    "grpc": _validate_grpc,
    "sleep": _validate_sleep,
}
_PROBE_ACTIONS = ("exec", "httpGet", "tcpSocket", "grpc")
_HOOK_ACTIONS = ("exec", "httpGet", "tcpSocket", "sleep")


def validate_port_reference(port: int | str, path: str) -> Iterator[Cause]:
    """A port by number or by name."""
    for why in port_number_errors(port) if isinstance(port, int) else port_name_errors(port):
        yield invalid(path, port, why)


def _validate_security_context(context: Obj, at: str) -> Iterator[Cause]:
    for field in ("runAsUser", "runAsGroup"):
        value = context.get(field)
        if value is not None and not 0 <= value <= 2**31 - 1:
            yield invalid(f"{at}.{field}", value, "must be between 0 and 2147483647, inclusive")
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            yield invalid(at, context, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
        added = (context.get("capabilities") or {}).get("add") or ()
        if "CAP_SYS_ADMIN" in added or "SYS_ADMIN" in added:
            why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            yield invalid(at, context, why)
