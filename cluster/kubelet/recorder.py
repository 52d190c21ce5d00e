"""How the kubelet tells users what it did: an Event about an object.  Implemented by `client.events.EventRecorder`."""

from __future__ import annotations

from typing import Protocol

from cluster.machinery.objects import Obj

NORMAL = "Normal"
WARNING = "Warning"


class Recorder(Protocol):
    def event(self, obj: Obj, type_: str, reason: str, message: str) -> None:
        """Queue an Event about `obj`; never blocks, never fails, may be dropped."""
        ...
