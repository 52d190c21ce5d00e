"""One request on its way through the handlers, and what a handler answers before it is written down.

Handlers return results, not bytes: the wire gets the stored JSON as it is, an in-process caller the decoded object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import orjson

from cluster.apiserver.http import ApiRequest, Identity, Reply
from cluster.apiserver.routes import Route, is_true
from cluster.apiserver.state import Row, TableId
from cluster.apiserver.watch import Watcher
from cluster.base.values import frozen
from cluster.client.transport import PatchType
from cluster.machinery.errors import ApiError, Cause, invalid_object
from cluster.machinery.objects import Key, Obj
from cluster.resources.catalog import Descriptor

FIELD_MANAGER_SIZE_MAX = 128
APPLY = PatchType.APPLY.value
_OPTIONS = {"PUT": "UpdateOptions", "PATCH": "PatchOptions", "DELETE": "DeleteOptions"}


@frozen
class Call:
    """An authenticated, routed request for a resource.

    `user` is whom it acts as; `warnings` and `audit`, what its record is annotated with, grow on the way.
    """

    request: ApiRequest
    route: Route
    descriptor: Descriptor
    user: Identity
    warnings: list[str] = field(default_factory=list)
    audit: dict[str, str] = field(default_factory=dict)

    @property
    def table_id(self) -> TableId:
        return table_id_of(self.descriptor)

    @property
    def key(self) -> Key:
        return self.route.key

    def is_set(self, parameter: str) -> bool:
        return is_true(self.request.parameter(parameter))


def table_id_of(descriptor: Descriptor) -> TableId:
    return TableId(descriptor.storage.group, descriptor.storage.plural)


@frozen
class RowResult:
    """A stored object.  `created` makes the status 201."""

    row: Row
    created: bool = False


@dataclass(frozen=True, slots=True)
class ObjResult:
    """An object that is not stored as it is answered: a dry run, a review, a Scale, a Status.  It is of its own kind."""

    obj: Obj
    status: int = 200


@dataclass(frozen=True, slots=True)
class RowsResult:
    """A page of a list as of `revision`."""

    rows: Sequence[Row]
    revision: int
    continue_token: str = ""
    remaining: int | None = None


@dataclass(frozen=True, slots=True)
class WatchResult:
    watcher: Watcher


Result: TypeAlias = RowResult | ObjResult | RowsResult | WatchResult | Reply


@dataclass(frozen=True, slots=True)
class WriteParameters:
    """The query parameters every write understands."""

    field_manager: str
    dry_run: bool
    field_validation: str
    force: bool


def write_parameters_of(call: Call) -> WriteParameters:
    """Raises Invalid, worded as upstream's option validation."""
    request = call.request
    options = _OPTIONS.get(request.method, "CreateOptions")
    validation = request.parameter("fieldValidation") or "Warn"
    if validation not in ("Strict", "Warn", "Ignore"):
        raise _unsupported(options, "fieldValidation", validation, ("Ignore", "Strict", "Warn"))
    manager = request.parameter("fieldManager")
    if len(manager.encode()) > FIELD_MANAGER_SIZE_MAX:
        why = f"Too long: may not be more than {FIELD_MANAGER_SIZE_MAX} bytes"
        raise _invalid_option(options, Cause("FieldValueTooLong", why, "fieldManager"))
    if not manager.isprintable():
        why = f"Invalid value: {orjson.dumps(manager).decode()}: should only contain printable characters"
        raise _invalid_option(options, Cause("FieldValueInvalid", why, "fieldManager"))
    force = call.is_set("force")
    if force and options == "PatchOptions" and request.headers.get("content-type", "").partition(";")[0] != APPLY:
        why = "Forbidden: may not be specified for non-apply patch"
        raise _invalid_option(options, Cause("FieldValueForbidden", why, "force"))
    return WriteParameters(
        field_manager=manager,
        dry_run=dry_run_of(request.query.get("dryRun", ()), options),
        field_validation=validation,
        force=force,
    )


def dry_run_of(values: Sequence[str], options: str) -> bool:
    """Whether a write only pretends.  Raises Invalid for anything but `All`."""
    for value in values:
        if value not in ("All", ""):
            raise _unsupported(options, "dryRun", value, ("All",))
    return "All" in values


def _unsupported(options: str, name: str, value: str, supported: Sequence[str]) -> ApiError:
    listed = ", ".join(f'"{choice}"' for choice in supported)
    why = f"Unsupported value: {orjson.dumps(value).decode()}: supported values: {listed}"
    return _invalid_option(options, Cause("FieldValueNotSupported", why, name))


def _invalid_option(options: str, cause: Cause) -> ApiError:
    return invalid_object("meta.k8s.io", options, "", [cause])


def manager_of(parameters: WriteParameters, call: Call) -> str:
    """Who owns the fields of a write: as told, else the program's name from its User-Agent (upstream: managerOrUserAgent)."""
    if parameters.field_manager:
        return parameters.field_manager
    agent = call.request.headers.get("user-agent", "").partition("/")[0]
    return "".join(c for c in agent if c.isprintable())[:FIELD_MANAGER_SIZE_MAX] or call.user.name or "unknown"
