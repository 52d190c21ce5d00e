"""Services: defaults, rules, what an update keeps.  Which addresses and node ports they get is the API server's allocation.

Upstream: pkg/apis/core/v1/defaults.go, pkg/apis/core/validation/validation.go ValidateService,
pkg/registry/core/service/storage/storage.go (normalisation, patchAllocatedValues), pkg/printers printService.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import duplicate, forbidden, invalid, not_supported, required
from cluster.machinery.names import (
    label_errors,
    labels_causes,
    port_number_errors,
    service_name_errors,
    subdomain_errors,
)
from cluster.machinery.objects import GroupKind, Obj, field_of
from cluster.machinery.selectors import selector_of_map
from cluster.resources.container_validation import PROTOCOLS, validate_port_reference
from cluster.resources.defaulting import each, filled
from cluster.resources.kind import Kind, text_at
from cluster.resources.pod_validation import validate_ip, validate_reachable_ip
from cluster.resources.printing import AGE, NAME, NONE, Column, field_cell
from cluster.resources.strategy import GenericStrategy

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
HEADLESS = "None"
AFFINITY_TIMEOUT_S = 10800
AFFINITY_TIMEOUT_MAX_S = 86400
_TRAFFIC = ("Cluster", "Local")


def is_headless(spec: Obj) -> bool:
    return spec.get("clusterIP") == HEADLESS or (spec.get("clusterIPs") or ("",))[0] == HEADLESS


def uses_cluster_ip(spec: Obj) -> bool:
    return spec.get("type") != "ExternalName"


def uses_node_ports(spec: Obj) -> bool:
    kind = spec.get("type")
    return kind == "NodePort" or (kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts", True))


class ServiceStrategy(GenericStrategy):
    allow_create_on_update = True
    has_status = True

    def _name_check(self, name: str) -> tuple[str, ...]:
        return service_name_errors(name)

    def _first_status(self, obj: Obj) -> Any:
        return {"loadBalancer": {}}

    def default(self, obj: Obj) -> Obj:
        return {**obj, "spec": _default_spec(obj.get("spec") or {})}

    def prepare_update(self, new: Obj, old: Obj) -> Obj:
        before = old.get("spec") or {}
        spec = _keep_allocated(new.get("spec") or {}, before)
        return super().prepare_update({**new, "spec": _drop_other_types(spec, before)}, old)

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(_validate_spec(obj.get("spec") or {}))

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        found = list(self._validate(new))
        after, before = new.get("spec") or {}, old.get("spec") or {}
        addresses = before.get("clusterIPs") or ()
        if uses_cluster_ip(before) and uses_cluster_ip(after) and addresses and after.get("clusterIPs") != addresses:
            found.append(invalid("spec.clusterIPs[0]", after.get("clusterIPs"), "may not change once set"))
        return tuple(found)


def _default_spec(spec: Obj) -> Obj:
    made = filled(spec, {"type": "ClusterIP", "sessionAffinity": "None"})
    each(made, "ports", _default_port)
    if made["sessionAffinity"] == "ClientIP":
        config = made.get("sessionAffinityConfig") or {}
        client = filled(config.get("clientIP") or {}, absent={"timeoutSeconds": AFFINITY_TIMEOUT_S})
        made["sessionAffinityConfig"] = {**config, "clientIP": client}
    if not uses_cluster_ip(made):
        return made
    made.setdefault("internalTrafficPolicy", "Cluster")
    if made["type"] in ("NodePort", "LoadBalancer") or made.get("externalIPs"):
        made["externalTrafficPolicy"] = made.get("externalTrafficPolicy") or "Cluster"
    if made["type"] == "LoadBalancer":
        made.setdefault("allocateLoadBalancerNodePorts", True)
    # The singular field is the first of the plural; whichever is given makes the other.
    if made.get("clusterIP") and not made.get("clusterIPs"):
        made["clusterIPs"] = [made["clusterIP"]]
    elif made.get("clusterIPs") and not made.get("clusterIP"):
        made["clusterIP"] = made["clusterIPs"][0]
    made["ipFamilyPolicy"] = made.get("ipFamilyPolicy") or "SingleStack"
    made["ipFamilies"] = made.get("ipFamilies") or ["IPv4"]
    return made


def _default_port(port: Obj) -> Obj:
    made = filled(port, {"protocol": "TCP"})
    if not made.get("targetPort") and made.get("port"):
        made["targetPort"] = made["port"]
    return made


def _keep_allocated(spec: Obj, before: Obj) -> dict[str, Any]:
    """`spec` with the addresses and node ports it has already, where it does not name others."""
    made = filled(spec)
    if uses_cluster_ip(made) and uses_cluster_ip(before):
        if not made.get("clusterIP") and not made.get("clusterIPs"):
            for field in ("clusterIP", "clusterIPs"):
                if field in before:
                    made[field] = before[field]
        for field in ("ipFamilies", "ipFamilyPolicy"):
            if not made.get(field) and field in before:
                made[field] = before[field]
    if made.get("type") in ("NodePort", "LoadBalancer") and before.get("type") in ("NodePort", "LoadBalancer"):
        known = {
            (p.get("protocol", "TCP"), p.get("port")): p["nodePort"]
            for p in before.get("ports") or ()
            if p.get("nodePort")
        }
        named = {p["nodePort"] for p in made.get("ports") or () if p.get("nodePort")}

        def keep(port: Obj) -> Obj:
            allocated = known.get((port.get("protocol") or "TCP", port.get("port")))
            return (
                {**port, "nodePort": allocated}
                if allocated and not port.get("nodePort") and allocated not in named
                else port
            )

        each(made, "ports", keep)
    return made


def _drop_other_types(spec: dict[str, Any], before: Obj) -> Obj:
    """Fields that only the old type used, and that the writer left as they were, go with the old type."""
    if uses_cluster_ip(before) and not uses_cluster_ip(spec):
        for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
            if spec.get(field) == before.get(field):
                spec.pop(field, None)
    if uses_node_ports(before) and not uses_node_ports(spec):
        old_ports = {p.get("nodePort") for p in before.get("ports") or ()}
        each(
            spec,
            "ports",
            lambda port: (
                {k: v for k, v in port.items() if k != "nodePort"} if port.get("nodePort") in old_ports else port
            ),
        )
    was_external = before.get("externalTrafficPolicy") == spec.get("externalTrafficPolicy")
    if was_external and spec.get("type") not in ("NodePort", "LoadBalancer") and not spec.get("externalIPs"):
        spec.pop("externalTrafficPolicy", None)
    if before.get("type") == "LoadBalancer" and spec.get("type") != "LoadBalancer":
        for field in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if spec.get(field) == before.get(field):
                spec.pop(field, None)
    return spec


def _validate_spec(spec: Obj) -> Iterator[Cause]:
    kind = spec.get("type", "")
    if kind not in TYPES:
        yield not_supported("spec.type", kind, TYPES)
    ports = spec.get("ports") or ()
    if not ports and not is_headless(spec) and kind != "ExternalName":
        yield required("spec.ports")
    yield from _validate_ports(spec)
    if selector := spec.get("selector"):
        yield from labels_causes(selector, "spec.selector")
    yield from _validate_affinity(spec)
    if kind == "ExternalName":
        name = str(spec.get("externalName") or "").removesuffix(".")
        if not name:
            yield required("spec.externalName")
        else:
            for why in subdomain_errors(name):
                yield invalid("spec.externalName", name, why)
        for field in ("clusterIP", "clusterIPs"):
            if spec.get(field):
                yield forbidden(f"spec.{field}", "may not be set for ExternalName services")
    else:
        yield from _validate_addresses(spec)
    for field, used in (
        ("internalTrafficPolicy", True),
        ("externalTrafficPolicy", kind in ("NodePort", "LoadBalancer")),
    ):
        policy = spec.get(field)
        if policy is not None and policy not in _TRAFFIC:
            yield not_supported(f"spec.{field}", policy, _TRAFFIC)
        elif policy is not None and not used and not spec.get("externalIPs"):
            yield invalid(f"spec.{field}", policy, "may only be set for externally-accessible services")


def _validate_affinity(spec: Obj) -> Iterator[Cause]:
    affinity = spec.get("sessionAffinity", "")
    if affinity not in ("ClientIP", "None"):
        yield not_supported("spec.sessionAffinity", affinity, ("ClientIP", "None"))
    config = spec.get("sessionAffinityConfig")
    if affinity == "None" and config is not None:
        why = "must not be set when session affinity is None"
        yield forbidden("spec.sessionAffinityConfig", why)
    timeout_s = field_of(spec, "sessionAffinityConfig", "clientIP", "timeoutSeconds")
    if affinity == "ClientIP" and timeout_s is not None and not 0 < timeout_s <= AFFINITY_TIMEOUT_MAX_S:
        path = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        yield invalid(path, timeout_s, f"must be greater than 0 and less than {AFFINITY_TIMEOUT_MAX_S}")


def _validate_addresses(spec: Obj) -> Iterator[Cause]:
    addresses = spec.get("clusterIPs") or ()
    if addresses and spec.get("clusterIP") != addresses[0]:
        yield invalid("spec.clusterIPs", list(addresses), "first value must match `clusterIP`")
    if is_headless(spec):
        if len(addresses) > 1:
            yield invalid("spec.clusterIPs", list(addresses), "may not be set to 'None' together with an address")
        if spec.get("type") in ("NodePort", "LoadBalancer"):
            yield invalid("spec.clusterIPs[0]", HEADLESS, f"may not be set to 'None' for {spec['type']} services")
    else:
        for index, address in enumerate(addresses):
            yield from validate_ip(address, f"spec.clusterIPs[{index}]")
    for index, address in enumerate(spec.get("externalIPs") or ()):
        yield from validate_reachable_ip(address, f"spec.externalIPs[{index}]")
    for index, family in enumerate(spec.get("ipFamilies") or ()):
        if family not in ("IPv4", "IPv6"):
            yield not_supported(f"spec.ipFamilies[{index}]", family, ("IPv4", "IPv6"))
    policy = spec.get("ipFamilyPolicy")
    choices = ("SingleStack", "PreferDualStack", "RequireDualStack")
    if policy is not None and policy not in choices:
        yield not_supported("spec.ipFamilyPolicy", policy, choices)


def _validate_ports(spec: Obj) -> Iterator[Cause]:
    ports = spec.get("ports") or ()
    kind = spec.get("type", "")
    names: set[str] = set()
    numbers: set[tuple[str, int]] = set()
    node_ports: set[tuple[str, int]] = set()
    for index, port in enumerate(ports):
        at = f"spec.ports[{index}]"
        name, protocol, number = port.get("name") or "", port.get("protocol", ""), port.get("port", 0)
        if name:
            for why in label_errors(name):
                yield invalid(f"{at}.name", name, why)
            if name in names:
                yield duplicate(f"{at}.name", name)
            names.add(name)
        elif len(ports) > 1:
            yield required(f"{at}.name")
        for why in port_number_errors(number):
            yield invalid(f"{at}.port", number, why)
        if protocol not in PROTOCOLS:
            yield not_supported(f"{at}.protocol", protocol, PROTOCOLS)
        if target := port.get("targetPort"):
            yield from validate_port_reference(target, f"{at}.targetPort")
        if (protocol, number) in numbers:
            yield duplicate(at, {"port": number, "protocol": protocol})
        numbers.add((protocol, number))
        if node_port := port.get("nodePort"):
            if kind not in ("NodePort", "LoadBalancer"):
                yield forbidden(f"{at}.nodePort", f"may not be used when `type` is '{kind}'")
            elif (protocol, node_port) in node_ports:
                yield duplicate(f"{at}.nodePort", node_port)
            node_ports.add((protocol, node_port))


def _addresses_cell(service: Obj, now: datetime) -> str:
    spec = service.get("spec") or {}
    external = list(spec.get("externalIPs") or ())
    match spec.get("type"):
        case "ExternalName":
            return str(spec.get("externalName") or NONE)
        case "LoadBalancer":
            ingress = field_of(service, "status", "loadBalancer", "ingress", default=())
            found = [str(point.get("ip") or point.get("hostname") or "") for point in ingress]
            return ",".join((*found, *external)) or "<pending>"
        case _:
            return ",".join(external) or NONE


def _ports_cell(service: Obj, now: datetime) -> str:
    worded = []
    for port in field_of(service, "spec", "ports", default=()):
        node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
        worded.append(f"{port.get('port')}{node_port}/{port.get('protocol', 'TCP')}")
    return ",".join(worded) or NONE


def _selector_cell(service: Obj, now: datetime) -> str:
    selector = field_of(service, "spec", "selector", default={})
    return str(selector_of_map(selector)) if selector else NONE


COLUMNS = (
    NAME,
    Column("Type", field_cell("spec", "type")),
    Column("Cluster-IP", field_cell("spec", "clusterIP", default=NONE)),
    Column("External-IP", _addresses_cell),
    Column("Port(s)", _ports_cell),
    AGE,
    Column("Selector", _selector_cell, wide=True),
)

KINDS: Mapping[GroupKind, Kind] = {
    GroupKind("", "Service"): Kind(
        ServiceStrategy(),
        COLUMNS,
        {"spec.clusterIP": text_at("spec", "clusterIP"), "spec.type": text_at("spec", "type")},
    ),
}
