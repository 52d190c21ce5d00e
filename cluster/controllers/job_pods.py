"""What the Job controller asks of a pod, and the pods it makes.  Pure.

Upstream: pkg/controller/job/{indexed_job_utils,pod_failure_policy,backoff_utils,tracking_utils}.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from cluster.client.transport import Patch, PatchType
from cluster.client.writes import PatchObject
from cluster.controllers.instants import instant_of
from cluster.controllers.pods import phase_of, pod_from_template
from cluster.machinery.conditions import conditions_of
from cluster.machinery.objects import Obj, annotations_of, field_of, is_deleting, key_of, meta_of, name_of, uid_of
from cluster.resources.builtin import PODS

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
INDEX_FAILURES = "batch.kubernetes.io/job-index-failure-count"
INDEX_IGNORED = "batch.kubernetes.io/job-index-ignored-failure-count"
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
GENERATED_MAX = 63 - 5
"""The longest prefix of a generated name."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a pod's failure means: `Count`, `Ignore`, `FailIndex` or `FailJob`; `message` says why for `FailJob`."""

    action: str = "Count"
    message: str = ""

    @property
    def counts(self) -> bool:
        return self.action != "Ignore"


def is_indexed(job: Obj) -> bool:
    return bool(field_of(job, "spec", "completionMode") == "Indexed")


def is_tracked(pod: Obj) -> bool:
    return FINALIZER in (meta_of(pod).get("finalizers") or ())


def index_of(pod: Obj) -> int | None:
    """Its completion index; None where it has none."""
    text = annotations_of(pod).get(INDEX, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def has_failed(pod: Obj, job: Obj) -> bool:
    """It failed, or is on its way out without having succeeded when the job replaces such pods at once."""
    if phase_of(pod) == "Failed":
        return True
    if field_of(job, "spec", "podReplacementPolicy") == "Failed":
        return False
    return is_deleting(pod) and phase_of(pod) != "Succeeded"


def failure_verdict(pod: Obj, job: Obj) -> Verdict:
    """The first rule of the job's failure policy that matches a failed pod; without one it counts."""
    per_index = field_of(job, "spec", "backoffLimitPerIndex") is not None
    for number, rule in enumerate(field_of(job, "spec", "podFailurePolicy", "rules", default=())):
        why = _match(pod, rule)
        action = rule.get("action", "")
        # An action of a later version, or one that this job does not provide for, matches nothing.
        if not why or action not in ("Count", "FailJob", "FailIndex", "Ignore"):
            continue
        if action == "FailIndex" and not per_index:
            continue
        return Verdict(action, f"{why} matching {action} rule at index {number}" if action == "FailJob" else "")
    return Verdict()


def _match(pod: Obj, rule: Obj) -> str:
    """How the rule matches the pod, as the beginning of a sentence; empty when it does not."""
    pod_name = str(key_of(pod))
    if (codes := rule.get("onExitCodes")) is not None:
        wanted = codes.get("containerName")
        for name, code in _exit_codes(pod):
            # Code 0 is a success, whatever the rule says of codes.
            if code == 0 or (wanted is not None and name != wanted):
                continue
            if (code in codes.get("values", ())) == (codes.get("operator") == "In"):
                return f"Container {name} for pod {pod_name} failed with exit code {code}"
        return ""
    for pattern in rule.get("onPodConditions") or ():
        for condition in conditions_of(pod):
            same = condition.get("type") == pattern.get("type")
            if same and condition.get("status") == pattern.get("status", "True"):
                return f"Pod {pod_name} has condition {condition['type']}"
    return ""


def _exit_codes(pod: Obj) -> Iterator[tuple[str, int]]:
    for group in ("initContainerStatuses", "containerStatuses"):
        for status in field_of(pod, "status", group, default=()):
            ended = field_of(status, "state", "terminated")
            if ended is not None:
                yield status.get("name", ""), int(ended.get("exitCode", 0))


def ended_at(pod: Obj) -> datetime | None:
    """When the pod ended, as well as it can be told: by its containers, its conditions, its deletion, its creation."""
    ends = [
        instant_of(field_of(status, "state", "terminated", "finishedAt"))
        for status in field_of(pod, "status", "containerStatuses", default=())
    ]
    known = [end for end in ends if end is not None]
    if known and len(known) == len(ends):
        return max(known)
    for condition in conditions_of(pod):
        if condition.get("type") == "Ready" and (since := instant_of(condition.get("lastTransitionTime"))) is not None:
            return since
    meta = meta_of(pod)
    return instant_of(meta.get("deletionTimestamp")) or instant_of(meta.get("creationTimestamp"))


def restarts(pod: Obj) -> int:
    """How often all its containers restarted together."""
    return sum(
        int(status.get("restartCount", 0))
        for group in ("initContainerStatuses", "containerStatuses")
        for status in field_of(pod, "status", group, default=())
    )


def index_failures(pod: Obj, annotation: str = INDEX_FAILURES) -> int:
    """How many pods of its index failed before this one."""
    text = annotations_of(pod).get(annotation, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def job_pod(job: Obj, index: int | None = None, predecessor: Obj | None = None) -> dict[str, Any]:
    """A pod of the job; with `index` one of an indexed job, that follows `predecessor`, the last that failed there."""
    pod = pod_from_template(job)
    meta: dict[str, Any] = pod["metadata"]
    finalizers = meta.get("finalizers") or []
    meta["finalizers"] = finalizers if FINALIZER in finalizers else [*finalizers, FINALIZER]
    if index is None:
        return pod
    tail = f"-{index}-"
    meta["generateName"] = name_of(job)[: GENERATED_MAX - len(tail)] + tail
    meta["annotations"] = {**(meta.get("annotations") or {}), INDEX: str(index)}
    meta["labels"] = {**(meta.get("labels") or {}), INDEX: str(index)}
    if field_of(job, "spec", "backoffLimitPerIndex") is not None:
        meta["annotations"] |= _failure_counts(job, predecessor)
    spec: dict[str, Any] = {**pod["spec"], "hostname": f"{name_of(job)}-{index}"}
    for group in ("initContainers", "containers"):
        if spec.get(group):
            spec[group] = [_with_index(container) for container in spec[group]]
    return {**pod, "spec": spec}


def _failure_counts(job: Obj, predecessor: Obj | None) -> dict[str, str]:
    counts = {INDEX_FAILURES: 0, INDEX_IGNORED: 0}
    if predecessor is not None:
        counts = {name: index_failures(predecessor, name) for name in counts}
        counts[INDEX_FAILURES if failure_verdict(predecessor, job).counts else INDEX_IGNORED] += 1
    return {name: str(count) for name, count in counts.items() if count or name == INDEX_FAILURES}


def _with_index(container: Obj) -> Obj:
    variables = container.get("env") or []
    if any(variable.get("name") == INDEX_VARIABLE for variable in variables):
        return container
    source = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}}
    return {**container, "env": [*variables, {"name": INDEX_VARIABLE, "valueFrom": source}]}


