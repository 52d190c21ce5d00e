"""What a node's containers use, as it travels from the node to the server.

Decoding checks everything: an agent is trusted with its own node only.  Upstream: kubelet's resource metrics, of which only
what the metrics API tells is carried.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import orjson

NUMBER_MAX = 2**63 - 1


class BadStats(ValueError):
    """The bytes are no statistics."""


@dataclass(frozen=True, slots=True)
class Use:
    """The processor in billionths of a core over the window, the memory as the working set."""

    cpu_nanocores: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class ContainerUse:
    namespace: str
    pod: str
    uid: str
    container: str
    use: Use


@dataclass(frozen=True, slots=True)
class NodeStats:
    """`window_ms` is the time over which processor use was averaged, up to the instant `at` (RFC 3339)."""

    at: str
    window_ms: int
    node: Use
    containers: tuple[ContainerUse, ...] = ()


def encode_stats(stats: NodeStats) -> bytes:
    return orjson.dumps(asdict(stats))


def decode_stats(data: bytes) -> NodeStats:
    """Raises BadStats."""
    try:
        found = orjson.loads(data)
        containers = tuple(map(_container, found["containers"]))
        return NodeStats(_text(found["at"]), _number(found["window_ms"]), _use(found["node"]), containers)
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise BadStats("statistics that are none") from error


def _container(value: Any) -> ContainerUse:
    return ContainerUse(
        namespace=_text(value["namespace"]),
        pod=_text(value["pod"]),
        uid=_text(value["uid"]),
        container=_text(value["container"]),
        use=_use(value["use"]),
    )


def _use(value: Any) -> Use:
    return Use(_number(value["cpu_nanocores"]), _number(value["memory_bytes"]))


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= NUMBER_MAX:
        raise BadStats("a number is out of range")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise BadStats("a text is none")
    return value
