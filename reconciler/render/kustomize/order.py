"""The order of a build's documents.  Pure.  Upstream: kustomize api/internal/builtins/SortOrderTransformer.go."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.render.kustomize.resource import Built

_FIRST = """
    Namespace ResourceQuota StorageClass CustomResourceDefinition ServiceAccount PodSecurityPolicy Role ClusterRole
    RoleBinding ClusterRoleBinding ConfigMap Secret Endpoints Service LimitRange PriorityClass PersistentVolume
    PersistentVolumeClaim Deployment StatefulSet CronJob PodDisruptionBudget
"""
FIRST = tuple(_FIRST.split())
LAST = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")


def in_legacy_order(
    built: Sequence[Built], *, first: Sequence[str] = FIRST, last: Sequence[str] = LAST
) -> Sequence[Built]:
    """By kind as the lists say, then by the names."""
    ranks = {kind: index - len(first) for index, kind in enumerate(first)}
    ranks.update({kind: index + 1 for index, kind in enumerate(last)})

    def key(each: Built) -> tuple[int, str, str]:
        now = each.id
        group, version, kind = (part or "~" + letter for part, letter in zip(now.gvk, "GVK", strict=True))
        scope = now.namespace or "~X"
        return ranks.get(now.gvk.kind, 0), f"{group}_{version}_{kind}", f"{scope}|{now.name}"

    return sorted(built, key=key)
