"""Application: which path of which Repository is kept in the cluster, how, and how that goes."""

from __future__ import annotations

from cluster.machinery.resource import Resource
from reconciler.crds.schema import (
    GROUP,
    VERSION,
    array,
    boolean,
    column,
    conditions,
    definition,
    duration,
    instant,
    integer,
    obj,
    string,
)

APPLICATIONS = Resource(
    GROUP, VERSION, "Application", "applications", True,
    singular="application", short_names=("app", "apps"), categories=("gitops",), subresources=("status",),
)  # fmt: skip

QUARANTINED_MAX = 20

_NAME = string(maxLength=253)

_SPEC = obj(
    {
        "repositoryRef": obj({"name": _NAME}, "a Repository in the same namespace", ("name",)),
        "path": string("a directory or file of the repository; empty: all of it", maxLength=1024, default=""),
        "targetNamespace": string("where objects that name no namespace go", maxLength=63),
        "createNamespace": boolean("create targetNamespace when it is absent", default=False),
        "serviceAccountName": string(
            "whose rights are used; absent: only targetNamespace may be written", maxLength=253
        ),
        "prune": boolean("delete what was applied once and is declared no more", default=True),
        "interval": duration("how often everything is compared again without a cause", "10m"),
        "timeout": duration("how long to wait for health after applying", "5m"),
        "suspend": boolean("leave the cluster alone", default=False),
        "suspension": obj(
            {
                "by": string("who suspended it, as they said", maxLength=256),
                "reason": string(maxLength=1024),
                "until": instant("from then on it is not suspended any more"),
            },
            "who suspended the application, why, until when",
        ),
        "drift": string(
            "what to do about changes made behind Git's back",
            enum=["correct", "report", "ignore"],
            default="correct",
        ),
        "autoRevert": obj(
            {
                "push": boolean("also push a commit that takes the content back", default=True),
                "merges": boolean("push it also when it takes back merges", default=False),
                "maxPerHour": integer("how many commits may be given up in an hour", default=3, minimum=1, maximum=60),
            },
            "go back to the last good commit when a new one does not become healthy; absent: never",
        ),
        "dependsOn": array(
            obj({"name": _NAME}, required=("name",)),
            "Applications of this namespace that must be synced and healthy at the same revision of their own source",
            maxItems=64,
        ),
    },
    required=("repositoryRef",),
)

_COUNT = ("created", "updated", "kept", "pruned", "held", "refused", "failed")

_STATUS = obj(
    {
        "observedGeneration": integer(),
        "sync": string(enum=["Synced", "OutOfSync", "Unknown"]),
        "health": string(enum=["Healthy", "Suspended", "Progressing", "Missing", "Degraded", "Unknown"]),
        "healthMessage": string(),
        "revision": string("the last revision applied completely"),
        "author": string(),
        "subject": string(),
        "lastAttempted": string("the last revision tried"),
        "lastRun": string("the name of the newest Run"),
        "lastSyncedAt": instant(),
        "lastHandledRequest": string("the value of the requested-at annotation last acted on"),
        "counts": obj({name: integer() for name in _COUNT}),
        "quarantined": array(
            obj(
                {
                    "revision": string("the commit that is not applied again"),
                    "tree": string("the content of the application's path at it"),
                    "good": string("the commit that is applied instead"),
                    "at": instant(),
                    "reason": string(),
                    "revertedBy": string("the commit that was pushed to take it back"),
                    "notPushed": string("why none was pushed"),
                },
                required=("revision", "good"),
            ),
            "commits that were given up because they did not become healthy, the oldest first",
            maxItems=QUARANTINED_MAX,
        ),
        "drifted": array(string(), "objects that differ from Git while drift is only reported", maxItems=100),
        "problems": array(string(), "all that is wrong, with file and line where it has one", maxItems=50),
        "problemsOmitted": integer("how many more there were"),
        "conditions": conditions(),
    }
)

APPLICATION_CRD = definition(
    APPLICATIONS,
    obj({"spec": _SPEC, "status": _STATUS}, required=("spec",)),
    [
        column("Sync", ".status.sync"),
        column("Health", ".status.health"),
        column("Revision", ".status.revision"),
        column("Subject", ".status.subject"),
        column("Ready", '.status.conditions[?(@.type=="Ready")].status', wide=True),
        column("Message", '.status.conditions[?(@.type=="Ready")].message', wide=True),
        column("Repository", ".spec.repositoryRef.name", wide=True),
        column("Path", ".spec.path", wide=True),
        column("Age", ".metadata.creationTimestamp", kind="date"),
    ],
)
