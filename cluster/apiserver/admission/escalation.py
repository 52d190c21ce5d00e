"""Nobody grants what they do not have: writing a role or binding needs all its permissions, or leave to go beyond.

Upstream: registry/rbac/{role,rolebinding,...}/policybased.  `escalate` on roles and `bind` on the role referred to are leave.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.apiserver.admission.api import Attributes, Validating
from cluster.apiserver.authz import MASTERS, Authorizer
from cluster.apiserver.http import Identity
from cluster.apiserver.rbac import RBAC_GROUP, Access, Rbac, uncovered
from cluster.machinery.errors import Forbidden
from cluster.machinery.objects import Obj


class RoleEscalation(Validating):
    def __init__(self, authorizer: Authorizer, rbac: Rbac) -> None:
        self._authorizer = authorizer
        self._rbac = rbac

    def validate(self, attributes: Attributes) -> None:
        """Raises Forbidden with the permissions that the writer lacks."""
        resource = attributes.descriptor.resource
        if resource.group != RBAC_GROUP or attributes.operation == "DELETE" or MASTERS in attributes.user.groups:
            return
        if resource.kind in ("Role", "ClusterRole"):
            self._role(attributes)
        elif resource.kind in ("RoleBinding", "ClusterRoleBinding"):
            self._binding(attributes)

    def _role(self, attributes: Attributes) -> None:
        new, old = attributes.obj, attributes.old or {}
        same = new.get("rules") == old.get("rules") and new.get("aggregationRule") == old.get("aggregationRule")
        if same and attributes.old is not None:
            return
        plural = attributes.descriptor.resource.plural
        namespace, name = attributes.key
        if self._authorizer.allows(attributes.user, Access("escalate", RBAC_GROUP, plural, namespace, name)):
            return
        wanted: list[Obj] = list(new.get("rules") or ())
        if new.get("aggregationRule"):
            # What it will aggregate cannot be known now, so it needs everything.
            wanted.append({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]})
        self._require(attributes, wanted)

    def _binding(self, attributes: Attributes) -> None:
        new, old = attributes.obj, attributes.old
        if old is not None and new.get("subjects") == old.get("subjects") and new.get("roleRef") == old.get("roleRef"):
            return
        role_ref = new.get("roleRef") or {}
        namespace = attributes.key.namespace
        plural = "clusterroles" if role_ref.get("kind") == "ClusterRole" else "roles"
        access = Access("bind", RBAC_GROUP, plural, namespace, str(role_ref.get("name", "")))
        if self._authorizer.allows(attributes.user, access):
            return
        self._require(attributes, [rule.source for rule in self._rbac.role_rules(role_ref, namespace)])

    def _require(self, attributes: Attributes, wanted: Sequence[Obj]) -> None:
        user: Identity = attributes.user
        missing = uncovered(self._authorizer.rules(user, attributes.key.namespace), wanted)
        if missing:
            resource = attributes.descriptor.resource
            name = attributes.key.name
            raise Forbidden(
                f'{resource.qualified_name} "{name}" is forbidden: user "{user.name}" (groups={list(user.groups)}) is '
                "attempting to grant RBAC permissions not currently held:\n" + "\n".join(missing),
                group=resource.group,
                kind=resource.plural,
                name=name,
            )
