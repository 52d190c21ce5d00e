"""`/status` and the other endpoints that show the whole object but let a write change only their part of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from cluster.apiserver.registry import Rules, status_rules
from cluster.machinery.objects import Obj, field_of, with_field, without_field
from cluster.resources.catalog import Descriptor
from cluster.resources.certificates import prepare_approval, validate_approval
from cluster.resources.pod import prepare_ephemeral_containers, validate_ephemeral_containers
from cluster.resources.pod_resize import prepare_resize, validate_resize

RulesOf: TypeAlias = Callable[[Descriptor], Rules]


def finalize_rules(descriptor: Descriptor) -> Rules:
    """Namespaces: which of `spec.finalizers` still have to clean up; the last one gone lets the namespace go."""
    return Rules(_with_finalizers, lambda new, old: (), "finalize")


def ephemeral_container_rules(descriptor: Descriptor) -> Rules:
    """Pods: containers added for debugging; those that are there stay as they are (upstream: pod/strategy.go)."""
    return Rules(prepare_ephemeral_containers, validate_ephemeral_containers, "ephemeralcontainers")


def approval_rules(descriptor: Descriptor) -> Rules:
    """CertificateSigningRequests: whether they are granted."""
    return Rules(prepare_approval, validate_approval, "approval")


def resize_rules(descriptor: Descriptor) -> Rules:
    """Pods: how much cpu and memory their containers ask for."""
    return Rules(prepare_resize, validate_resize, "resize")


RULES: Mapping[str, RulesOf] = {
    "status": status_rules,
    "approval": approval_rules,
    "finalize": finalize_rules,
    "ephemeralcontainers": ephemeral_container_rules,
    "resize": resize_rules,
}


def _with_finalizers(new: Obj, old: Obj) -> Obj:
    finalizers = field_of(new, "spec", "finalizers", default=())
    prepared = dict(old)
    if not finalizers:
        return without_field(prepared, ("spec", "finalizers"))
    return with_field(prepared, ("spec", "finalizers"), list(finalizers))
