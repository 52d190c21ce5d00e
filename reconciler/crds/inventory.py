"""Inventory: a chunk of the list of objects an application applied, recorded before each is created."""

from __future__ import annotations

from cluster.machinery.resource import Resource
from reconciler.crds.schema import GROUP, VERSION, array, column, definition, obj, string

INVENTORIES = Resource(
    GROUP, VERSION, "Inventory", "inventories", True,
    singular="inventory", short_names=("inv",), categories=("gitops",),
)  # fmt: skip

ENTRIES_MAX = 500
"""Entries of one chunk: about 150 KB, far below any server's limit on an object."""

_ENTRY = obj(
    {
        "group": string(),
        "version": string(),
        "kind": string(),
        "namespace": string(),
        "name": string(),
        "uid": string("empty until the object is known to exist"),
        "hash": string("digest of the manifest last applied"),
        "projection": string("digest of the declared fields as the server then held them"),
    },
    required=("kind", "name"),
)

INVENTORY_CRD = definition(
    INVENTORIES,
    obj(
        {
            "application": string("the owner, in this namespace"),
            "entries": array(_ENTRY, maxItems=ENTRIES_MAX) | {"x-kubernetes-list-type": "atomic"},
        },
        required=("application",),
    ),
    [
        column("Application", ".application"),
        column("Age", ".metadata.creationTimestamp", kind="date"),
    ],
)
