"""Secrets of type `kubernetes.io/service-account-token` hold a token of the account they name, and go with it.

Upstream: pkg/controller/serviceaccount/tokens_controller.go.  Such tokens do not expire: pods use projected ones.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from typing import ClassVar, TypeAlias

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.client.cache import Cache
from cluster.client.controller import DONE, Controller, Recorder, Result, Wakeup
from cluster.client.transport import Transport
from cluster.client.writes import Delete, Update, Write
from cluster.machinery.objects import Key, Obj, annotations_of, is_deleting, key_of, name_of, namespace_of, uid_of
from cluster.machinery.resource import Resource
from cluster.resources.builtin import SECRETS, SERVICE_ACCOUNTS
from cluster.resources.core import SERVICE_ACCOUNT_TOKEN

NAME_ANNOTATION = "kubernetes.io/service-account.name"
UID_ANNOTATION = "kubernetes.io/service-account.uid"

LegacyToken: TypeAlias = Callable[[Key, str, str], str]
"""The token of an account (its key and uid) for the Secret of that name."""


def plan_token_secret(secret: Obj, account: Obj | None, ca_pem: str, token: LegacyToken) -> tuple[Write, ...]:
    """What is missing is filled in; without its account the Secret goes."""
    if secret.get("type") != SERVICE_ACCOUNT_TOKEN or is_deleting(secret):
        return ()
    annotations = annotations_of(secret)
    if account is None or annotations.get(UID_ANNOTATION, uid_of(account)) != uid_of(account):
        return (Delete(SECRETS, key_of(secret), uid=uid_of(secret)),)
    data = dict(secret.get("data") or {})
    wanted = {"ca.crt": _encoded(ca_pem), "namespace": _encoded(namespace_of(secret))}
    if not data.get("token"):
        wanted["token"] = _encoded(token(key_of(account), uid_of(account), name_of(secret)))
    filled = {**data, **wanted}
    if filled == data and UID_ANNOTATION in annotations:
        return ()
    metadata = {**secret["metadata"], "annotations": {**annotations, UID_ANNOTATION: uid_of(account)}}
    return (Update(SECRETS, {**secret, "metadata": metadata, "data": filled}),)


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _secrets_of(account: Obj, _: Resource, cache: Cache) -> Iterable[Key]:
    return [
        key_of(secret)
        for secret in cache.list(SECRETS, namespace=namespace_of(account))
        if annotations_of(secret).get(NAME_ANNOTATION) == name_of(account)
    ]


class ServiceAccountTokenController(Controller):
    name: ClassVar = "service-account-token"
    account: ClassVar = "token-controller"
    primary: ClassVar = SECRETS
    wakes: ClassVar = (Wakeup(SERVICE_ACCOUNTS, _secrets_of),)
    workers: ClassVar = 1

    def __init__(
        self,
        *,
        transport: Transport,
        cache: Cache,
        clock: Clock,
        entropy: Entropy,
        recorder: Recorder,
        ca_pem: str,
        token: LegacyToken,
    ) -> None:
        super().__init__(transport=transport, cache=cache, clock=clock, entropy=entropy, recorder=recorder)
        self._ca_pem = ca_pem
        self._token = token

    async def reconcile(self, key: Key) -> Result:
        secret = self.cache.get(SECRETS, key)
        if secret is None or secret.get("type") != SERVICE_ACCOUNT_TOKEN:
            return DONE
        named = Key(key.namespace, annotations_of(secret).get(NAME_ANNOTATION, ""))
        account = self.cache.get(SERVICE_ACCOUNTS, named)
        await self.commit(plan_token_secret(secret, account, self._ca_pem, self._token))
        return DONE
