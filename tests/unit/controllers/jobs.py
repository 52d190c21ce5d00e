"""Jobs and their pods for plan tests: the few fields that matter, by keyword."""

from __future__ import annotations

from typing import Any

from cluster.controllers.job_pods import FINALIZER, INDEX, INDEX_FAILURES

NOW = "2026-01-02T03:04:05Z"
LONG_AGO = "2026-01-01T00:00:00Z"


def job(*, status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """`spec` fields as keywords; defaulted as the API server does."""
    defaults = {
        "parallelism": 1,
        "completions": 1,
        "backoffLimit": 6,
        "completionMode": "NonIndexed",
        "suspend": False,
        "podReplacementPolicy": "TerminatingOrFailed",
        "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "uid-work"}},
        "template": {
            "metadata": {"labels": {"batch.kubernetes.io/controller-uid": "uid-work"}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]},
        },
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"namespace": "d", "name": "work", "uid": "uid-work", "resourceVersion": "1", "generation": 1},
        "spec": {name: value for name, value in {**defaults, **spec}.items() if value is not None},
        "status": {} if status is None else status,
    }


def indexed(completions: int, **spec: Any) -> dict[str, Any]:
    return job(completionMode="Indexed", completions=completions, **{"parallelism": completions, **spec})


def job_pod_of(
    name: str,
    phase: str = "Running",
    *,
    index: int | None = None,
    failures: int | None = None,
    tracked: bool = True,
    deleting: bool = False,
    exit_code: int | None = None,
    ended: str = LONG_AGO,
    conditions: tuple[dict[str, Any], ...] = (),
) -> dict[str, Any]:
    meta: dict[str, Any] = {
        "namespace": "d",
        "name": name,
        "uid": f"uid-{name}",
        "creationTimestamp": LONG_AGO,
        "labels": {"batch.kubernetes.io/controller-uid": "uid-work"},
        "annotations": {},
        "ownerReferences": [
            {"apiVersion": "batch/v1", "kind": "Job", "name": "work", "uid": "uid-work", "controller": True}
        ],
    }
    if tracked:
        meta["finalizers"] = [FINALIZER]
    if deleting:
        meta["deletionTimestamp"] = NOW
    if index is not None:
        meta["annotations"][INDEX] = str(index)
    if failures is not None:
        meta["annotations"][INDEX_FAILURES] = str(failures)
    code = exit_code if exit_code is not None else 0 if phase == "Succeeded" else 1
    state = {"terminated": {"exitCode": code, "finishedAt": ended}} if phase in ("Succeeded", "Failed") else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]},
        "status": {
            "phase": phase,
            "conditions": list(conditions),
            "containerStatuses": [{"name": "c", "restartCount": 0, "state": state}],
        },
    }
