"""The plugins in the order they run."""

from __future__ import annotations

from collections.abc import Sequence

from cluster.apiserver.admission.api import Plugin
from cluster.apiserver.admission.certificates import CertificateRequests
from cluster.apiserver.admission.escalation import RoleEscalation
from cluster.apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from cluster.apiserver.admission.node_restriction import NodeRestriction
from cluster.apiserver.admission.pod_security import PodPolicy, PodSecurity
from cluster.apiserver.admission.priority import Priority
from cluster.apiserver.admission.service_account import ServiceAccount
from cluster.apiserver.admission.tolerations import DefaultTolerationSeconds
from cluster.apiserver.admission.unenforced import Unenforced
from cluster.apiserver.authz import Authorizer
from cluster.apiserver.rbac import Rbac
from cluster.apiserver.state import State
from cluster.base.clock import Clock
from cluster.base.entropy import Entropy


def plugins(
    *, state: State, clock: Clock, entropy: Entropy, authorizer: Authorizer, rbac: Rbac, pod_security: PodSecurity
) -> Sequence[Plugin]:
    """Upstream's order where both have a plugin: mutations before the checks that see their result."""
    return (
        NamespaceLifecycle(state),
        ServiceAccount(state, entropy),
        DefaultTolerationSeconds(),
        Priority(state),
        NodeRestriction(),
        RoleEscalation(authorizer, rbac),
        CertificateRequests(authorizer, clock),
        PodPolicy(pod_security),
        Unenforced(),
    )
