"""ReplicationControllers: ReplicaSets of the core group, whose selector is a plain map.

Upstream runs them by the ReplicaSet controller too.  Upstream: pkg/controller/replication.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from cluster.client.controller import Wakeup, owner_or_selecting
from cluster.controllers.replicaset import ReplicaSetController
from cluster.machinery.objects import Obj, field_of
from cluster.machinery.resource import Resource
from cluster.machinery.selectors import Selector, selector_of_map
from cluster.resources.builtin import PODS, REPLICATION_CONTROLLERS


class ReplicationController(ReplicaSetController):
    name: ClassVar = "replicationcontroller"
    account: ClassVar = "replication-controller"
    primary: ClassVar[Resource] = REPLICATION_CONTROLLERS
    wakes: ClassVar[Sequence[Wakeup]] = (owner_or_selecting(PODS, selector_of_map),)

    def selector(self, rs: Obj) -> Selector:
        return selector_of_map(field_of(rs, "spec", "selector"))
