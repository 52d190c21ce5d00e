"""IPAddress and ServiceCIDR: how ranges of Service addresses and single addresses appear as objects.

Upstream: pkg/apis/networking/validation/validation.go ValidateIPAddress, ValidateServiceCIDR.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from ipaddress import ip_address, ip_network
from typing import Any

from cluster.machinery.conditions import make_condition
from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import invalid, required
from cluster.machinery.names import label_errors, path_segment_errors, subdomain_errors
from cluster.machinery.objects import GroupKind, Obj, field_of, meta_of, name_of
from cluster.resources.immutability import validate_immutable
from cluster.resources.kind import Kind
from cluster.resources.networking_policy import NOT_A_CIDR, network_of
from cluster.resources.printing import AGE, NAME, Column
from cluster.resources.strategy import GenericStrategy

GROUP = "networking.k8s.io"
CIDRS_MAX = 2
DEFAULT_RANGE = "kubernetes"
"""Name of the ServiceCIDR that shows the configured range."""


class IPAddressStrategy(GenericStrategy):
    namespaced = False
    has_generation = True

    def _name_check(self, name: str) -> tuple[str, ...]:
        try:
            address = ip_address(name)
        except ValueError:
            return ("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",)
        return () if str(address) == name else ("must be a canonical format IP address",)

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(_validate_parent(field_of(obj, "spec", "parentRef"), "spec.parentRef"))

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        return (*self._validate(new), *validate_immutable(new, old, "spec.parentRef"))


def _validate_parent(parent: Obj | None, path: str) -> Iterator[Cause]:
    if parent is None:
        yield required(path)
        return
    checks = (
        ("group", subdomain_errors),
        ("resource", path_segment_errors),
        ("name", path_segment_errors),
        ("namespace", label_errors),
    )
    for field, check in checks:
        text = parent.get(field) or ""
        if not text and field in ("resource", "name"):
            yield required(f"{path}.{field}")
        for why in check(text) if text else ():
            yield invalid(f"{path}.{field}", text, why)


class ServiceCIDRStrategy(GenericStrategy):
    namespaced = False
    has_status = True
    has_generation = True

    def _first_status(self, obj: Obj) -> Any:
        if name_of(obj) != DEFAULT_RANGE:
            return {}
        ready = make_condition("Ready", True, "", "Kubernetes Service CIDR is ready")
        return {
            "conditions": [{"lastTransitionTime": meta_of(obj).get("creationTimestamp", ""), "reason": "", **ready}]
        }

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(_validate_cidrs(field_of(obj, "spec", "cidrs", default=()), "spec.cidrs"))

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        return (*self._validate(new), *validate_immutable(new, old, "spec.cidrs"))


def _validate_cidrs(cidrs: list[str] | tuple[str, ...], path: str) -> Iterator[Cause]:
    if not cidrs:
        yield required(path, "at least one CIDR required")
    if len(cidrs) > CIDRS_MAX:
        yield invalid(path, list(cidrs), "may only hold up to 2 values")
    families: list[int] = []
    for index, text in enumerate(cidrs):
        network = network_of(text)
        if network is None:
            yield invalid(f"{path}[{index}]", text, NOT_A_CIDR)
            continue
        families.append(network.version)
        if str(network) != text:
            yield invalid(f"{path}[{index}]", text, f'must be in canonical form ("{network}")')
    if len(families) == CIDRS_MAX and families[0] == families[1]:
        why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
        yield invalid(path, list(cidrs), why)


def service_cidr(name: str, cidr: str) -> Obj:
    """The ServiceCIDR that says which range Services get their addresses from.  Raises ValueError for no range."""
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": name},
        "spec": {"cidrs": [str(ip_network(cidr))]},
    }


def _parent_cell(obj: Obj, now: datetime) -> str:
    parent = field_of(obj, "spec", "parentRef", default={})
    group, resource = parent.get("group") or "", parent.get("resource") or ""
    named = f"{resource}.{group}" if group else resource
    return "/".join(part for part in (named.lower(), parent.get("namespace"), parent.get("name")) if part)


def _cidrs_cell(obj: Obj, now: datetime) -> str:
    return ",".join(field_of(obj, "spec", "cidrs", default=()))


KINDS: Mapping[GroupKind, Kind] = {
    GroupKind(GROUP, "IPAddress"): Kind(
        IPAddressStrategy(), (NAME, Column("ParentRef", _parent_cell, description="What the address is given to"), AGE)
    ),
    GroupKind(GROUP, "ServiceCIDR"): Kind(
        ServiceCIDRStrategy(), (NAME, Column("CIDRs", _cidrs_cell, description="Ranges of Service addresses"), AGE)
    ),
}
