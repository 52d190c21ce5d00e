"""Write `data/protobuf.json.z`: which field number means what in Kubernetes' protobuf.

Run by hand on a version bump: `python -m cluster.resources.generate_protobuf PATH-OF-KUBECTL`, one of the
same minor version.  Every Go client binary carries
its FileDescriptorProtos, gzipped; they give names, numbers and types.  Three things they do not tell are joined here: required
fields and inlined messages from the OpenAPI definitions, and which scalars are pointers in Go from the list below.  The
CustomResourceDefinition and APIService types are in no such binary and are entered by hand.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from cluster.machinery.protobuf import INLINED, KEEP_ZERO, MAP, REPEATED, fields_of
from cluster.resources.apiservice_protobuf import APISERVICE_MESSAGES, APISERVICE_PACKAGE
from cluster.resources.crd_protobuf import CRD_MESSAGES, CRD_PACKAGE
from cluster.resources.schemas import definitions

DATA = Path(__file__).parent / "data" / "protobuf.json.z"
DESCRIPTOR_MAX_BYTES = 2 * 1024 * 1024

POINTERS = frozenset((
    "activeDeadlineSeconds", "allocateLoadBalancerNodePorts", "allowPrivilegeEscalation", "allowVolumeExpansion",
    "attachRequired", "automountServiceAccountToken", "averageUtilization", "backoffLimit", "backoffLimitPerIndex",
    "blockOwnerDeletion", "borrowingLimitPercent", "completions", "controller", "defaultMode",
    "deletionGracePeriodSeconds", "enableServiceLinks", "endPort", "expirationSeconds", "failedJobsHistoryLimit",
    "fsGroup", "fsGroupChangePolicy", "gracePeriodSeconds", "hostProcess", "hostUsers", "immutable",
    "leaseDurationSeconds", "leaseTransitions", "lendablePercent", "manualSelector", "maxFailedIndexes", "maxLength",
    "maxItems", "maxProperties", "maximum", "minDomains", "minItems", "minLength", "minProperties", "minReplicas",
    "minimum", "mode", "multipleOf", "nominalConcurrencyShares", "optional", "orphanDependents", "parallelism",
    "partition", "podInfoOnMount", "priority", "privileged", "progressDeadlineSeconds", "readOnlyRootFilesystem",
    "requiresRepublish", "revisionHistoryLimit", "runAsGroup", "runAsNonRoot", "runAsUser", "seLinuxMount",
    "setHostnameAsFQDN", "shareProcessNamespace", "stabilizationWindowSeconds", "started", "startingDeadlineSeconds",
    "storageCapacity", "storageClassName", "successfulJobsHistoryLimit", "suspend", "targetCPUUtilizationPercentage",
    "terminationGracePeriodSeconds", "tolerationSeconds", "ttlSecondsAfterFinished",
    "x-kubernetes-preserve-unknown-fields",
))  # fmt: skip
"""Scalars whose zero is a statement, by field name, wherever they occur."""

POINTERS_OF: Mapping[str, frozenset[str]] = {
    "DeploymentSpec": frozenset({"replicas"}),
    "ReplicaSetSpec": frozenset({"replicas"}),
    "ReplicationControllerSpec": frozenset({"replicas"}),
    "StatefulSetSpec": frozenset({"replicas"}),
    "ScaleSpec": frozenset({"replicas"}),
    "EndpointConditions": frozenset({"ready", "serving", "terminating"}),
    "EndpointPort": frozenset({"port"}),
    "LeaseSpec": frozenset({"holderIdentity"}),
    "ClientIPConfig": frozenset({"timeoutSeconds"}),
    "ListOptions": frozenset({"timeoutSeconds"}),
    "MutatingWebhook": frozenset({"timeoutSeconds"}),
    "ValidatingWebhook": frozenset({"timeoutSeconds"}),
    "PatchOptions": frozenset({"force"}),
}
"""Names that are a pointer in some messages only."""

_KINDS = {1: "double", 3: "int", 4: "uint", 5: "int", 8: "bool", 9: "string", 12: "bytes", 13: "uint"}
_MESSAGE = 11
_REPEATED_LABEL = 3
_META = "k8s.io.apimachinery.pkg.apis.meta.v1."


def descriptors_in(binary: bytes) -> Iterator[bytes]:
    """The FileDescriptorProtos embedded in a Go binary, decompressed."""
    for match in re.finditer(b"\x1f\x8b\x08", binary):
        stream = zlib.decompressobj(31)
        try:
            content = stream.decompress(binary[match.start() :], DESCRIPTOR_MAX_BYTES)
        except zlib.error:
            continue
        if content[:1] == b"\x0a" and content[2 : 2 + content[1]].startswith(b"k8s.io/api"):
            yield content


def messages_of(descriptor: bytes) -> dict[str, dict[str, tuple[str, str, str]]]:
    """Every message of a file by full name: field number to (proto name, kind, flags)."""
    package = next(_text(field.value) for field in fields_of(descriptor) if field.number == 2)
    found: dict[str, dict[str, tuple[str, str, str]]] = {}
    for field in fields_of(descriptor):
        if field.number == 4 and isinstance(field.value, bytes):
            _read_message(field.value, package, found)
    return found


def _read_message(data: bytes, scope: str, found: dict[str, dict[str, tuple[str, str, str]]]) -> None:
    name = next(_text(field.value) for field in fields_of(data) if field.number == 1)
    full = f"{scope}.{name}"
    found[full] = {}
    entries: set[str] = set()
    for field in fields_of(data):
        if field.number == 3 and isinstance(field.value, bytes):
            _read_message(field.value, full, found)
            nested = next(_text(part.value) for part in fields_of(field.value) if part.number == 1)
            if nested.endswith("Entry"):
                entries.add(f"{full}.{nested}")
    for field in fields_of(data):
        if field.number == 2 and isinstance(field.value, bytes):
            parts = {part.number: part.value for part in fields_of(field.value)}
            kind_number = int(parts[5])
            kind = _text(parts[6]).lstrip(".") if kind_number == _MESSAGE else _KINDS[kind_number]
            flags = MAP if kind in entries else REPEATED if parts.get(4) == _REPEATED_LABEL else ""
            found[full][str(parts[3])] = (_text(parts[1]), kind, flags)


def _text(value: Any) -> str:
    return bytes(value).decode()


def table_of(binary: bytes) -> dict[str, Any]:
    """The whole table: kinds and fields of every message that the served definitions reach."""
    messages: dict[str, dict[str, tuple[str, str, str]]] = {}
    for descriptor in descriptors_in(binary):
        messages |= messages_of(descriptor)
    known = definitions()
    fields = {name: _joined(name, message, known) for name, message in messages.items()}
    fields |= _entered_by_hand(CRD_PACKAGE, CRD_MESSAGES)
    fields |= _entered_by_hand(APISERVICE_PACKAGE, APISERVICE_MESSAGES)
    kinds: dict[str, str] = {}
    for name, definition in known.items():
        message = _message_name(name)
        if message not in fields or message.startswith(_META):
            continue
        for kind in definition.get("x-kubernetes-group-version-kind", ()):
            version = f"{kind['group']}/{kind['version']}" if kind["group"] else kind["version"]
            kinds[f"{version} {kind['kind']}"] = message
    roots = {*kinds.values(), *(name for name in fields if name.startswith(_META) and name.endswith("Options"))}
    return {"kinds": dict(sorted(kinds.items())), "fields": _closure(roots, fields)}


def _joined(
    name: str, message: Mapping[str, tuple[str, str, str]], known: Mapping[str, Any]
) -> dict[str, tuple[str, str, str]]:
    """A message's fields with JSON names and the flags that only its definition tells."""
    definition = known.get(_definition_name(name))
    short = name.rpartition(".")[2]
    properties = definition.get("properties", {}) if definition else {}
    required = definition.get("required", ()) if definition else ()
    by_case = {json_name.lower(): json_name for json_name in properties}
    joined: dict[str, tuple[str, str, str]] = {}
    for number, (proto_name, kind, flags) in message.items():
        json_name = proto_name if proto_name in properties else by_case.get(proto_name.lower(), proto_name)
        message_kind = kind not in _KINDS.values()
        inlined = bool(properties) and message_kind and not flags and json_name not in properties
        keep = not message_kind and (
            json_name in POINTERS or json_name in POINTERS_OF.get(short, ()) or json_name in required
        )
        joined[number] = (json_name, kind, flags + (INLINED if inlined else "") + (KEEP_ZERO if keep else ""))
    return joined


