"""Which rule judges which kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cluster.machinery.objects import GroupKind, Obj, gvk_of, is_deleting
from reconciler.crds.schema import GROUP
from reconciler.health.core import namespace, persistent_volume_claim, service
from reconciler.health.daemon_set import daemon_set
from reconciler.health.definition import custom_resource_definition
from reconciler.health.deployment import deployment
from reconciler.health.generic import generic
from reconciler.health.gitops import application, repository
from reconciler.health.job import job
from reconciler.health.pod import pod
from reconciler.health.replica_set import replica_set
from reconciler.health.stateful_set import stateful_set
from reconciler.health.status import progressing
from reconciler.model import Health, HealthStatus

Rule = Callable[[Obj], HealthStatus]

RULES: Mapping[GroupKind, Rule] = {
    GroupKind("", "Namespace"): namespace,
    GroupKind("", "PersistentVolumeClaim"): persistent_volume_claim,
    GroupKind("", "Pod"): pod,
    GroupKind("", "ReplicationController"): replica_set,
    GroupKind("", "Service"): service,
    GroupKind("apps", "DaemonSet"): daemon_set,
    GroupKind("apps", "Deployment"): deployment,
    GroupKind("apps", "ReplicaSet"): replica_set,
    GroupKind("apps", "StatefulSet"): stateful_set,
    GroupKind("batch", "Job"): job,
    GroupKind("apiextensions.k8s.io", "CustomResourceDefinition"): custom_resource_definition,
    GroupKind(GROUP, "Application"): application,
    GroupKind(GROUP, "Repository"): repository,
}


def health_of(obj: Obj | None) -> HealthStatus:
    """How the object is; None is one that should exist and does not."""
    if obj is None:
        return HealthStatus(Health.MISSING, "it does not exist")
    if is_deleting(obj):
        return progressing("being deleted")
    return RULES.get(gvk_of(obj).group_kind, generic)(obj)
