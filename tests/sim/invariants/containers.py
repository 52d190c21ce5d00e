"""No pod's container runs twice, and when all is at rest nothing runs that no pod asks for."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.kubelet.identity import CONTAINER_NAME, POD_UID
from cluster.machinery.objects import field_of, uid_of
from tests.sim.invariants.rule import Rule
from tests.sim.view import SANDBOX_OF, View


class OneContainerEach(Rule):
    def started(self, view: View, node: str, container_id: str) -> Iterator[str]:
        labels = view.engines[node].container(container_id).labels
        if CONTAINER_NAME not in labels:
            return
        same = [
            container.name
            for _, container in view.containers()
            if container.labels.get(POD_UID) == labels[POD_UID]
            and container.labels.get(CONTAINER_NAME) == labels[CONTAINER_NAME]
        ]
        if len(same) > 1:
            yield f"running at the same time: {', '.join(same)}"


class NoOrphans(Rule):
    def at_rest(self, view: View) -> Iterator[str]:
        bound = {
            (field_of(pod, "spec", "nodeName", default=""), uid_of(pod))
            for pod in view.select("pods", lambda pod: True)
        }
        for node, container in view.containers():
            uid = container.labels.get(POD_UID) or container.labels.get(SANDBOX_OF, "")
            if (node, uid) not in bound:
                yield f"{container.name} runs on {node} and no pod there asks for it"
