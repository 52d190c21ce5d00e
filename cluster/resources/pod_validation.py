"""What must hold of a pod's spec, in a pod or in a template.

Upstream: pkg/apis/core/validation/validation.go ValidatePodSpec.  Containers and volumes have files of their own.  Whether a
well-formed field is allowed or enforced is decided by admission, not here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import duplicate, forbidden, invalid, not_supported, required
from cluster.machinery.names import (
    label_errors,
    label_value_errors,
    labels_causes,
    qualified_name_errors,
    subdomain_errors,
)
from cluster.machinery.objects import Obj
from cluster.resources.container_validation import validate_containers
from cluster.resources.volume_validation import validate_volumes

RESTART_POLICIES = ("Always", "OnFailure", "Never")
DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
TOLERATION_OPERATORS = ("Equal", "Exists")
TAINT_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")
SYSCTL = re.compile(r"[a-z0-9]([-_a-z0-9]*[a-z0-9])?([./][a-z0-9]([-_a-z0-9]*[a-z0-9])?)*\Z")
NAMESERVERS_MAX = 3
SEARCHES_MAX = 32


def validate_pod_spec(spec: Obj, path: str = "spec") -> Iterator[Cause]:
    """Causes below `path`; `spec` is defaulted."""
    volumes = spec.get("volumes") or ()
    yield from validate_volumes(volumes, f"{path}.volumes")
    yield from validate_containers(spec, path, {volume.get("name", "") for volume in volumes})
    restart_policy = spec.get("restartPolicy", "")
    if restart_policy not in RESTART_POLICIES:
        yield not_supported(f"{path}.restartPolicy", restart_policy, RESTART_POLICIES)
    yield from _validate_dns(spec, path)
    grace_s = spec.get("terminationGracePeriodSeconds")
    if grace_s is not None and grace_s < 0:
        yield invalid(f"{path}.terminationGracePeriodSeconds", grace_s, "must be greater than or equal to 0")
    deadline_s = spec.get("activeDeadlineSeconds")
    if deadline_s is not None and not 1 <= deadline_s <= 2**31 - 1:
        yield invalid(f"{path}.activeDeadlineSeconds", deadline_s, "must be between 1 and 2147483647, inclusive")
    if selector := spec.get("nodeSelector"):
        yield from labels_causes(selector, f"{path}.nodeSelector")
    for field, check in _NAMES.items():
        if name := spec.get(field):
            for why in check(name):
                yield invalid(f"{path}.{field}", name, why)
    if spec.get("nodeName") and spec.get("schedulingGates"):
        yield forbidden(f"{path}.nodeName", "cannot be set until all schedulingGates have been cleared")
    if context := spec.get("securityContext"):
        yield from _validate_security_context(context, f"{path}.securityContext")
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        yield invalid(f"{path}.shareProcessNamespace", True, "ShareProcessNamespace and HostPID cannot both be enabled")
    for index, toleration in enumerate(spec.get("tolerations") or ()):
        yield from validate_toleration(toleration, f"{path}.tolerations[{index}]")
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        alias_path = f"{path}.hostAliases[{index}]"
        yield from validate_ip(alias.get("ip", ""), f"{alias_path}.ip")
        for name in alias.get("hostnames") or ():
            for why in subdomain_errors(name):
                yield invalid(f"{alias_path}.hostnames", name, why)
    for index, gate in enumerate(spec.get("readinessGates") or ()):
        for why in qualified_name_errors(gate.get("conditionType", "")):
            yield invalid(f"{path}.readinessGates[{index}].conditionType", gate.get("conditionType", ""), why)
    yield from _validate_scheduling_gates(spec.get("schedulingGates") or (), f"{path}.schedulingGates")
    yield from _validate_spread(spec.get("topologySpreadConstraints") or (), f"{path}.topologySpreadConstraints")
    if affinity := spec.get("affinity"):
        yield from _validate_affinity(affinity, f"{path}.affinity")


_NAMES = {
    "serviceAccountName": subdomain_errors,
    "nodeName": subdomain_errors,
    "hostname": label_errors,
    "subdomain": label_errors,
    "priorityClassName": subdomain_errors,
    "runtimeClassName": subdomain_errors,
    "schedulerName": qualified_name_errors,
}


def validate_ip(text: str, path: str) -> Iterator[Cause]:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        yield invalid(path, text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")


def validate_reachable_ip(text: str, path: str) -> Iterator[Cause]:
    """An address that another host could have, however it is written.

    Upstream: ValidateNonSpecialIP; deliberately stricter about multicast, all of which is refused.
    """
    if wrong := tuple(validate_ip(text, path)):
        yield from wrong
        return
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_unspecified:
        yield invalid(path, text, f"may not be unspecified ({text})")
    if address.is_loopback:
        yield invalid(path, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if address.is_link_local:
        yield invalid(path, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    if address.is_multicast:
        yield invalid(path, text, "may not be in the multicast range (224.0.0.0/4, ff00::/8)")


def _validate_dns(spec: Obj, path: str) -> Iterator[Cause]:
    policy, config = spec.get("dnsPolicy", ""), spec.get("dnsConfig")
    if policy not in DNS_POLICIES:
        yield not_supported(f"{path}.dnsPolicy", policy, DNS_POLICIES)
    servers = (config or {}).get("nameservers") or ()
    if policy == "None":
        if config is None:
            why = "must provide `dnsConfig` when `dnsPolicy` is None"
            yield required(f"{path}.dnsConfig", why)
        elif not servers:
            yield required(
                f"{path}.dnsConfig.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None"
            )
    if config is None:
        return
    if len(servers) > NAMESERVERS_MAX:
        yield invalid(
            f"{path}.dnsConfig.nameservers", list(servers), f"must not have more than {NAMESERVERS_MAX} nameservers"
        )
    for index, server in enumerate(servers):
        yield from validate_ip(server, f"{path}.dnsConfig.nameservers[{index}]")
    searches = config.get("searches") or ()
    if len(searches) > SEARCHES_MAX:
        yield invalid(
            f"{path}.dnsConfig.searches", list(searches), f"must not have more than {SEARCHES_MAX} search paths"
        )
    for index, search in enumerate(searches):
        # A single dot means "no search"; a trailing one is allowed.
        if search != ".":
            for why in subdomain_errors(search.removesuffix(".").replace("_", "-")):
                yield invalid(f"{path}.dnsConfig.searches[{index}]", search, why)
    for index, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            yield required(f"{path}.dnsConfig.options[{index}]", "must not be empty")


def _validate_security_context(context: Obj, path: str) -> Iterator[Cause]:
    for field in ("runAsUser", "runAsGroup", "fsGroup"):
        yield from validate_id(context.get(field), f"{path}.{field}")
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        yield from validate_id(group, f"{path}.supplementalGroups[{index}]")
    policy = context.get("fsGroupChangePolicy")
    if policy is not None and policy not in ("OnRootMismatch", "Always"):
        yield not_supported(f"{path}.fsGroupChangePolicy", policy, ("OnRootMismatch", "Always"))
    seen: set[str] = set()
    for index, sysctl in enumerate(context.get("sysctls") or ()):
        name, sysctl_path = sysctl.get("name", ""), f"{path}.sysctls[{index}].name"
        if not name:
            yield required(sysctl_path)
        elif len(name) > 253 or not SYSCTL.match(name):
            yield invalid(sysctl_path, name, f"must have at most 253 characters and match regex {SYSCTL.pattern[:-2]}")
        elif name in seen:
            yield duplicate(sysctl_path, name)
        seen.add(name)


def validate_id(value: int | None, path: str) -> Iterator[Cause]:
    """A user or group id."""
    if value is not None and not 0 <= value <= 2**31 - 1:
        yield invalid(path, value, "must be between 0 and 2147483647, inclusive")


def validate_toleration(toleration: Obj, path: str) -> Iterator[Cause]:
    key, operator, effect = (toleration.get(field) or "" for field in ("key", "operator", "effect"))
    if key:
        for why in qualified_name_errors(key):
            yield invalid(f"{path}.key", key, why)
    elif operator != "Exists":
        yield invalid(
            f"{path}.operator",
            operator,
            'operator must be Exists when `key` is empty, which means "match all values and all keys"',
        )
    if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
        yield invalid(f"{path}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
    match operator:
        case "" | "Equal":
            for why in label_value_errors(toleration.get("value") or ""):
                yield invalid(f"{path}.operator", toleration.get("value"), why)
        case "Exists":
            if toleration.get("value"):
                yield invalid(f"{path}.operator", toleration, "value must be empty when `operator` is 'Exists'")
        case _:
            yield not_supported(f"{path}.operator", operator, TOLERATION_OPERATORS)
    if effect and effect not in TAINT_EFFECTS:
        yield not_supported(f"{path}.effect", effect, TAINT_EFFECTS)


def _validate_scheduling_gates(gates: Sequence[Obj], path: str) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, gate in enumerate(gates):
        name = gate.get("name", "")
        for why in qualified_name_errors(name):
            yield invalid(f"{path}[{index}]", name, why)
        if name in seen:
            yield duplicate(f"{path}[{index}]", name)
        seen.add(name)


def _validate_spread(constraints: Sequence[Obj], path: str) -> Iterator[Cause]:
    seen: set[tuple[str, str]] = set()
    for index, constraint in enumerate(constraints):
        at = f"{path}[{index}]"
        if constraint.get("maxSkew", 0) <= 0:
            yield invalid(f"{at}.maxSkew", constraint.get("maxSkew", 0), "must be greater than zero")
        key = constraint.get("topologyKey", "")
        if not key:
            yield required(f"{at}.topologyKey", "can not be empty")
        action = constraint.get("whenUnsatisfiable", "")
        if action not in UNSATISFIABLE:
            yield not_supported(f"{at}.whenUnsatisfiable", action, UNSATISFIABLE)
        if (key, action) in seen:
            yield duplicate(at, f"{{{key}, {action}}}")
        seen.add((key, action))
        domains = constraint.get("minDomains")
        if domains is not None and domains <= 0:
            yield invalid(f"{at}.minDomains", domains, "must be greater than zero")
        if domains is not None and action == "ScheduleAnyway":
            yield invalid(
                f"{at}.minDomains",
                domains,
                "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
            )
        yield from validate_label_selector(constraint.get("labelSelector"), f"{at}.labelSelector")


def validate_label_selector(selector: Obj | None, path: str) -> Iterator[Cause]:
    """A metav1.LabelSelector; an absent one is none, which is for the caller to judge.

    Upstream: apimachinery/pkg/apis/meta/v1/validation ValidateLabelSelector.
    """
    if selector is None:
        return
    yield from labels_causes(selector.get("matchLabels") or {}, f"{path}.matchLabels")
    for index, expression in enumerate(selector.get("matchExpressions") or ()):
        yield from _validate_label_requirement(expression, f"{path}.matchExpressions[{index}]")


def _validate_label_requirement(requirement: Obj, path: str) -> Iterator[Cause]:
    operator, values = requirement.get("operator", ""), requirement.get("values") or ()
    match operator:
        case "In" | "NotIn":
            if not values:
                yield required(f"{path}.values", _VALUES_WRONG[operator])
        case "Exists" | "DoesNotExist":
            if values:
                yield forbidden(f"{path}.values", _VALUES_WRONG[operator])
        case _:
            yield invalid(f"{path}.operator", operator, "not a valid selector operator")
    for why in qualified_name_errors(requirement.get("key", "")):
        yield invalid(f"{path}.key", requirement.get("key", ""), why)
    for index, value in enumerate(values):
        for why in label_value_errors(value):
            yield invalid(f"{path}.values[{index}]", value, why)


def _validate_affinity(affinity: Obj, path: str) -> Iterator[Cause]:
    node = affinity.get("nodeAffinity") or {}
    hard = node.get("requiredDuringSchedulingIgnoredDuringExecution")
    hard_path = f"{path}.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
    if hard is not None:
        yield from validate_node_selector(hard, hard_path)
    for index, soft in enumerate(node.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
        at = f"{path}.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
        yield from _validate_weight(soft, at)
        yield from _validate_node_term(soft.get("preference") or {}, f"{at}.preference")
    for kind in ("podAffinity", "podAntiAffinity"):
        terms = affinity.get(kind) or {}
        for index, term in enumerate(terms.get("requiredDuringSchedulingIgnoredDuringExecution") or ()):
            yield from _validate_pod_term(
                term, f"{path}.{kind}.requiredDuringSchedulingIgnoredDuringExecution[{index}]"
            )
        for index, soft in enumerate(terms.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
            at = f"{path}.{kind}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
            yield from _validate_weight(soft, at)
            yield from _validate_pod_term(soft.get("podAffinityTerm") or {}, f"{at}.podAffinityTerm")


def validate_node_selector(selector: Obj, path: str) -> Iterator[Cause]:
    """A NodeSelector: terms of which one must hold."""
    terms = selector.get("nodeSelectorTerms") or ()
    if not terms:
        yield required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")
    for index, term in enumerate(terms):
        yield from _validate_node_term(term, f"{path}.nodeSelectorTerms[{index}]")


def _validate_weight(term: Obj, path: str) -> Iterator[Cause]:
    if not 1 <= term.get("weight", 0) <= 100:
        yield invalid(f"{path}.weight", term.get("weight", 0), "must be in the range 1-100")


def _validate_node_term(term: Obj, path: str) -> Iterator[Cause]:
    for field in ("matchExpressions", "matchFields"):
        for index, requirement in enumerate(term.get(field) or ()):
            yield from _validate_node_requirement(requirement, f"{path}.{field}[{index}]")


_VALUES_WRONG: Mapping[str, str] = {
    "In": "must be specified when `operator` is 'In' or 'NotIn'",
    "NotIn": "must be specified when `operator` is 'In' or 'NotIn'",
    "Exists": "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
    "DoesNotExist": "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
    "Gt": "must be specified single value when `operator` is 'Lt' or 'Gt'",
    "Lt": "must be specified single value when `operator` is 'Lt' or 'Gt'",
}


def _validate_node_requirement(requirement: Obj, path: str) -> Iterator[Cause]:
    operator, values = requirement.get("operator", ""), requirement.get("values") or ()
    match operator:
        case "In" | "NotIn":
            if not values:
                yield required(f"{path}.values", _VALUES_WRONG[operator])
        case "Exists" | "DoesNotExist":
            if values:
                yield forbidden(f"{path}.values", _VALUES_WRONG[operator])
        case "Gt" | "Lt":
            if len(values) != 1:
                yield required(f"{path}.values", _VALUES_WRONG[operator])
        case _:
            yield invalid(f"{path}.operator", operator, "not a valid selector operator")
    for why in qualified_name_errors(requirement.get("key", "")):
        yield invalid(f"{path}.key", requirement.get("key", ""), why)


def _validate_pod_term(term: Obj, path: str) -> Iterator[Cause]:
    key = term.get("topologyKey", "")
    if not key:
        yield required(f"{path}.topologyKey", "can not be empty")
    else:
        for why in qualified_name_errors(key):
            yield invalid(f"{path}.topologyKey", key, why)
    for field in ("labelSelector", "namespaceSelector"):
        yield from validate_label_selector(term.get(field), f"{path}.{field}")
    for index, name in enumerate(term.get("namespaces") or ()):
        for why in label_errors(name):
            yield invalid(f"{path}.namespaces[{index}]", name, why)
