"""Every namespace has the ServiceAccount `default`.  Upstream: pkg/controller/serviceaccount/serviceaccounts_controller.go."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from cluster.client.cache import Cache
from cluster.client.controller import DONE, Controller, Result, Wakeup
from cluster.client.writes import Create, Write
from cluster.machinery.objects import Key, Obj, field_of, is_deleting, name_of, namespace_of
from cluster.machinery.resource import Resource
from cluster.resources.builtin import NAMESPACES, SERVICE_ACCOUNTS

DEFAULT = "default"


def plan_service_account(namespace: Obj, present: Obj | None) -> tuple[Write, ...]:
    if present is not None or not is_active_namespace(namespace):
        return ()
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": DEFAULT, "namespace": name_of(namespace)},
    }
    return (Create(SERVICE_ACCOUNTS, account, exists_ok=True),)


def is_active_namespace(namespace: Obj) -> bool:
    return not is_deleting(namespace) and bool(field_of(namespace, "status", "phase", default="Active") == "Active")


def _namespace_of_default(account: Obj, _: Resource, __: Cache) -> Iterable[Key]:
    return (Key("", namespace_of(account)),) if name_of(account) == DEFAULT else ()


class ServiceAccountController(Controller):
    name: ClassVar = "service-account"
    account: ClassVar = "service-account-controller"
    primary: ClassVar = NAMESPACES
    wakes: ClassVar = (Wakeup(SERVICE_ACCOUNTS, _namespace_of_default),)
    workers: ClassVar = 1

    async def reconcile(self, key: Key) -> Result:
        namespace = self.cache.get(NAMESPACES, key)
        if namespace is not None:
            present = self.cache.get(SERVICE_ACCOUNTS, Key(key.name, DEFAULT))
            await self.commit(plan_service_account(namespace, present))
        return DONE
