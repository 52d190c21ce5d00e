"""The way from a commit to a container, stage by stage.  Pure: objects and runs in, stages out.

The API writes most instants in whole seconds, so two stages of one second may seem to be in the wrong order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cluster.machinery.conditions import conditions_of, get_condition
from cluster.machinery.managed_fields import entries_of, fields_of
from cluster.machinery.objects import Obj, annotations_of, controller_of, field_of, name_of, uid_of
from reconciler.history.ownership import change_in, changes_of
from reconciler.model import Ref, ref_of
from reconciler.projection import FIELD_MANAGER

REVISION_ANNOTATION = "deployment.kubernetes.io/revision"


@dataclass(frozen=True, slots=True)
class Step:
    """`at` is RFC 3339, empty when it has not happened, or nobody recorded when; `is_missing`: it has not happened."""

    stage: str
    at: str
    what: str
    is_missing: bool = False


def newest_below(root: Obj, made: Sequence[Obj]) -> Sequence[Obj]:
    """From what `root` controls down to a pod: at each step the newest generation, of its pods one that is not ready.

    `made` are the objects of its namespace that controllers make.
    """
    chain: list[Obj] = []
    above = root
    while below := [each for each in made if (controller_of(each) or {}).get("uid") == uid_of(above)]:
        above = max(below, key=_newest)
        chain.append(above)
        if len(chain) > len(made):
            break
    return chain


def _newest(obj: Obj) -> tuple[int, bool, str, str]:
    number = annotations_of(obj).get(REVISION_ANNOTATION, "")
    ready = get_condition(conditions_of(obj), "Ready") or {}
    since = str(ready.get("lastTransitionTime", "") or created_at(obj))
    is_waiting = obj.get("kind") == "Pod" and ready.get("status") != "True"
    return int(number) if number.isdecimal() else 0, is_waiting, since, name_of(obj)


def cause_of(runs: Iterable[Obj], root: Ref, made_at: str) -> Obj | None:
    """The newest run that changed `root`, and before `made_at`, if that is given."""
    changes = changes_of(runs, root)
    return next((run for run in changes if not made_at or str(run["spec"].get("startedAt", "")) <= made_at), None)


def steps_of(root: Obj, below: Sequence[Obj], run: Obj | None) -> Sequence[Step]:
    """`below` leads from what `root` controls to the object asked for, or to its pod."""
    steps = list(_asked(run, ref_of(root))) if run is not None else []
    applied_at = str(field_of(run, "spec", "stages", "applied", default="")) if run is not None else ""
    made_at = created_at(below[0]) if below else ""
    steps += _changed(root, applied_at, made_at)
    for obj in below:
        steps.append(Step(f"{obj['kind']} created", created_at(obj), name_of(obj)))
        if obj["kind"] == "Pod":
            steps += _pod(obj)
    if not below and root.get("kind") == "Pod":
        steps += _pod(root)
    return steps


def created_at(obj: Obj) -> str:
    return str(field_of(obj, "metadata", "creationTimestamp", default=""))


def _asked(run: Obj, root: Ref) -> Sequence[Step]:
    spec: Obj = run["spec"]
    stages: Mapping[str, str] = spec.get("stages") or {}
    origin = str(change_in(run, root).get("origin", ""))
    author = str(spec.get("author", "")).partition(" <")[0]
    by = f" by {author}" if author else ""
    place = f" ({origin})" if origin else ""
    commit = str(spec.get("revision", "")).removeprefix("sha256:")[:8]
    return [
        Step("committed", stages.get("committed", ""), f'{commit} "{spec.get("subject", "")}"{by}{place}'),
        Step("seen", stages.get("seen", ""), ""),
        Step("planned", stages.get("planned", ""), f"{spec.get('trigger', '')}"),
        Step("applied", stages.get("applied", "") or str(spec.get("startedAt", "")), name_of(run)),
    ]


def _changed(root: Obj, after: str, before: str) -> Sequence[Step]:
    """Who else wrote to its spec between Git and what came of it: then Git alone is not the answer."""
    return [
        Step("changed", str(entry.get("time", "")), f"by {entry.get('manager', '')}, behind Git")
        for entry in entries_of(root)
        if entry.get("manager") != FIELD_MANAGER
        and entry.get("subresource", "") != "status"
        and "f:spec" in fields_of(entry)
        and after[:19] < str(entry.get("time", ""))[:19] <= before[:19]
    ]


def _pod(pod: Obj) -> Sequence[Step]:
    """Bound, started, ready; after the first that has not happened, nothing."""
    bound = get_condition(conditions_of(pod), "PodScheduled") or {}
    if bound.get("status") != "True":
        return [Step("bound", "", _reason(bound), is_missing=True)]
    steps = [
        Step("bound", str(bound.get("lastTransitionTime", "")), str(field_of(pod, "spec", "nodeName", default="")))
    ]
    containers: Sequence[Obj] = field_of(pod, "status", "containerStatuses", default=())
    states: list[Obj] = [container.get("state") or {} for container in containers]
    waiting = [
        f"{container.get('name', '')}: {_reason(state.get('waiting') or state.get('terminated') or {})}"
        for container, state in zip(containers, states, strict=True)
        if "running" not in state
    ]
    if waiting or not states:
        what = "; ".join(waiting) or "no container has been reported yet"
        return [*steps, Step("started", "", what, is_missing=True)]
    restarts = sum(int(container.get("restartCount", 0)) for container in containers)
    at = max(str(state["running"].get("startedAt", "")) for state in states)
    steps.append(Step("started", at, f"restarted {restarts} times" if restarts else ""))
    ready = get_condition(conditions_of(pod), "Ready") or {}
    if ready.get("status") != "True":
        return [*steps, Step("ready", "", _reason(ready), is_missing=True)]
    return [*steps, Step("ready", str(ready.get("lastTransitionTime", "")), "")]


def _reason(found: Obj) -> str:
    return ": ".join(str(found[field]) for field in ("reason", "message") if found.get(field)) or "not yet"
