"""What a reconcile decided to write, as values: a plan returns them, the controller loop carries them out.

Each names its resource.  `Delete` and `SetStatus` say what makes them harmless when the plan was made on old data: the
uid that must still be there, the resourceVersion the status was computed from.
"""

from __future__ import annotations

from dataclasses import dataclass

from cluster.client.transport import Patch
from cluster.machinery.objects import Key, Obj
from cluster.machinery.resource import Resource


@dataclass(frozen=True, slots=True)
class Create:
    """POST `obj`.  With `exists_ok` an object of that name already there is no failure."""

    resource: Resource
    obj: Obj
    exists_ok: bool = False


@dataclass(frozen=True, slots=True)
class Update:
    """PUT `obj` with the resourceVersion it carries; a newer one on the server is a Conflict: the key is looked at again."""

    resource: Resource
    obj: Obj
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class PatchObject:
    """PATCH.  With `absent_ok` an object that is gone is no failure."""

    resource: Resource
    key: Key
    patch: Patch
    subresource: str = ""
    absent_ok: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    """DELETE, if the object still has `uid`; gone or replaced already is no failure.

    `propagation_policy` and `grace_period_s` as in DeleteOptions; a `resource_version` must match, else Conflict.
    """

    resource: Resource
    key: Key
    uid: str
    grace_period_s: int | None = None
    propagation_policy: str = "Background"
    resource_version: str = ""


@dataclass(frozen=True, slots=True)
class SetStatus:
    """PUT /status: `status` replaces the status of `obj`, as it was read.  Equal to what is there, nothing is written."""

    resource: Resource
    obj: Obj
    status: Obj


Write = Create | Update | PatchObject | Delete | SetStatus
