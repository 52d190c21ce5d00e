"""What a pod needs altogether, from what its containers need: the sum over those that run together, or the start if more.

Pure, whatever the amounts are counted in.  Upstream: component-helpers/resource/helpers.go PodRequests, PodLimits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from cluster.machinery.objects import Obj
from cluster.machinery.quantity import Quantity

Amount = TypeVar("Amount", int, Quantity)


def pod_amounts(spec: Obj, read: Callable[[Obj], Mapping[str, Amount]]) -> dict[str, Amount]:
    """The most that the pod's containers take at any time, without overhead; `read` gives one holder's amounts.

    Containers and sidecars run together; an init container runs with the sidecars started before it.  What is stated for
    the whole pod replaces the sum.
    """
    running: dict[str, Amount] = {}
    for container in spec.get("containers") or ():
        add_amounts(running, read(container))
    sidecars: dict[str, Amount] = {}
    peak: dict[str, Amount] = {}
    for container in spec.get("initContainers") or ():
        own = read(container)
        if container.get("restartPolicy") == "Always":
            add_amounts(sidecars, own)
            _raise(peak, sidecars)
        else:
            together = dict(sidecars)
            add_amounts(together, own)
            _raise(peak, together)
    add_amounts(running, sidecars)
    _raise(running, peak)
    running.update(read(spec))
    return running


def add_amounts(total: dict[str, Amount], more: Mapping[str, Amount]) -> None:
    """Add `more` to `total`, which is changed."""
    for name, amount in more.items():
        total[name] = total[name] + amount if name in total else amount


def _raise(total: dict[str, Amount], floor: Mapping[str, Amount]) -> None:
    for name, amount in floor.items():
        total[name] = max(total[name], amount) if name in total else amount
