"""ResourceQuota: what a write uses is charged to the quotas of its namespace in the transaction that writes it, or refused.

Two servers can therefore never both give the last of something away.  Deletions give nothing back here: the quota
controller recounts.  Upstream: apiserver/pkg/admission/plugin/resourcequota.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from weakref import WeakValueDictionary

from cluster.apiserver.registry import Planned
from cluster.apiserver.state import Row, State, TableId, stored_form
from cluster.machinery.errors import Forbidden
from cluster.machinery.objects import Obj, field_of, key_of, name_of, with_field
from cluster.machinery.quantity import Quantity
from cluster.machinery.resource import Resource
from cluster.resources.catalog import Descriptor
from cluster.resources.resource_scopes import is_in_scope
from cluster.resources.resource_usage import NOTHING, Usage, missing_amounts, quantities_of, tracks, usage_of
from cluster.store.api import Put

QUOTAS = TableId("", "resourcequotas")
_CHARGED_ON_UPDATE = frozenset({"pods", "services", "persistentvolumeclaims"})


class QuotaCharges:
    """See `registry.Allocations`.  A namespace without quotas costs one look-up."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._by_namespace = state.table(QUOTAS).by_namespace
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def turn(self, namespace: str) -> asyncio.Lock | None:
        """What to hold while creating in a namespace with quotas.

        All its writers change the same quotas: one after the other none of them has to try again.
        """
        if namespace not in self._by_namespace:
            return None
        lock = self._turns.get(namespace)
        if lock is None:
            lock = self._turns[namespace] = asyncio.Lock()
        return lock

    def plan(self, descriptor: Descriptor, new: Obj | None, old: Obj | None) -> Planned | None:
        """Raises Forbidden when a quota is exceeded, or does not know yet what is used."""
        if new is None or not descriptor.resource.namespaced:
            return None
        namespace = key_of(new).namespace
        rows = self._by_namespace.get(namespace)
        if not rows:
            return None
        resource = descriptor.resource
        if old is not None and (resource.plural not in _CHARGED_ON_UPDATE or new.get("spec") == old.get("spec")):
            return None
        charged = self._charged([rows[key] for key in sorted(rows)], resource, new, old)
        return self._planned(new, charged) if charged else None

    def _planned(self, new: Obj, charged: Sequence[tuple[Row, Obj]]) -> Planned:
        operations: list[Put] = []
        for row, quota in charged:
            value = stored_form(quota)
            self._state.expect(row.path, value, quota)
            operations.append(Put(row.path, value, row.revision))

        def release() -> None:
            for row, _ in charged:
                self._state.forget(row.path)

        return Planned(new, tuple(operations), release)

    def _charged(self, rows: Sequence[Row], resource: Resource, new: Obj, old: Obj | None) -> list[tuple[Row, Obj]]:
        added = _added(resource, new, old)
        if not added:
            return []
        charged: list[tuple[Row, Obj]] = []
        for row in rows:
            quota = self._state.obj(row)
            hard = quantities_of(field_of(quota, "status", "hard"))
            limited = [name for name in hard if tracks(resource, name)]
            if not limited or not is_in_scope(quota, resource, new):
                continue
            is_pod = resource.plural == "pods" and not resource.group
            if is_pod and old is None and (missing := missing_amounts(new, limited)):
                raise _forbidden(resource, new, f"failed quota: {name_of(quota)}: must specify {missing}")
            used = quantities_of(field_of(quota, "status", "used"))
            if unknown := sorted(name for name in limited if name not in used):
                why = f"status unknown for quota: {name_of(quota)}, resources: {','.join(unknown)}"
                raise _forbidden(resource, new, why)
            asked = {name: added[name] for name in limited if name in added}
            if not asked:
                continue
            after = {name: used[name] + amount for name, amount in asked.items()}
            if exceeded := sorted(name for name, amount in after.items() if amount > hard[name]):
                raise _forbidden(
                    resource,
                    new,
                    f"exceeded quota: {name_of(quota)}, requested: {_listed(asked, exceeded)}, "
                    f"used: {_listed(used, exceeded)}, limited: {_listed(hard, exceeded)}",
                )
            before: Mapping[str, str] = field_of(quota, "status", "used", default={})
            now_used = {**before, **{name: str(amount) for name, amount in after.items()}}
            charged.append((row, with_field(quota, ("status", "used"), now_used)))
        return charged


def _added(resource: Resource, new: Obj, old: Obj | None) -> Usage:
    """What the write uses more than before; nothing is given back."""
    before = usage_of(resource, old) if old is not None else {}
    more = {name: amount - before.get(name, NOTHING) for name, amount in usage_of(resource, new).items()}
    return {name: amount for name, amount in more.items() if amount > NOTHING}


def _listed(amounts: Mapping[str, Quantity], names: Sequence[str]) -> str:
    return ",".join(f"{name}={amounts[name]}" for name in names)


def _forbidden(resource: Resource, obj: Obj, why: str) -> Forbidden:
    name = name_of(obj)
    return Forbidden(
        f'{resource.qualified_name} "{name}" is forbidden: {why}', group=resource.group, kind=resource.plural, name=name
    )