def _entered_by_hand(
    package: str, messages: Mapping[str, Mapping[str, tuple[str, str, str]]]
) -> dict[str, dict[str, tuple[str, str, str]]]:
    """`messages` under their full names; kinds without a dot are of the same package."""
    plain = frozenset(_KINDS.values())
    return {
        f"{package}.{name}": {
            number: (
                json_name,
                kind if kind in plain or "." in kind else f"{package}.{kind}",
                flags if KEEP_ZERO in flags or json_name not in POINTERS else flags + KEEP_ZERO,
            )
            for number, (json_name, kind, flags) in message.items()
        }
        for name, message in messages.items()
    }


def _message_name(definition: str) -> str:
    if definition.startswith("io.k8s.apiextensions-apiserver."):
        return f"{CRD_PACKAGE}.{definition.rpartition('.')[2]}"
    if definition.startswith("io.k8s.kube-aggregator."):
        return f"{APISERVICE_PACKAGE}.{definition.rpartition('.')[2]}"
    return "k8s.io." + definition.removeprefix("io.k8s.")


def _definition_name(message: str) -> str:
    return "io.k8s." + message.removeprefix("k8s.io.")


def _closure(
    roots: set[str], fields: Mapping[str, Mapping[str, tuple[str, str, str]]]
) -> dict[str, Mapping[str, tuple[str, str, str]]]:
    reached: set[str] = set()
    waiting = sorted(roots)
    while waiting:
        name = waiting.pop()
        if name in reached or name not in fields:
            continue
        reached.add(name)
        waiting += [kind for _, kind, _ in fields[name].values()]
    return {name: fields[name] for name in sorted(reached)}


def main() -> None:
    table = table_of(Path(sys.argv[1]).resolve().read_bytes())
    DATA.write_bytes(zlib.compress(orjson.dumps(table), 9))


if __name__ == "__main__":
    main()