def release(pod: Obj) -> PatchObject:
    """The job has counted the pod: it may go."""
    body: Mapping[str, Any] = {"metadata": {"uid": uid_of(pod), **_UNTRACKED}}
    return PatchObject(PODS, key_of(pod), Patch(PatchType.STRATEGIC, body), absent_ok=True)


_UNTRACKED: Mapping[str, Any] = {"$deleteFromPrimitiveList/finalizers": [FINALIZER]}


def tracked(adoption: PatchObject) -> PatchObject:
    """The patch that adopts a pod, also claiming its end."""
    return _with_metadata(adoption, {"finalizers": [FINALIZER]})


def untracked(release_of_pod: PatchObject) -> PatchObject:
    """The patch that lets go of a pod which is no longer the job's, also letting go of its end."""
    return _with_metadata(release_of_pod, _UNTRACKED)


def _with_metadata(write: PatchObject, more: Mapping[str, Any]) -> PatchObject:
    body = {**write.patch.body, "metadata": {**write.patch.body["metadata"], **more}}
    return replace(write, patch=replace(write.patch, body=body))


def latest_per_index(pods: Iterable[Obj]) -> dict[int, Obj]:
    """For each index the pod that came after the most failures; of equals the one that ended last."""
    latest: dict[int, Obj] = {}

    def rank(pod: Obj) -> tuple[int, float, str]:
        end = ended_at(pod)
        failures = index_failures(pod) + index_failures(pod, INDEX_IGNORED)
        return failures, end.timestamp() if end else 0.0, name_of(pod)

    for pod in pods:
        index = index_of(pod)
        if index is not None and (index not in latest or rank(pod) > rank(latest[index])):
            latest[index] = pod
    return latest
