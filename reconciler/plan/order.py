"""In which order objects are written: what others need comes first, what acts on others comes last.

Prunes go the other way round.  Within a wave the order carries no meaning; it is by name, so that runs are repeatable.
"""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.model import Ref

DEFINITIONS = 0
"""Definitions of kinds and namespaces: everything else may need them to be accepted at all."""

_CORE = ""
_RBAC = "rbac.authorization.k8s.io"
_STORAGE = "storage.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"

_WAVES: Mapping[tuple[str, str], int] = {
    ("apiextensions.k8s.io", "CustomResourceDefinition"): DEFINITIONS,
    (_CORE, "Namespace"): DEFINITIONS,
    ("scheduling.k8s.io", "PriorityClass"): 1,
    ("node.k8s.io", "RuntimeClass"): 1,
    ("networking.k8s.io", "IngressClass"): 1,
    (_STORAGE, "StorageClass"): 1,
    (_STORAGE, "CSIDriver"): 1,
    (_CORE, "PersistentVolume"): 1,
    (_CORE, "ResourceQuota"): 1,
    (_CORE, "LimitRange"): 1,
    (_CORE, "ServiceAccount"): 1,
    (_RBAC, "ClusterRole"): 1,
    (_RBAC, "Role"): 1,
    (_RBAC, "ClusterRoleBinding"): 2,
    (_RBAC, "RoleBinding"): 2,
    (_CORE, "Secret"): 2,
    (_CORE, "ConfigMap"): 2,
    (_CORE, "PersistentVolumeClaim"): 2,
    ("networking.k8s.io", "NetworkPolicy"): 2,
    ("policy", "PodDisruptionBudget"): 2,
    ("gitops.reconciler.io", "Repository"): 2,
    (_CORE, "Service"): 3,
    ("autoscaling", "HorizontalPodAutoscaler"): 5,
    ("networking.k8s.io", "Ingress"): 5,
    ("apiregistration.k8s.io", "APIService"): 5,
    (_ADMISSION, "MutatingWebhookConfiguration"): 6,
    (_ADMISSION, "ValidatingWebhookConfiguration"): 6,
    (_ADMISSION, "ValidatingAdmissionPolicy"): 6,
    (_ADMISSION, "ValidatingAdmissionPolicyBinding"): 6,
}
WORKLOADS = 4
"""Workloads and whatever kind has no place of its own."""


def wave_of(ref: Ref) -> int:
    return _WAVES.get((ref.group, ref.kind), WORKLOADS)
