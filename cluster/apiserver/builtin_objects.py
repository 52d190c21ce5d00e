"""Objects that every cluster has besides namespaces and roles: priorities, flow control, the Service range, a storage class.

Pure: what they are, and what a start does with one that is there already.  `bootstrap` writes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network

from cluster.machinery.objects import Obj, annotations_of, field_of, name_of
from cluster.machinery.resource import Resource
from cluster.resources.builtin import (
    FLOW_SCHEMAS,
    PRIORITY_CLASSES,
    PRIORITY_LEVEL_CONFIGURATIONS,
    SERVICE_CIDRS,
    STORAGE_CLASSES,
)
from cluster.resources.flow_defaults import (
    AUTOUPDATE,
    MANDATORY_LEVELS,
    MANDATORY_SCHEMAS,
    SUGGESTED_LEVELS,
    SUGGESTED_SCHEMAS,
)
from cluster.resources.local_path import local_path_class
from cluster.resources.networking_addresses import DEFAULT_RANGE, service_cidr
from cluster.resources.scheduling import system_priority_classes


def builtin_objects(network: IPv4Network) -> Sequence[tuple[Resource, Obj]]:
    """`network` is the range that Services get their addresses from."""
    return (
        *((PRIORITY_CLASSES, obj) for obj in system_priority_classes()),
        *((PRIORITY_LEVEL_CONFIGURATIONS, obj) for obj in (*MANDATORY_LEVELS.values(), *SUGGESTED_LEVELS)),
        *((FLOW_SCHEMAS, obj) for obj in (*MANDATORY_SCHEMAS.values(), *SUGGESTED_SCHEMAS)),
        (STORAGE_CLASSES, local_path_class()),
        (SERVICE_CIDRS, service_cidr(DEFAULT_RANGE, str(network))),
    )


def is_outdated(live: Obj, wanted: Obj) -> bool:
    """Whether `live` has to become `wanted`: a range always, flow control where nobody took it into their own hands."""
    if live.get("spec") == wanted.get("spec"):
        return False
    if wanted["kind"] == "ServiceCIDR":
        return True
    mandatory = name_of(wanted) in MANDATORY_SCHEMAS
    # How much the exempt level lends is everybody's to change; its name is also a schema's, which is not.
    adjustable = wanted["kind"] == "PriorityLevelConfiguration" and field_of(wanted, "spec", "type") == "Exempt"
    return (mandatory and not adjustable) or annotations_of(live).get(AUTOUPDATE) == "true"
