"""Generic create, update and delete over the store: what every resource shares, whatever its kind.

Upstream: apiserver/pkg/registry/generic/registry/store.go, registry/rest/{create,update}.go.  Per-kind rules are the
descriptor's strategy, policy is admission's; this module owns metadata, preconditions and the compare-and-set loop.
A write is answered once it has come back through the feed, so whoever reads next sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from cluster.apiserver.admission.api import Admission, Attributes, Operation, replaced
from cluster.apiserver.admission.webhooks import Webhooks
from cluster.apiserver.call import (
    Call,
    ObjResult,
    Result,
    RowResult,
    WriteParameters,
    manager_of,
    table_id_of,
)
from cluster.apiserver.conversion import Converter, is_in
from cluster.apiserver.decoding import checked_fields
from cluster.apiserver.event_leases import EventLeases
from cluster.apiserver.ownership import Writer, claimed
from cluster.apiserver.state import Row, State, path_of, spliced, stored_form, with_revision
from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.machinery.errors import (
    AlreadyExists,
    ApiError,
    BadRequest,
    Cause,
    InsufficientStorage,
    RequestEntityTooLarge,
    ServiceUnavailable,
    already_exists,
    conflict,
    invalid_object,
    not_found,
)
from cluster.machinery.objects import Key, Obj, is_deleting, meta_of, with_field
from cluster.resources.catalog import Descriptor
from cluster.resources.metadata import without_empty
from cluster.resources.strategy import WriteContext
from cluster.store import api as store_api
from cluster.store.api import Delete, Put, Store

CAS_TRIES_MAX = 20
"""Compare-and-set attempts of one write before it is answered with 409."""
GENERATED_NAME_TRIES_MAX = 8
GENERATED_SUFFIX_SIZE = 5
NAME_BASE_SIZE_MAX = 63 - GENERATED_SUFFIX_SIZE

MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"

_SERVER_OWNED = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "resourceVersion",
    "selfLink",
    "generation",
    "managedFields",
)
_KEPT_ON_UPDATE = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generateName")


Claim: TypeAlias = Callable[[Obj, Obj | None, Writer, Descriptor], Obj]
"""Writes down who owns the fields of a new state, given the old one: see `ownership`."""


@dataclass(frozen=True, slots=True)
class Planned:
    """An object with what else its transaction writes; `release` is called if that transaction fails."""

    obj: Obj
    operations: Sequence[store_api.Operation] = ()
    release: Callable[[], None] = lambda: None


class Allocations(Protocol):
    """Numbers that a kind is given from a pool, in the transaction that writes the object."""

    def plan(self, descriptor: Descriptor, new: Obj | None, old: Obj | None) -> Planned | None:
        """What to write for the change from `old` to `new` (None: absent); None when it concerns no pool."""
        ...

    def turn(self, namespace: str) -> AbstractAsyncContextManager[object] | None:
        """What to hold while creating in `namespace`; None where writers are not in each other's way."""
        ...


@dataclass(frozen=True, slots=True)
class Rules:
    """What an endpoint lets a write change, and what it checks.

    `deletes` marks the mark of a deletion, which was admitted as such and may set what only the server sets.  `shown` is
    how the object looks at this endpoint, where it is not the object itself: webhooks are told of that, and cannot change it.
    `is_admitted`: webhooks were asked already, about the body of the request.
    """

    prepare: Callable[[Obj, Obj], Obj]
    validate: Callable[[Obj, Obj], Sequence[Cause]]
    subresource: str = ""
    deletes: bool = False
    shown: Callable[[Obj], Obj] | None = None
    is_admitted: bool = False


def main_rules(descriptor: Descriptor) -> Rules:
    return Rules(descriptor.strategy.prepare_update, descriptor.strategy.validate_update)


def status_rules(descriptor: Descriptor) -> Rules:
    return Rules(descriptor.strategy.prepare_status, descriptor.strategy.validate_status, "status")


def verbatim_rules(subresource: str) -> Rules:
    """The endpoint itself knows exactly what it changes, and has had its body admitted."""
    return Rules(lambda new, old: new, lambda new, old: (), subresource, is_admitted=True)


