"""The environment of a container: its own entries, whole ConfigMaps and Secrets, and the Services of its namespace.  Pure.

Upstream: pkg/kubelet/kubelet_pods.go (makeEnvironmentVariables), pkg/kubelet/envvars.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping

from cluster.kubelet.downward import DownwardError, Placement, field_value, resource_value
from cluster.kubelet.expansion import expand
from cluster.kubelet.podspec import spec_of
from cluster.kubelet.sources import Sources
from cluster.machinery.objects import Obj, name_of, namespace_of


class ConfigError(Exception):
    """The container cannot be configured yet: CreateContainerConfigError with this message."""


def environment_of(
    pod: Obj, container: Obj, *, sources: Sources, where: Placement, services: Iterable[Obj]
) -> dict[str, str]:
    """Name to value in definition order.  Later definitions win: Services, then envFrom, then env.  Raises ConfigError."""
    values: dict[str, str] = service_environment(pod, services)
    for entry in container.get("envFrom") or ():
        values.update(_whole_source(entry, namespace_of(pod), sources))
    for entry in container.get("env") or ():
        name = entry["name"]
        source = entry.get("valueFrom")
        if source:
            value = _from_source(pod, container, source, sources, where)
            if value is not None:
                values[name] = value
        else:
            values[name] = expand(entry.get("value") or "", values)
    return values


def _whole_source(entry: Obj, namespace: str, sources: Sources) -> dict[str, str]:
    prefix = entry.get("prefix") or ""
    if reference := entry.get("configMapRef"):
        config_map = _object(sources.config_maps, reference, "configmap")
        data: Mapping[str, str] = (config_map or {}).get("data") or {}
    elif reference := entry.get("secretRef"):
        secret = _object(sources.secrets, reference, "secret")
        data = {key: _secret_text(value) for key, value in ((secret or {}).get("data") or {}).items()}
    else:
        return {}
    return {f"{prefix}{key}": str(data[key]) for key in sorted(data)}


def _from_source(pod: Obj, container: Obj, source: Obj, sources: Sources, where: Placement) -> str | None:
    try:
        if reference := source.get("fieldRef"):
            return field_value(pod, str(reference.get("fieldPath", "")), where)
        if reference := source.get("resourceFieldRef"):
            return resource_value(pod, reference, where, container=container["name"])
    except DownwardError as error:
        raise ConfigError(str(error)) from error
    if reference := source.get("configMapKeyRef"):
        return _one_key(pod, reference, sources.config_maps, "configmap", "ConfigMap")
    if reference := source.get("secretKeyRef"):
        value = _one_key(pod, reference, sources.secrets, "secret", "Secret")
        return None if value is None else _secret_text(value)
    raise ConfigError("an environment variable has a source of an unknown kind")


def _one_key(pod: Obj, reference: Obj, objects: Mapping[str, Obj], word: str, kind: str) -> str | None:
    found = _object(objects, reference, word)
    data = (found or {}).get("data") or {}
    key = reference.get("key", "")
    if key in data:
        return str(data[key])
    if reference.get("optional"):
        return None
    raise ConfigError(f"couldn't find key {key} in {kind} {namespace_of(pod)}/{reference.get('name')}")


def _object(objects: Mapping[str, Obj], reference: Obj, word: str) -> Obj | None:
    name = str(reference.get("name", ""))
    if name in objects:
        return objects[name]
    if reference.get("optional"):
        return None
    raise ConfigError(f'{word} "{name}" not found')


def _secret_text(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError) as error:
        raise ConfigError("a secret's value is not base64") from error


def service_environment(pod: Obj, services: Iterable[Obj]) -> dict[str, str]:
    """The `NAME_SERVICE_HOST` family: the pod's namespace when enableServiceLinks, and always default/kubernetes."""
    namespace = namespace_of(pod)
    links = spec_of(pod).get("enableServiceLinks", True)
    chosen: dict[str, Obj] = {}
    for service in services:
        spec = service.get("spec") or {}
        if spec.get("clusterIP") in (None, "", "None"):
            continue
        own = namespace_of(service) == namespace
        if namespace_of(service) == "default" and name_of(service) == "kubernetes":
            chosen.setdefault("kubernetes", service)
        elif own and links:
            chosen[name_of(service)] = service
    values: dict[str, str] = {}
    for name in sorted(chosen):
        values.update(_variables_of(chosen[name]))
    return values


def _variables_of(service: Obj) -> dict[str, str]:
    spec = service["spec"]
    host, ports = str(spec["clusterIP"]), spec.get("ports") or ()
    prefix = name_of(service).upper().replace("-", "_")
    if not ports:
        return {}
    values = {f"{prefix}_SERVICE_HOST": host, f"{prefix}_SERVICE_PORT": str(ports[0]["port"])}
    for port in ports:
        if port.get("name"):
            values[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
    shown = f"[{host}]" if ":" in host else host
    for place, port in enumerate(ports):
        protocol = str(port.get("protocol") or "TCP")
        number = str(port["port"])
        url = f"{protocol.lower()}://{shown}:{number}"
        if place == 0:
            values[f"{prefix}_PORT"] = url
        one = f"{prefix}_PORT_{number}_{protocol.upper()}"
        values |= {one: url, f"{one}_PROTO": protocol.lower(), f"{one}_PORT": number, f"{one}_ADDR": host}
    return values
