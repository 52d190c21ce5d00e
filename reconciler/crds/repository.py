"""Repository: a place desired state comes from, and what was last seen there."""

from __future__ import annotations

from cluster.machinery.resource import Resource
from reconciler.crds.schema import GROUP, VERSION, column, conditions, definition, duration, instant, obj, string

REPOSITORIES = Resource(
    GROUP, VERSION, "Repository", "repositories", True,
    singular="repository", short_names=("repo", "repos"), categories=("gitops",), subresources=("status",),
)  # fmt: skip

_REF = obj(
    {
        "branch": string("follow the head of this branch", maxLength=244),
        "tag": string("stay at this tag", maxLength=244),
        "commit": string("stay at this commit", pattern="^[0-9a-f]{40}([0-9a-f]{24})?$"),
    },
    "at most one; absent: the repository's HEAD",
    maxProperties=1,
)

_SPEC = obj(
    {
        "url": string("a remote repository: https://, or ssh:// and user@host:path", maxLength=2048),
        "path": string("a Git repository on the server's host, in a directory the operator allows", maxLength=4096),
        "folder": string("a plain folder on the server's host, in a directory the operator allows", maxLength=4096),
        "ref": _REF,
        "interval": duration("how often a remote is asked; local sources are watched", "30s"),
        "timeout": duration("how long one fetch may take", "60s"),
        "secretRef": obj(
            {"name": string(maxLength=253)},
            "a Secret beside this object: username and password, or identity and known_hosts",
            ("name",),
        ),
    }
)

_STATUS = obj(
    {
        "observedGeneration": {"type": "integer"},
        "revision": string("the commit, or the folder's content hash"),
        "tree": string(),
        "author": string(),
        "message": string("the first line of the commit message"),
        "committedAt": instant(),
        "fetchedAt": instant("when this revision was first seen"),
        "conditions": conditions(),
    }
)

REPOSITORY_CRD = definition(
    REPOSITORIES,
    obj({"spec": _SPEC, "status": _STATUS}, required=("spec",)),
    [
        column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
        column("Revision", ".status.revision"),
        column("Author", ".status.author"),
        column("Subject", ".status.message"),
        column("URL", ".spec.url", wide=True),
        column("Path", ".spec.path", wide=True),
        column("Age", ".metadata.creationTimestamp", kind="date"),
    ],
)
