"""Run: the record of one synchronisation.  Written once, never changed; the newest fifty of an application are kept."""

from __future__ import annotations

from cluster.machinery.resource import Resource
from reconciler.crds.schema import GROUP, VERSION, array, column, definition, instant, integer, obj, string

RUNS = Resource(
    GROUP, VERSION, "Run", "runs", True, singular="run", short_names=("gitrun",), categories=("gitops",)
)  # fmt: skip

ACTIONS_MAX = 200
ERRORS_MAX = 100

_SPEC = obj(
    {
        "application": string(),
        "revision": string(),
        "tree": string("names the rendered path's content"),
        "author": string(),
        "subject": string(),
        "trigger": string(),
        "startedAt": instant(),
        "finishedAt": instant(),
        "durationMs": integer(minimum=0),
        "stages": obj(
            {name: instant() for name in ("committed", "seen", "planned", "applied")},
            "when the revision was committed, seen, compared with the cluster, and written",
        ),
        "outcome": string(enum=["Succeeded", "Applied", "Partial", "Failed", "Superseded"]),
        "message": string(),
        "health": string(),
        "counts": obj(
            {name: integer(minimum=0) for name in ("created", "updated", "kept", "pruned", "held", "refused", "failed")}
        ),
        "actions": array(
            obj({"action": string(), "object": string(), "reason": string(), "origin": string(), "error": string()}),
            "what happened to each object that was not simply kept",
            maxItems=ACTIONS_MAX,
        ),
        "actionsOmitted": integer("how many more there were", minimum=0),
        "errors": array(string(), "each with file and line where they have one", maxItems=ERRORS_MAX),
        "errorsOmitted": integer(minimum=0),
    },
    required=("application", "revision", "outcome"),
)

RUN_CRD = definition(
    RUNS,
    obj({"spec": _SPEC}, required=("spec",)),
    [
        column("Application", ".spec.application"),
        column("Revision", ".spec.revision"),
        column("Author", ".spec.author"),
        column("Subject", ".spec.subject"),
        column("Outcome", ".spec.outcome"),
        column("Trigger", ".spec.trigger", wide=True),
        column("Message", ".spec.message", wide=True),
        column("Finished", ".spec.finishedAt", kind="date"),
    ],
)
