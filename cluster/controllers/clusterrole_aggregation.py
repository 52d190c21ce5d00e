"""ClusterRoles with an aggregation rule carry the rules of those that their selectors choose.

Upstream: pkg/controller/clusterroleaggregation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from cluster.client.cache import Cache
from cluster.client.controller import DONE, Controller, Result, Wakeup
from cluster.client.writes import Update
from cluster.machinery.objects import Key, Obj, key_of
from cluster.machinery.resource import Resource
from cluster.resources.builtin import CLUSTER_ROLES
from cluster.resources.rbac import aggregated_rules


def _aggregating(changed: Obj, _: Resource, cache: Cache) -> Iterable[Key]:
    return [key_of(role) for role in cache.list(CLUSTER_ROLES) if role.get("aggregationRule")]


class ClusterRoleAggregationController(Controller):
    name: ClassVar = "clusterrole-aggregation"
    account: ClassVar = "clusterrole-aggregation-controller"
    primary: ClassVar = CLUSTER_ROLES
    wakes: ClassVar = (Wakeup(CLUSTER_ROLES, _aggregating),)
    workers: ClassVar = 1

    async def reconcile(self, key: Key) -> Result:
        role = self.cache.get(CLUSTER_ROLES, key)
        if role is None or not role.get("aggregationRule"):
            return DONE
        rules = aggregated_rules(role, self.cache.list(CLUSTER_ROLES))
        if rules != list(role.get("rules") or ()):
            await self.commit((Update(CLUSTER_ROLES, {**role, "rules": rules}),))
        return DONE
