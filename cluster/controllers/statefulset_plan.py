"""What a StatefulSet does next to its pods and claims: one at a time in order, or all at once.

Pure.  Upstream: pkg/controller/statefulset/stateful_set_control.go (updateStatefulSet).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cluster.client.writes import Create, Delete, Write
from cluster.controllers.pods import available_in_s, is_finished, phase_of
from cluster.controllers.statefulset_pods import (
    first_ordinal,
    is_waiting_for_claims,
    ordinal_of,
    plan_missing_claims,
    plan_retention,
    pod_of,
    revision_of,
    wanted_ordinals,
)
from cluster.machinery.objects import Key, Obj, field_of, is_deleting, key_of, name_of, uid_of
from cluster.resources.builtin import PODS


@dataclass(frozen=True, slots=True)
class Revisions:
    """The ControllerRevision that pods are moved from, and the one they are moved to; often the same."""

    current: Obj
    update: Obj


@dataclass(frozen=True, slots=True)
class Sorted:
    """`slots` has every wanted ordinal with its pod, if there is one; `condemned` the pods beyond, highest first."""

    slots: tuple[tuple[int, Obj | None], ...]
    condemned: tuple[tuple[int, Obj], ...]


def by_ordinal(stateful: Obj, pods: Sequence[Obj]) -> Sorted:
    known = {ordinal: pod for pod in pods if (ordinal := ordinal_of(stateful, name_of(pod))) is not None}
    wanted = wanted_ordinals(stateful)
    condemned = [(ordinal, known[ordinal]) for ordinal in sorted(known, reverse=True) if ordinal not in wanted]
    return Sorted(tuple((ordinal, known.get(ordinal)) for ordinal in wanted), tuple(condemned))


def plan_stateful_set(
    stateful: Obj, pods: Sequence[Obj], claims: Mapping[Key, Obj], revisions: Revisions, *, now: datetime
) -> tuple[Write, ...]:
    """The writes to pods and claims that may be made now.

    Laws: never two pods with one ordinal; ordered, at most one pod is created or deleted, and only while all before it
    (creating) or all others (deleting) are available; a rollout goes from the highest ordinal down to the partition.
    """
    if is_deleting(stateful):
        return ()
    planning = _Planning(stateful, claims, revisions, now)
    found = by_ordinal(stateful, pods)
    planning.fill(found)
    if not planning.blocked:
        planning.shrink(found)
    if not planning.blocked and _strategy(stateful) == "RollingUpdate":
        planning.roll(found)
    # Claims first: together they go out in batches, as the pods then do.
    return (*planning.claim_writes, *planning.pod_writes)


def is_ordered(stateful: Obj) -> bool:
    return bool(field_of(stateful, "spec", "podManagementPolicy", default="OrderedReady") == "OrderedReady")


def is_running_and_ready(pod: Obj, *, now: datetime) -> bool:
    return phase_of(pod) == "Running" and available_in_s(pod, min_ready_s=0, now=now) is not None


def is_available(stateful: Obj, pod: Obj, *, now: datetime) -> bool:
    """It runs, is ready since `minReadySeconds`, and stays."""
    if is_deleting(pod) or phase_of(pod) != "Running":
        return False
    return available_in_s(pod, min_ready_s=min_ready_s(stateful), now=now) == 0.0


def min_ready_s(stateful: Obj) -> float:
    return float(field_of(stateful, "spec", "minReadySeconds", default=0))


class _Planning:
    """One plan in the making; `blocked` ends it: an ordered set waits for what was begun."""

    def __init__(self, stateful: Obj, claims: Mapping[Key, Obj], revisions: Revisions, now: datetime) -> None:
        self.claim_writes: list[Write] = []
        self.pod_writes: list[Write] = []
        self.blocked = False
        self._stateful = stateful
        self._claims = claims
        self._revisions = revisions
        self._now = now
        self._ordered = is_ordered(stateful)

    def fill(self, found: Sorted) -> None:
        """Every wanted ordinal has a pod that runs."""
        for ordinal, pod in found.slots:
            if self._waits_for(ordinal, pod) and self._ordered:
                self.blocked = True
                return

    def shrink(self, found: Sorted) -> None:
        """The highest ordinal goes first; an unready one goes only when no other is unready."""
        for ordinal, pod in found.condemned:
            self.claim_writes += plan_retention(self._stateful, pod, ordinal, self._claims, leaves=True)
        unhealthy = [pod for _, pod in reversed(found.condemned) if not self._is_available(pod)]
        for _, pod in found.condemned:
            if is_deleting(pod):
                if self._ordered:
                    self.blocked = True
                    return
                continue
            if self._ordered and unhealthy and pod is not unhealthy[0] and not self._is_available(pod):
                self.blocked = True
                return
            self._delete(pod)
            if self._ordered:
                self.blocked = True
                return

    def roll(self, found: Sorted) -> None:
        """The highest pod of another revision goes; it comes back from the new one."""
        going = {write.key for write in self.pod_writes if isinstance(write, Delete)}
        partition = int(field_of(self._stateful, "spec", "updateStrategy", "rollingUpdate", "partition", default=0))
        for _, pod in reversed(found.slots[partition:]):
            if pod is None or is_deleting(pod) or key_of(pod) in going:
                return
            if revision_of(pod) != name_of(self._revisions.update):
                self._delete(pod)
                return
            if not self._is_available(pod):
                return

    def _waits_for(self, ordinal: int, pod: Obj | None) -> bool:
        """Plan what the ordinal needs; whether what follows it has to wait."""
        stateful = self._stateful
        if pod is None:
            if not is_waiting_for_claims(stateful, ordinal, self._claims):
                self.claim_writes += plan_missing_claims(stateful, ordinal, self._claims)
                self.pod_writes.append(Create(PODS, pod_of(stateful, self._revision_for(ordinal), ordinal)))
            return True
        if is_finished(pod):
            if not is_deleting(pod):
                self._delete(pod)
            return True
        if phase_of(pod) == "Pending" and not is_deleting(pod):
            self.claim_writes += plan_missing_claims(stateful, ordinal, self._claims)
        self.claim_writes += plan_retention(stateful, pod, ordinal, self._claims, leaves=False)
        return not self._is_available(pod)

    def _revision_for(self, ordinal: int) -> Obj:
        """Below the partition pods stay as they were."""
        if _strategy(self._stateful) != "RollingUpdate":
            return self._revisions.update
        rolling = field_of(self._stateful, "spec", "updateStrategy", "rollingUpdate")
        kept = (
            field_of(self._stateful, "status", "currentReplicas", default=0)
            if rolling is None
            else rolling.get("partition") or 0
        )
        below = ordinal < first_ordinal(self._stateful) + int(kept)
        return self._revisions.current if below else self._revisions.update

    def _is_available(self, pod: Obj) -> bool:
        return is_available(self._stateful, pod, now=self._now)

    def _delete(self, pod: Obj) -> None:
        self.pod_writes.append(Delete(PODS, key_of(pod), uid=uid_of(pod)))


def _strategy(stateful: Obj) -> str:
    return str(field_of(stateful, "spec", "updateStrategy", "type", default="RollingUpdate"))