DELETION = Rules(lambda new, old: new, lambda new, old: (), deletes=True)


class Registry:
    """Writes.  Every method raises ApiError."""

    def __init__(
        self,
        *,
        store: Store,
        state: State,
        clock: Clock,
        entropy: Entropy,
        admission: Admission,
        webhooks: Webhooks,
        allocations: Allocations,
        converter: Converter,
    ) -> None:
        self.state = state
        self._store = store
        self._clock = clock
        self._leases = EventLeases(store, clock)
        self._entropy = entropy
        self._admission = admission
        self._webhooks = webhooks
        self._allocations = allocations
        self._converter = converter

    def now(self) -> str:
        """The instant as metadata has it: RFC 3339, UTC, whole seconds."""
        return self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")

    def row(self, descriptor: Descriptor, key: Key) -> Row:
        """Raises NotFound."""
        row = self.state.table(table_id_of(descriptor)).get(key)
        if row is None:
            raise not_found(descriptor.resource.group, descriptor.resource.plural, key.name)
        return row

    async def read(self, descriptor: Descriptor, key: Key) -> Row:
        """The row as `descriptor`'s version has it.  Raises NotFound."""
        row = self.row(descriptor, key)
        return row if descriptor.conversion is None else await self._converter.row(descriptor, row)

    def obj(self, descriptor: Descriptor, row: Row) -> Obj:
        """A row as `descriptor`'s version has it, decoded and shared."""
        return descriptor.from_storage(self.state.obj(row))

    async def create(self, call: Call, obj: Obj, parameters: WriteParameters, *, claim: Claim | None = None) -> Result:
        """POST.  Names from `generateName` are tried again when taken."""
        generated = not meta_of(obj).get("name") and bool(meta_of(obj).get("generateName"))
        for tries_left in reversed(range(GENERATED_NAME_TRIES_MAX if generated else 1)):
            try:
                return await self._create_once(call, obj, parameters, claim)
            except AlreadyExists:
                if not tries_left:
                    raise
        raise AssertionError("unreachable")  # the last try returns or raises

    async def _create_once(self, call: Call, obj: Obj, parameters: WriteParameters, claim: Claim | None) -> Result:
        descriptor = call.descriptor
        resource, strategy = descriptor.resource, descriptor.strategy
        new = self._with_new_metadata(call, obj)
        new = strategy.default(new)
        key = Key(meta_of(new).get("namespace", ""), meta_of(new).get("name", ""))
        attributes = self._attributes(call, "CREATE", key, "", new, None, dry_run=parameters.dry_run)
        asked = self._admission.mutate(attributes)
        if self._webhooks.mutates:
            asked = await self._mutated_by_webhooks(call, replaced(attributes, asked))
        user = call.user
        new = strategy.prepare_create(asked, WriteContext(user.name, user.groups, user.uid, user.extra))
        if causes := strategy.validate(new):
            raise invalid_object(resource.group, resource.kind, key.name, causes)
        attributes = replaced(attributes, new)
        self._admission.validate(attributes)
        if self._webhooks.validates:
            await self._webhooks.validate(attributes)
        call.warnings.extend(strategy.warnings(new))
        table_id = table_id_of(descriptor)
        if self.state.table(table_id).get(key) is not None:
            raise already_exists(resource.group, resource.plural, key.name)
        writer = Writer(manager_of(parameters, call), "", self.now())
        # Who creates owns what was asked for; what the kind itself generates (a job's selector) is nobody's.
        owned = meta_of((claim or claimed)(asked, None, writer, descriptor)).get("managedFields")
        if owned is not None:
            new = with_field(new, ("metadata", "managedFields"), owned)
        turn = self._allocations.turn(key.namespace)
        if turn is None:
            return await self._insert(descriptor, key, new, parameters)
        async with turn:
            return await self._insert(descriptor, key, new, parameters)

    async def _insert(self, descriptor: Descriptor, key: Key, new: Obj, parameters: WriteParameters) -> Result:
        """Write a new object with what it is allocated, drawn again as long as others are quicker."""
        resource = descriptor.resource
        path = path_of(table_id_of(descriptor), key)
        for _ in range(CAS_TRIES_MAX):
            planned = self._allocations.plan(descriptor, new, None) or Planned(new)
            if parameters.dry_run:
                planned.release()
                return ObjResult(planned.obj, 201)
            try:
                return RowResult(await self._put(path, key, descriptor, 0, planned), created=True)
            except store_api.Conflict as error:
                if error.key == path:
                    raise already_exists(resource.group, resource.plural, key.name) from None
                await self.state.reached(error.actual)
        raise conflict(resource.group, resource.plural, key.name, "an allocation was taken; try again")

    async def update(
        self,
        call: Call,
        key: Key,
        change: Callable[[Obj], Obj],
        parameters: WriteParameters,
        rules: Rules,
        *,
        claim: Claim | None = None,
        uid: str = "",
        version: str = "",
    ) -> Result:
        """Apply `change` to the newest state, again after losing a race, unless `version` says which state is meant.

        A change that changes nothing writes nothing.  An object whose last finalizer goes is removed.
        """
        descriptor = call.descriptor
        resource = descriptor.resource
        table_id = table_id_of(descriptor)
        for _ in range(CAS_TRIES_MAX):
            stored = self.row(descriptor, key)
            row = stored if descriptor.conversion is None else await self._converter.row(descriptor, stored)
            old = self.obj(descriptor, row)
            # What an earlier storage version left is written anew even when nothing changes: so it is migrated.
            migrates = descriptor.custom and not is_in(stored, descriptor.storage.api_version)
            changed = change(old)
            if version and version != str(row.revision):
                raise conflict(resource.group, resource.plural, key.name, MODIFIED)
            if uid and uid != row.uid:
                raise uid_conflict(descriptor, key, uid, row.uid)
            if changed is old and not migrates:
                return RowResult(row)
            new = changed
            if not rules.deletes:
                new = await self._prepared(call, key, changed, old, rules, dry_run=parameters.dry_run)
            if not rules.deletes:
                writer = Writer(manager_of(parameters, call), rules.subresource, self.now())
                new = (claim or claimed)(new, old, writer, descriptor)
            if not migrates and (new == old or self._only_times_differ(new, old)):
                return RowResult(row)
            gone = is_deleting(new) and is_finished(new, descriptor)
            planned = self._allocations.plan(descriptor, None if gone else new, old) or Planned(new)
            if not gone and not migrates and planned.obj == old:
                return RowResult(row)
            if parameters.dry_run:
                planned.release()
                return ObjResult(planned.obj)
            path = path_of(table_id, key)
            try:
                if gone:
                    await self._remove(path, row.revision, planned)
                    return ObjResult(planned.obj)
                return RowResult(await self._put(path, key, descriptor, row.revision, planned))
            except store_api.Conflict as error:
                # Somebody else's write is on its way through the feed; decide again from what it left.
                await self.state.reached(error.actual)
                if version and error.key == path:
                    raise conflict(resource.group, resource.plural, key.name, MODIFIED) from None
        raise conflict(resource.group, resource.plural, key.name, MODIFIED)

    async def remove(self, call: Call, row: Row, old: Obj) -> None:
        """Remove `row` if it is still the newest state.  Raises store_api.Conflict otherwise."""
        planned = self._allocations.plan(call.descriptor, None, old) or Planned(old)
        await self._remove(row.path, row.revision, planned)

    async def admit_deletion(self, call: Call, key: Key, old: Obj, *, dry_run: bool) -> None:
        attributes = self._attributes(call, "DELETE", key, "", old, old, dry_run=dry_run)
        self._admission.validate(attributes)
        await self._ask_webhooks(call, attributes)

    async def admit_connection(self, call: Call, obj: Obj, options: Obj) -> None:
        """`options` is what webhooks are told: PodExecOptions and the like."""
        attributes = self._attributes(call, "CONNECT", call.key, call.route.subresource, obj, None)
        self._admission.validate(attributes)
        await self._ask_webhooks(call, replaced(attributes, options))

    async def admit_body(self, call: Call, body: Obj, *, dry_run: bool) -> None:
        """The body of a subresource that is created and never stored: a Binding, an Eviction, a TokenRequest."""
        attributes = self._attributes(call, "CREATE", call.key, call.route.subresource, body, None, dry_run=dry_run)
        await self._ask_webhooks(call, attributes)

    async def _prepared(self, call: Call, key: Key, new: Obj, old: Obj, rules: Rules, *, dry_run: bool) -> Obj:
        resource = call.descriptor.resource
        new = self._with_kept_metadata(call, new, old)
        if not rules.subresource:
            new = call.descriptor.strategy.default(new)
        attributes = self._attributes(call, "UPDATE", key, rules.subresource, new, old, dry_run=dry_run)
        new = self._admission.mutate(attributes)
        if self._webhooks.mutates and rules.shown is None and not rules.is_admitted:
            new = await self._mutated_by_webhooks(call, replaced(attributes, new))
        new = rules.prepare(new, old)
        if causes := (*_finalizer_causes(new, old), *rules.validate(new, old)):
            raise invalid_object(resource.group, resource.kind, key.name, causes)
        attributes = replaced(attributes, new)
        self._admission.validate(attributes)
        if rules.shown is not None:
            shown = self._attributes(
                call, "UPDATE", key, call.route.subresource, rules.shown(new), rules.shown(old), dry_run=dry_run
            )
            await self._ask_webhooks(call, shown)
        elif self._webhooks.validates and not rules.is_admitted:
            await self._webhooks.validate(attributes)
        if not rules.subresource:
            call.warnings.extend(call.descriptor.strategy.warnings(new))
        return new

    async def _mutated_by_webhooks(self, call: Call, attributes: Attributes) -> Obj:
        descriptor = call.descriptor

        def redo(obj: Obj) -> Obj:
            obj = checked_fields(call, obj, descriptor.node, "Ignore")
            return obj if attributes.subresource else descriptor.strategy.default(obj)

        return await self._webhooks.mutate(attributes, redo, self._admission.mutate)

    async def _ask_webhooks(self, call: Call, attributes: Attributes) -> None:
        """All of them, about something that none can change."""
        if self._webhooks.mutates:
            await self._mutated_by_webhooks(call, attributes)
        if self._webhooks.validates:
            await self._webhooks.validate(attributes)

    def _attributes(
        self,
        call: Call,
        operation: Operation,
        key: Key,
        subresource: str,
        obj: Obj,
        old: Obj | None,
        *,
        dry_run: bool = False,
    ) -> Attributes:
        return Attributes(
            operation, call.descriptor, key, subresource, call.user, obj, old, call.warnings, call, dry_run
        )

    def _with_new_metadata(self, call: Call, obj: Obj) -> Obj:
        meta = meta_of(obj)
        namespace = call.route.namespace if call.descriptor.resource.namespaced else ""
        if meta.get("resourceVersion"):
            raise BadRequest("resourceVersion should not be set on objects to be created")
        given = meta.get("namespace") or ""
        if given and given != namespace:
            raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
        fresh: dict[str, Any] = {name: value for name, value in meta.items() if name not in _SERVER_OWNED}
        if not fresh.get("name") and (base := fresh.get("generateName")):
            fresh["name"] = str(base)[:NAME_BASE_SIZE_MAX] + self._entropy.suffix(GENERATED_SUFFIX_SIZE)
        if namespace:
            fresh["namespace"] = namespace
        else:
            fresh.pop("namespace", None)
        fresh["uid"] = self._entropy.uid()
        fresh["creationTimestamp"] = self.now()
        return {**obj, "metadata": without_empty(fresh)}

    def _with_kept_metadata(self, call: Call, new: Obj, old: Obj) -> Obj:
        """`new` with what only the server may set taken from `old`."""
        was = meta_of(old)
        given = meta_of(new)
        if (uid := given.get("uid")) and uid != was.get("uid"):
            raise uid_conflict(call.descriptor, Key(was.get("namespace", ""), was["name"]), uid, was.get("uid", ""))
        meta: dict[str, Any] = {name: value for name, value in given.items() if name != "selfLink"}
        for name in ("name", "namespace"):
            if meta.get(name) and meta[name] != was.get(name, ""):
                raise BadRequest(f"the {name} of the object does not match the {name} on the URL ({was.get(name, '')})")
            if name in was:
                meta[name] = was[name]
        meta["resourceVersion"] = was["resourceVersion"]
        for name in _KEPT_ON_UPDATE:
            if name in was:
                meta[name] = was[name]
            else:
                meta.pop(name, None)
        if "generation" in was:
            meta["generation"] = was["generation"]
        if "managedFields" in was and "managedFields" not in given:
            meta["managedFields"] = was["managedFields"]
        return {**new, "metadata": without_empty(meta)}

    @staticmethod
    def _only_times_differ(new: Obj, old: Obj) -> bool:
        """Whether nothing but the instants in managedFields changed: such a write is none."""
        if len(new) != len(old):
            return False
        fields = meta_of(new).get("managedFields")
        was = meta_of(old).get("managedFields")
        if fields is None or was is None or len(fields) != len(was):
            return False
        same = all({**a, "time": ""} == {**b, "time": ""} for a, b in zip(fields, was, strict=True))
        return same and {**new, "metadata": {**meta_of(new), "managedFields": was}} == old

    async def _put(self, path: str, key: Key, descriptor: Descriptor, expect: int, planned: Planned) -> Row:
        try:
            if descriptor.conversion is None:
                obj = descriptor.to_storage(planned.obj)
            else:
                obj = await self._converter.stored(descriptor, planned.obj)
            value = stored_form(obj)
            self.state.expect(path, value, obj)
            lease = await self._lease_for(descriptor)
            revision = await self._commit((Put(path, value, expect, lease), *planned.operations))
        except BaseException:
            self.state.forget(path)
            planned.release()
            raise
        await self.state.reached(revision)
        row = self.state.row_at(path)
        if row is None or row.revision != revision:
            # Written again since; the answer is still about this write.
            row = Row(key, path, spliced(value, revision), revision, with_revision(obj, revision))
        return row if descriptor.conversion is None else await self._converter.row(descriptor, row)

    async def _remove(self, path: str, revision: int, planned: Planned) -> None:
        try:
            removed_at = await self._commit((Delete(path, revision), *planned.operations))
        except BaseException:
            planned.release()
            raise
        await self.state.reached(removed_at)

    async def _lease_for(self, descriptor: Descriptor) -> int:
        try:
            return await self._leases.lease_for(descriptor)
        except store_api.Unavailable as error:
            raise _unavailable(error) from None

    async def _commit(self, operations: Sequence[store_api.Operation]) -> int:
        try:
            return await self._store.commit(operations)
        except store_api.TooLarge:
            raise RequestEntityTooLarge(
                f"the object is larger than the store accepts ({store_api.VALUE_SIZE_MAX_BYTES} bytes)"
            ) from None
        except store_api.Unavailable as error:
            raise _unavailable(error) from None


