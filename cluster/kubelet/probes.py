"""When a run of probe outcomes changes what we believe of a container.  Pure: outcomes in, states out; no clock, no I/O.

Upstream: pkg/kubelet/prober/worker.go, whose thresholds these are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from cluster.machinery.objects import Obj


class ProbeKind(StrEnum):
    STARTUP = "startup"
    LIVENESS = "liveness"
    READINESS = "readiness"


class Outcome(StrEnum):
    SUCCESS = "success"
    FAILURE = "failure"
    UNKNOWN = "unknown"  # the probe itself could not be made: it counts for nothing


@dataclass(frozen=True, slots=True)
class ProbeSpec:
    """A v1.Probe with upstream's defaults.  `handler` holds exactly one of httpGet, tcpSocket, exec, grpc."""

    kind: ProbeKind
    handler: Mapping[str, Obj]
    initial_delay_s: int = 0
    period_s: int = 10
    timeout_s: int = 1
    success_threshold: int = 1
    failure_threshold: int = 3
    grace_s: int | None = None


HANDLERS = ("httpGet", "tcpSocket", "exec", "grpc")


def probe_of(container: Obj, kind: ProbeKind) -> ProbeSpec | None:
    """The container's probe of that kind, if it has one."""
    probe = container.get(f"{kind.value}Probe")
    if not probe:
        return None
    return ProbeSpec(
        kind=kind,
        handler={name: probe[name] or {} for name in HANDLERS if name in probe},
        initial_delay_s=probe.get("initialDelaySeconds") or 0,
        period_s=probe.get("periodSeconds") or 10,
        timeout_s=probe.get("timeoutSeconds") or 1,
        success_threshold=probe.get("successThreshold") or 1,
        failure_threshold=probe.get("failureThreshold") or 3,
        grace_s=probe.get("terminationGracePeriodSeconds"),
    )


@dataclass(frozen=True, slots=True)
class ProbeState:
    """What is believed (`passing`; None: not known yet) and the run of equal outcomes that may change it."""

    passing: bool | None
    last: Outcome | None = None
    run: int = 0


def first_state(kind: ProbeKind) -> ProbeState:
    """Before the first outcome: alive until shown dead, unready until shown ready, not started until shown started."""
    match kind:
        case ProbeKind.LIVENESS:
            return ProbeState(passing=True)
        case ProbeKind.READINESS:
            return ProbeState(passing=False)
        case ProbeKind.STARTUP:
            return ProbeState(passing=None)


def advance(spec: ProbeSpec, state: ProbeState, outcome: Outcome) -> ProbeState:
    """The state after one more outcome: it turns only after a whole threshold of equal outcomes."""
    if outcome is Outcome.UNKNOWN:
        return state
    run = state.run + 1 if state.last is outcome else 1
    threshold = spec.success_threshold if outcome is Outcome.SUCCESS else spec.failure_threshold
    if run < threshold:
        return replace(state, last=outcome, run=run)
    return ProbeState(passing=outcome is Outcome.SUCCESS, last=outcome, run=run)


def killing_message(container: str, kind: ProbeKind) -> str:
    """The Killing event of a container whose probe failed, in upstream's words."""
    return f"Container {container} failed {kind.value} probe, will be restarted"
