"""Which fields of the built-in kinds hold labels, annotations, names of other objects.  Data.

Upstream: kustomize api/internal/konfig/builtinpluginconsts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from reconciler.render.kustomize.resource import Gvk


class Field(NamedTuple):
    """A path in objects of a kind; empty parts of the kind fit any.  `create`: set it where it is missing."""

    path: tuple[str, ...]
    kind: str = ""
    group: str = ""
    version: str = ""
    create: bool = False

    def fits(self, gvk: Gvk) -> bool:
        return self.kind in ("", gvk.kind) and self.group in ("", gvk.group) and self.version in ("", gvk.version)


def _fields(text: str) -> tuple[Field, ...]:
    """One field a line: its path, then kinds (`group/Kind`, or `Kind` of any group), a leading `+` when it is created."""
    found: list[Field] = []
    for line in text.strip().splitlines():
        path, *kinds = line.split()
        parts = tuple(path.lstrip("+").split("/"))
        for name in kinds or [""]:
            group, _, kind = name.rpartition("/")
            found.append(Field(parts, kind, group, create=path.startswith("+")))
    return tuple(found)


METADATA_LABELS = _fields("+metadata/labels")
TEMPLATE_LABELS = _fields("""
+metadata/labels
+spec/template/metadata/labels ReplicationController Deployment ReplicaSet DaemonSet StatefulSet batch/Job
+spec/volumeClaimTemplates[]/metadata/labels StatefulSet
+spec/jobTemplate/metadata/labels batch/CronJob
+spec/jobTemplate/spec/template/metadata/labels batch/CronJob
""")
SELECTOR_LABELS = TEMPLATE_LABELS + _fields("""
+spec/selector /Service ReplicationController
+spec/selector/matchLabels Deployment ReplicaSet DaemonSet StatefulSet
spec/selector/matchLabels batch/Job policy/PodDisruptionBudget
spec/jobTemplate/spec/selector/matchLabels batch/CronJob
spec/template/spec/affinity/podAffinity/preferredDuringSchedulingIgnoredDuringExecution/podAffinityTerm/labelSelector/matchLabels apps/Deployment apps/StatefulSet
spec/template/spec/affinity/podAffinity/requiredDuringSchedulingIgnoredDuringExecution/labelSelector/matchLabels apps/Deployment apps/StatefulSet
spec/template/spec/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/podAffinityTerm/labelSelector/matchLabels apps/Deployment apps/StatefulSet
spec/template/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/labelSelector/matchLabels apps/Deployment apps/StatefulSet
spec/template/spec/topologySpreadConstraints/labelSelector/matchLabels apps/Deployment apps/StatefulSet
spec/podSelector/matchLabels networking.k8s.io/NetworkPolicy
spec/ingress/from/podSelector/matchLabels networking.k8s.io/NetworkPolicy
spec/egress/to/podSelector/matchLabels networking.k8s.io/NetworkPolicy
""")  # noqa: E501
ANNOTATIONS = _fields("""
+metadata/annotations
+spec/template/metadata/annotations ReplicationController Deployment ReplicaSet DaemonSet StatefulSet batch/Job
+spec/jobTemplate/metadata/annotations batch/CronJob
+spec/jobTemplate/spec/template/metadata/annotations batch/CronJob
""")
REPLICAS = _fields("+spec/replicas Deployment ReplicationController ReplicaSet StatefulSet")

UNPREFIXED = frozenset({"CustomResourceDefinition", "APIService", "Namespace"})
"""Kinds whose names mean something beyond themselves: prefixes and suffixes leave them alone."""

_POD_SPECS = {
    "Pod": "spec",
    "Deployment": "spec/template/spec",
    "ReplicaSet": "spec/template/spec",
    "DaemonSet": "spec/template/spec",
    "StatefulSet": "spec/template/spec",
    "ReplicationController": "spec/template/spec",
    "Job": "spec/template/spec",
    "CronJob": "spec/jobTemplate/spec/template/spec",
}
_CONTAINERS = ("containers", "initContainers")


def _in_pods(*paths: str) -> tuple[Field, ...]:
    return tuple(Field(tuple(f"{root}/{path}".split("/")), kind) for kind, root in _POD_SPECS.items() for path in paths)


def _in_containers(*paths: str) -> tuple[Field, ...]:
    return _in_pods(*(f"{where}/{path}" for where in _CONTAINERS for path in paths))


class Referred(NamedTuple):
    """Objects of `kind` (and `group`, empty: any) are named in `fields`."""

    kind: str
    group: str
    fields: Sequence[Field]


REFERENCES: Sequence[Referred] = (
    Referred("Deployment", "", _fields("spec/scaleTargetRef/name HorizontalPodAutoscaler")),
    Referred("ReplicationController", "", _fields("spec/scaleTargetRef/name HorizontalPodAutoscaler")),
    Referred("ReplicaSet", "", _fields("spec/scaleTargetRef/name HorizontalPodAutoscaler")),
    Referred("StatefulSet", "", _fields("spec/scaleTargetRef/name HorizontalPodAutoscaler")),
    Referred(
        "ConfigMap",
        "",
        _in_pods("volumes/configMap/name", "volumes/projected/sources/configMap/name")
        + _in_containers("env/valueFrom/configMapKeyRef/name", "envFrom/configMapRef/name")
        + _fields("spec/configSource/configMap Node\nrules/resourceNames Role ClusterRole"),
    ),
    Referred(
        "Secret",
        "",
        _in_pods("volumes/secret/secretName", "imagePullSecrets/name", "volumes/projected/sources/secret/name")
        + _in_containers("env/valueFrom/secretKeyRef/name", "envFrom/secretRef/name")
        + _fields("""
secrets/name ServiceAccount
imagePullSecrets/name ServiceAccount
spec/tls/secretName Ingress
rules/resourceNames Role ClusterRole
parameters/secretName StorageClass
spec/azureFile/secretName PersistentVolume
"""),
    ),
    Referred(
        "Service",
        "",
        _fields("""
spec/serviceName StatefulSet
spec/rules/http/paths/backend/serviceName Ingress
spec/backend/serviceName Ingress
spec/rules/http/paths/backend/service/name Ingress
spec/defaultBackend/service/name Ingress
spec/service/name apiregistration.k8s.io/APIService
webhooks/clientConfig/service ValidatingWebhookConfiguration MutatingWebhookConfiguration
"""),
    ),
    Referred("Role", "rbac.authorization.k8s.io", _fields("roleRef/name RoleBinding")),
    Referred("ClusterRole", "rbac.authorization.k8s.io", _fields("roleRef/name RoleBinding ClusterRoleBinding")),
    Referred("ServiceAccount", "", _fields("subjects RoleBinding ClusterRoleBinding") + _in_pods("serviceAccountName")),
    Referred("PersistentVolumeClaim", "", _in_pods("volumes/persistentVolumeClaim/claimName")),
    Referred("PersistentVolume", "", _fields("spec/volumeName PersistentVolumeClaim\nrules/resourceNames ClusterRole")),
    Referred(
        "StorageClass",
        "",
        _fields("""
spec/storageClassName PersistentVolume PersistentVolumeClaim
spec/volumeClaimTemplates/spec/storageClassName StatefulSet
"""),
    ),
    Referred("PriorityClass", "", _in_pods("priorityClassName")),
    Referred("IngressClass", "", _fields("spec/ingressClassName Ingress")),
)
