"""What log, exec, attach and port-forward share: which pod, which of its containers, through which node's channel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cluster.apiserver.backend import Backend
from cluster.apiserver.call import Call
from cluster.client.node_channel import ContainerRef, NodeChannel
from cluster.machinery.errors import BadRequest
from cluster.machinery.objects import Obj, annotations_of, field_of, uid_of

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


@dataclass(frozen=True, slots=True)
class Target:
    container: ContainerRef
    channel: NodeChannel


async def connection_target(backend: Backend, call: Call, options: Obj) -> Target:
    """The container to connect to, once admission has agreed; the first one when the request names none.

    `options` is the request as an object: PodExecOptions and the like.  Raises what `target_of` raises, and what
    admission does.
    """
    pod = backend.registry.obj(call.descriptor, backend.registry.row(call.descriptor, call.key))
    target = target_of(backend, call, ambiguous=True)
    await backend.registry.admit_connection(call, pod, {"apiVersion": "v1", **options})
    return target


def target_of(backend: Backend, call: Call, *, ambiguous: bool = False) -> Target:
    """The container that the request means.  With `ambiguous`, the first one when it names none.

    Raises NotFound, BadRequest, and ServiceUnavailable when the node's agent is not connected.
    """
    row = backend.registry.row(call.descriptor, call.key)
    pod = backend.state.obj(row)
    if not row.node:
        raise BadRequest(f"pod {call.key.name} does not have a host assigned")
    container = _container_of(pod, call.request.parameter("container"), ambiguous=ambiguous)
    reference = ContainerRef(call.key.namespace, call.key.name, uid_of(pod), container)
    return Target(reference, backend.node_channels.channel(row.node))


def _container_of(pod: Obj, asked: str, *, ambiguous: bool) -> str:
    names = list(_names(pod))
    if asked:
        if asked not in names:
            raise BadRequest(f"container {asked} is not valid for pod {pod['metadata']['name']}")
        return asked
    main = [str(container["name"]) for container in field_of(pod, "spec", "containers", default=())]
    annotated = annotations_of(pod).get(DEFAULT_CONTAINER, "")
    if annotated in names:
        return annotated
    if len(main) > 1 and not ambiguous:
        listed = " ".join(main)
        raise BadRequest(
            f"a container name must be specified for pod {pod['metadata']['name']}, choose one of: [{listed}]"
        )
    return main[0]


def _names(pod: Obj) -> Iterator[str]:
    for field in ("containers", "initContainers", "ephemeralContainers"):
        containers: Any = field_of(pod, "spec", field, default=())
        yield from (str(container["name"]) for container in containers)
