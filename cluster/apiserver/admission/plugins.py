"""The plugins in the order they run."""

from __future__ import annotations

from collections.abc import Sequence

from cluster.apiserver.admission.api import Plugin
from cluster.apiserver.admission.certificates import CertificateRequests
from cluster.apiserver.admission.default_ingress_class import DefaultIngressClass
from cluster.apiserver.admission.default_storage_class import DefaultStorageClass
from cluster.apiserver.admission.escalation import RoleEscalation
from cluster.apiserver.admission.limit_ranger import LimitRanger
from cluster.apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from cluster.apiserver.admission.node_restriction import NodeRestriction
from cluster.apiserver.admission.node_taints import TaintNodesByCondition
from cluster.apiserver.admission.pod_security import PodPolicy, PodSecurity
from cluster.apiserver.admission.pod_security_standards import PodSecurityStandards
from cluster.apiserver.admission.policy import Policies
from cluster.apiserver.admission.priority import Priority
from cluster.apiserver.admission.runtime_class import RuntimeClass
from cluster.apiserver.admission.service_account import ServiceAccount
from cluster.apiserver.admission.storage_protection import PersistentVolumeClaimResize, StorageObjectInUseProtection
from cluster.apiserver.admission.tolerations import DefaultTolerationSeconds
from cluster.apiserver.admission.unenforced import Unenforced
from cluster.apiserver.authz import Authorizer
from cluster.apiserver.rbac import Rbac
from cluster.apiserver.state import State
from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.resources.catalog import Catalog


def plugins(
    *,
    state: State,
    catalog: Catalog,
    clock: Clock,
    entropy: Entropy,
    authorizer: Authorizer,
    rbac: Rbac,
    pod_security: PodSecurity,
) -> Sequence[Plugin]:
    """Upstream's order where both have a plugin: mutations before the checks that see their result."""
    return (
        NamespaceLifecycle(state),
        LimitRanger(state),
        ServiceAccount(state, entropy),
        TaintNodesByCondition(),
        Priority(state),
        DefaultTolerationSeconds(),
        StorageObjectInUseProtection(),
        PersistentVolumeClaimResize(state),
        RuntimeClass(state),
        DefaultIngressClass(state),
        DefaultStorageClass(state),
        NodeRestriction(),
        RoleEscalation(authorizer, rbac),
        CertificateRequests(authorizer, clock),
        PodPolicy(pod_security),
        PodSecurityStandards(state),
        Policies(state=state, catalog=catalog, authorizer=authorizer),
        Unenforced(),
    )
