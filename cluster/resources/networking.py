"""The networking group's Ingress and IngressClass.

Upstream: pkg/apis/networking/{v1/defaults,validation/validation}.go, pkg/registry/networking/*/strategy.go, pkg/printers.
Policies and addresses have files of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from ipaddress import ip_address
from typing import Any

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import forbidden, invalid, not_supported, required, too_long
from cluster.machinery.names import (
    label_errors,
    path_segment_errors,
    port_name_errors,
    port_number_errors,
    service_name_errors,
    subdomain_errors,
    wildcard_subdomain_errors,
)
from cluster.machinery.objects import GroupKind, Obj, annotations_of, field_of
from cluster.resources.defaulting import filled
from cluster.resources.immutability import validate_immutable
from cluster.resources.kind import Kind
from cluster.resources.printing import AGE, NAME, NONE, Column, field_cell
from cluster.resources.strategy import GenericStrategy

GROUP = "networking.k8s.io"
CLASS_ANNOTATION = "kubernetes.io/ingress.class"
PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
CONTROLLER_MAX = 250
HOSTS_SHOWN_MAX = 3
_BAD_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
_BAD_SUFFIXES = ("/..", "/.")
_HTTP_PATH = re.compile(r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+\Z")


class IngressStrategy(GenericStrategy):
    has_status = True
    has_generation = True

    def _first_status(self, obj: Obj) -> Any:
        return {"loadBalancer": {}}

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(_validate_ingress(obj.get("spec") or {}, annotations_of(obj)))

    def warnings(self, obj: Obj) -> tuple[str, ...]:
        if CLASS_ANNOTATION not in annotations_of(obj) or field_of(obj, "spec", "ingressClassName") is not None:
            return ()
        return (f"annotation \"{CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead",)


def _validate_ingress(spec: Obj, annotations: Mapping[str, str]) -> Iterator[Cause]:
    rules, default = spec.get("rules") or [], spec.get("defaultBackend")
    if not rules and default is None:
        yield invalid("spec", rules, "either `defaultBackend` or `rules` must be specified")
    if default is not None:
        yield from _validate_backend(default, "spec.defaultBackend")
    for index, rule in enumerate(rules):
        yield from _validate_rule(rule, f"spec.rules[{index}]")
    for index, tls in enumerate(spec.get("tls") or ()):
        yield from _validate_tls(tls, f"spec.tls[{index}]")
    name = spec.get("ingressClassName")
    if name is None:
        return
    for why in subdomain_errors(name):
        yield invalid("spec.ingressClassName", name, why)
    if annotations.get(CLASS_ANNOTATION, name) != name:
        why = "must match `ingressClassName` when both are specified"
        yield invalid(f"annotations.{CLASS_ANNOTATION}", annotations[CLASS_ANNOTATION], why)


def _validate_host(host: str, path: str) -> Iterator[Cause]:
    for why in wildcard_subdomain_errors(host) if "*" in host else subdomain_errors(host):
        yield invalid(path, host, why)


def _validate_rule(rule: Obj, path: str) -> Iterator[Cause]:
    if host := rule.get("host"):
        if _is_ip(host):
            yield invalid(f"{path}.host", host, "must be a DNS name, not an IP address")
        yield from _validate_host(host, f"{path}.host")
    if (http := rule.get("http")) is None:
        return
    paths = http.get("paths") or ()
    if not paths:
        yield required(f"{path}.http.paths")
    for index, entry in enumerate(paths):
        yield from _validate_path(entry, f"{path}.http.paths[{index}]")


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _validate_path(entry: Obj, path: str) -> Iterator[Cause]:
    kind, text = entry.get("pathType"), entry.get("path") or ""
    if not kind:
        yield required(f"{path}.pathType", "pathType must be specified")
        return
    if kind not in PATH_TYPES:
        yield not_supported(f"{path}.pathType", kind, PATH_TYPES)
    elif (text or kind != "ImplementationSpecific") and not text.startswith("/"):
        yield invalid(f"{path}.path", text, "must be an absolute path")
    if kind in ("Exact", "Prefix"):
        for part in _BAD_SEQUENCES:
            if part in text:
                yield invalid(f"{path}.path", text, f"must not contain '{part}'")
        for part in _BAD_SUFFIXES:
            if text.endswith(part):
                yield invalid(f"{path}.path", text, f"cannot end with '{part}'")
    yield from _validate_backend(entry.get("backend") or {}, f"{path}.backend")


def _validate_backend(backend: Obj, path: str) -> Iterator[Cause]:
    resource, service = backend.get("resource"), backend.get("service")
    if resource is not None and service is not None:
        yield invalid(path, "", "cannot set both resource and service backends")
    elif resource is not None:
        yield from _validate_reference(resource, f"{path}.resource")
    elif service is not None:
        yield from _validate_service(service, path)
    else:
        yield invalid(path, "", "resource or service backend is required")


def _validate_service(service: Obj, path: str) -> Iterator[Cause]:
    name = service.get("name") or ""
    if not name:
        yield required(f"{path}.service.name")
    else:
        for why in service_name_errors(name):
            yield invalid(f"{path}.service.name", name, why)
    port = service.get("port") or {}
    port_name, number = port.get("name") or "", port.get("number") or 0
    if port_name and number:
        yield invalid(path, "", "cannot set both port name & port number")
    elif port_name:
        for why in port_name_errors(port_name):
            yield invalid(f"{path}.service.port.name", port_name, why)
    elif number:
        for why in port_number_errors(number):
            yield invalid(f"{path}.service.port.number", number, why)
    else:
        yield required(path, "port name or number is required")


def _validate_reference(reference: Obj, path: str) -> Iterator[Cause]:
    if (group := reference.get("apiGroup")) is not None:
        for why in subdomain_errors(group):
            yield invalid(f"{path}.apiGroup", group, why)
    for field in ("kind", "name"):
        text = reference.get(field) or ""
        if not text:
            yield required(f"{path}.{field}")
        for why in path_segment_errors(text):
            yield invalid(f"{path}.{field}", text, why)


def _validate_tls(tls: Obj, path: str) -> Iterator[Cause]:
    for index, host in enumerate(tls.get("hosts") or ()):
        yield from _validate_host(host, f"{path}.hosts[{index}]")
    if secret := tls.get("secretName"):
        for why in subdomain_errors(secret):
            yield invalid(f"{path}.secretName", secret, why)


class IngressClassStrategy(GenericStrategy):
    namespaced = False
    has_generation = True

    def default(self, obj: Obj) -> Obj:
        spec = obj.get("spec") or {}
        if not spec.get("parameters"):
            return obj
        return {**obj, "spec": {**spec, "parameters": filled(spec["parameters"], absent={"scope": "Cluster"})}}

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        spec = obj.get("spec") or {}
        found = [*_validate_controller(spec.get("controller") or "", "spec.controller")]
        if parameters := spec.get("parameters"):
            found += _validate_parameters(parameters, "spec.parameters")
        return tuple(found)

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        return (*self._validate(new), *validate_immutable(new, old, "spec.controller"))


def _validate_controller(controller: str, path: str) -> Iterator[Cause]:
    """A path below a domain, as in `acme.io/foo`.  Upstream: validation.IsDomainPrefixedPath."""
    if len(controller) > CONTROLLER_MAX:
        yield too_long(path, CONTROLLER_MAX)
    if not controller:
        yield required(path)
        return
    domain, _, rest = controller.partition("/")
    if not domain or not rest:
        yield invalid(path, controller, 'must be a domain-prefixed path (such as "acme.io/foo")')
        return
    for why in subdomain_errors(domain):
        yield invalid(path, domain, why)
    if not _HTTP_PATH.match(rest):
        yield invalid(path, rest, f"Invalid path (regex used for validation is '{_HTTP_PATH.pattern[:-2]}')")


def _validate_parameters(parameters: Obj, path: str) -> Iterator[Cause]:
    yield from _validate_reference(parameters, path)
    scope, namespace = parameters.get("scope") or "", parameters.get("namespace")
    match scope:
        case "Namespace" if namespace is None:
            yield required(f"{path}.namespace", "`parameters.scope` is set to 'Namespace'")
        case "Namespace":
            for why in label_errors(str(namespace)):
                yield invalid(f"{path}.namespace", namespace, why)
        case "Cluster" if namespace is not None:
            yield forbidden(f"{path}.namespace", "`parameters.scope` is set to 'Cluster'")
        case "Cluster":
            pass
        case _:
            yield not_supported(f"{path}.scope", scope, ("Cluster", "Namespace"))


def _class_cell(obj: Obj, now: datetime) -> str:
    name: str = field_of(obj, "spec", "ingressClassName") or annotations_of(obj).get(CLASS_ANNOTATION) or NONE
    return name


def _hosts_cell(obj: Obj, now: datetime) -> str:
    hosts = [rule["host"] for rule in field_of(obj, "spec", "rules", default=()) if rule.get("host")]
    if not hosts:
        return "*"
    more = len(hosts) - HOSTS_SHOWN_MAX
    return ",".join(hosts[:HOSTS_SHOWN_MAX]) + (f" + {more} more..." if more > 0 else "")


def _address_cell(obj: Obj, now: datetime) -> str:
    entries = field_of(obj, "status", "loadBalancer", "ingress", default=())
    shown = dict.fromkeys(entry.get("ip") or entry.get("hostname") or "" for entry in entries)
    return ",".join(address for address in shown if address)


def _ports_cell(obj: Obj, now: datetime) -> str:
    return "80, 443" if field_of(obj, "spec", "tls") else "80"


def _parameters_cell(obj: Obj, now: datetime) -> str:
    parameters = field_of(obj, "spec", "parameters")
    if parameters is None:
        return NONE
    group = f".{parameters['apiGroup']}" if parameters.get("apiGroup") else ""
    return f"{parameters.get('kind', '')}{group}/{parameters.get('name', '')}"


KINDS: Mapping[GroupKind, Kind] = {
    GroupKind(GROUP, "Ingress"): Kind(
        IngressStrategy(),
        (
            NAME,
            Column("Class", _class_cell, description="The name of the IngressClass resource that should be used"),
            Column("Hosts", _hosts_cell, description="Hosts that incoming requests are matched against"),
            Column("Address", _address_cell, description="The load-balancer ingress points of this ingress"),
            Column("Ports", _ports_cell, description="Ports of TLS configurations that open"),
            AGE,
        ),
    ),
    GroupKind(GROUP, "IngressClass"): Kind(
        IngressClassStrategy(),
        (
            NAME,
            Column("Controller", field_cell("spec", "controller"), description="Controller that handles ingresses"),
            Column("Parameters", _parameters_cell, description="A reference to a resource with parameters"),
            AGE,
        ),
    ),
}
