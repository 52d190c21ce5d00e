"""Kinds of the core group whose state is a phase or an address."""

from __future__ import annotations

from cluster.machinery.objects import Obj, field_of
from reconciler.health.status import HEALTHY, degraded, progressing
from reconciler.model import HealthStatus


def namespace(obj: Obj) -> HealthStatus:
    if field_of(obj, "status", "phase") == "Terminating":
        return progressing("terminating")
    return HEALTHY


def persistent_volume_claim(obj: Obj) -> HealthStatus:
    match field_of(obj, "status", "phase", default="Pending"):
        case "Bound":
            return HEALTHY
        case "Lost":
            return degraded("its volume is lost")
        case phase:
            return progressing(str(phase))


def service(obj: Obj) -> HealthStatus:
    if field_of(obj, "spec", "type") == "LoadBalancer" and not field_of(obj, "status", "loadBalancer", "ingress"):
        return progressing("no load balancer address yet")
    return HEALTHY