def _unavailable(error: store_api.Unavailable) -> ApiError:
    if error.full:
        return InsufficientStorage("the store's disk is full; nothing can be written")
    return ServiceUnavailable("the store is unavailable; whether the write happened is unknown", retry_after_s=1)


def is_finished(obj: Obj, descriptor: Descriptor) -> bool:
    """Whether a deleting object may go: no finalizers, no grace left, and for namespaces no content to finalize."""
    meta = meta_of(obj)
    if meta.get("finalizers"):
        return False
    if descriptor.strategy.graceful and meta.get("deletionGracePeriodSeconds"):
        return False
    return not (descriptor.resource.kind == "Namespace" and (obj.get("spec") or {}).get("finalizers"))


def uid_conflict(descriptor: Descriptor, key: Key, wanted: str, actual: str) -> ApiError:
    resource = descriptor.resource
    why = f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {actual}"
    return conflict(resource.group, resource.plural, key.name, why)


def _finalizer_causes(new: Obj, old: Obj) -> Sequence[Cause]:
    if not is_deleting(old):
        return ()
    had = meta_of(old).get("finalizers") or ()
    added = [name for name in meta_of(new).get("finalizers") or () if name not in had]
    if not added:
        return ()
    listed = ", ".join(f'"{name}"' for name in added)
    why = f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{listed}}}"
    return (Cause("FieldValueForbidden", f"Forbidden: {why}", "metadata.finalizers"),)
