"""NetworkPolicy.  Upstream: pkg/apis/networking/{v1/defaults,validation/validation}.go ValidateNetworkPolicy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from ipaddress import ip_network
from typing import Any

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import forbidden, invalid, not_supported, required
from cluster.machinery.names import port_name_errors, port_number_errors
from cluster.machinery.objects import GroupKind, Obj, field_of
from cluster.machinery.selectors import selector_of
from cluster.resources.defaulting import each, filled
from cluster.resources.kind import Kind
from cluster.resources.pod_validation import validate_label_selector
from cluster.resources.printing import AGE, NAME, NONE, Column
from cluster.resources.strategy import GenericStrategy

POLICY_TYPES = ("Ingress", "Egress")
PROTOCOLS = ("TCP", "UDP", "SCTP")
NOT_A_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
NOT_A_SUBSET = "must be a strict subset of `cidr`"


class NetworkPolicyStrategy(GenericStrategy):
    has_generation = True

    def default(self, obj: Obj) -> Obj:
        spec = filled(obj.get("spec") or {}, absent={"podSelector": {}})
        for field in ("ingress", "egress"):
            each(spec, field, _default_rule)
        if not spec.get("policyTypes"):
            # Ingress is always meant; Egress only by a policy that has rules for it.
            spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
        return {**obj, "spec": spec}

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(_validate_spec(obj.get("spec") or {}))


def _default_rule(rule: Obj) -> Obj:
    made = filled(rule)
    each(made, "ports", lambda port: filled(port, {"protocol": "TCP"}))
    return made


def _validate_spec(spec: Obj) -> Iterator[Cause]:
    yield from validate_label_selector(spec.get("podSelector") or {}, "spec.podSelector")
    for field, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(field) or ()):
            path = f"spec.{field}[{index}]"
            for place, port in enumerate(rule.get("ports") or ()):
                yield from _validate_port(port, f"{path}.ports[{place}]")
            for place, peer in enumerate(rule.get(peers) or ()):
                yield from _validate_peer(peer, f"{path}.{peers}[{place}]")
    types = spec.get("policyTypes") or ()
    if len(types) > len(POLICY_TYPES):
        yield invalid("spec.policyTypes", types, "may not specify more than two policyTypes")
        return
    for index, kind in enumerate(types):
        if kind not in POLICY_TYPES:
            yield not_supported(f"spec.policyTypes[{index}]", kind, POLICY_TYPES)


def _validate_port(entry: Obj, path: str) -> Iterator[Cause]:
    if entry.get("protocol", "TCP") not in PROTOCOLS:
        yield not_supported(f"{path}.protocol", entry["protocol"], PROTOCOLS)
    port, end = entry.get("port"), entry.get("endPort")
    match port:
        case None:
            if end is not None:
                yield invalid(f"{path}.endPort", end, "may not be specified when `port` is not specified")
        case int():
            for why in port_number_errors(port):
                yield invalid(f"{path}.port", port, why)
            if end is not None:
                if end < port:
                    yield invalid(f"{path}.endPort", end, "must be greater than or equal to `port`")
                for why in port_number_errors(end):
                    yield invalid(f"{path}.endPort", end, why)
        case _:
            if end is not None:
                yield invalid(f"{path}.endPort", end, "may not be specified when `port` is non-numeric")
            for why in port_name_errors(str(port)):
                yield invalid(f"{path}.port", port, why)


def _validate_peer(peer: Obj, path: str) -> Iterator[Cause]:
    selectors = [field for field in ("podSelector", "namespaceSelector") if peer.get(field) is not None]
    for field in selectors:
        yield from validate_label_selector(peer[field], f"{path}.{field}")
    block = peer.get("ipBlock")
    if block is not None:
        yield from _validate_block(block, f"{path}.ipBlock")
    if not selectors and block is None:
        yield required(path, "must specify a peer")
    elif selectors and block is not None:
        yield forbidden(path, "may not specify both ipBlock and another peer")


def _validate_block(block: Obj, path: str) -> Iterator[Cause]:
    cidr = block.get("cidr") or ""
    if not cidr:
        yield required(f"{path}.cidr")
        return
    network = network_of(cidr)
    if network is None:
        yield invalid(f"{path}.cidr", cidr, NOT_A_CIDR)
        return
    for index, text in enumerate(block.get("except") or ()):
        at, inner = f"{path}.except[{index}]", network_of(text)
        if inner is None:
            yield invalid(at, text, NOT_A_CIDR)
        elif inner.version != network.version or inner == network or not inner.subnet_of(network):
            yield invalid(at, text, NOT_A_SUBSET)


def network_of(text: str) -> Any:
    """The network that `address/length` lies in, host bits ignored as Go does; None when it is no CIDR."""
    if "/" not in text:
        return None
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _pods_cell(obj: Obj, now: datetime) -> str:
    return str(selector_of(field_of(obj, "spec", "podSelector"))) or NONE


KINDS: Mapping[GroupKind, Kind] = {
    GroupKind("networking.k8s.io", "NetworkPolicy"): Kind(
        NetworkPolicyStrategy(), (NAME, Column("Pod-Selector", _pods_cell, description="Pods it applies to"), AGE)
    ),
}
