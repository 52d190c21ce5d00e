"""Tokens of service accounts in Secrets, what they end with, and who else can verify tokens; roles made of roles."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from cluster.apiserver.http import Identity
from cluster.apiserver.jwt import key_of_jwk, parse_token
from cluster.machinery.errors import Forbidden
from cluster.machinery.objects import Key, annotations_of, uid_of
from cluster.resources.builtin import CLUSTER_ROLES, SECRETS, SERVICE_ACCOUNTS, TOKEN_REVIEWS
from tests.unit.controllers.cluster import Cluster, cluster

BOT = Identity("system:serviceaccount:default:bot", ("system:serviceaccounts", "system:authenticated"))


async def account(world: Cluster, name: str = "bot") -> Any:
    metadata = {"name": name, "namespace": "default"}
    return await world.api.create(
        SERVICE_ACCOUNTS, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    )


async def token_secret(world: Cluster, name: str = "t", of: str = "bot") -> str:
    metadata = {"name": name, "namespace": "default", "annotations": {"kubernetes.io/service-account.name": of}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "kubernetes.io/service-account-token"}
    await world.api.create(SECRETS, secret)
    filled = await world.until(lambda: (world.get(SECRETS, name) or {}).get("data"))
    assert set(filled) == {"token", "ca.crt", "namespace"}
    return base64.b64decode(filled["token"]).decode()


async def reviewed(world: Cluster, token: str, *audiences: str) -> Any:
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "metadata": {},
        "spec": {"token": token, "audiences": list(audiences)},
    }
    return (await world.api.create(TOKEN_REVIEWS, body))["status"]


async def test_a_secret_is_filled_with_a_token_that_ends_with_it() -> None:
    async with cluster() as world:
        made = await account(world)
        token = await token_secret(world)
        secret = world.get(SECRETS, "t")
        assert secret is not None
        assert annotations_of(secret)["kubernetes.io/service-account.uid"] == uid_of(made)
        status = await reviewed(world, token)
        assert status["authenticated"]
        assert status["user"]["username"] == BOT.name
        await world.api.delete(SECRETS, Key("default", "t"))
        assert "authenticated" not in await reviewed(world, token)


async def test_the_secret_of_an_account_that_goes_goes_too() -> None:
    async with cluster() as world:
        await account(world)
        token = await token_secret(world)
        await world.api.delete(SERVICE_ACCOUNTS, Key("default", "bot"))
        await world.until(lambda: world.get(SECRETS, "t") is None)
        assert "authenticated" not in await reviewed(world, token)


async def test_what_was_learnt_of_a_token_ends_with_what_it_is_bound_to() -> None:
    async with cluster() as world:
        await account(world)
        token = await token_secret(world)
        authenticator = world.server.authenticator
        identity = authenticator.authenticate({"authorization": f"Bearer {token}"}, None)
        assert identity is not None
        assert authenticator.is_current(identity)
        assert authenticator.is_current(Identity("jane"))
        # Not one that was verified here: asked anew.
        assert not authenticator.is_current(Identity(identity.name, identity.groups))
        await world.api.delete(SECRETS, Key("default", "t"))
        assert not authenticator.is_current(identity)
        assert authenticator.authenticate({"authorization": f"Bearer {token}"}, None) is None


async def test_a_review_says_for_which_audiences_a_token_is() -> None:
    async with cluster() as world:
        await account(world)
        path = "/api/v1/namespaces/default/serviceaccounts/bot/token"
        body = orjson.dumps({"spec": {"audiences": ["vault", "db"]}})
        answer = await world.api.raw("POST", path, headers={"content-type": "application/json"}, body=body)
        token = orjson.loads(answer.body)["status"]["token"]
        assert (await reviewed(world, token, "other", "db"))["audiences"] == ["db"]
        assert "authenticated" not in await reviewed(world, token)
        assert "authenticated" not in await reviewed(world, token, "other")


async def test_others_can_verify_tokens_with_what_is_published() -> None:
    async with cluster() as world:
        await account(world)
        bot = world.server.transport(BOT)
        configuration = orjson.loads((await bot.raw("GET", "/.well-known/openid-configuration")).body)
        assert configuration["jwks_uri"] == configuration["issuer"] + "/openid/v1/jwks"
        (jwk,) = orjson.loads((await bot.raw("GET", "/openid/v1/jwks")).body)["keys"]
        key = key_of_jwk(jwk)
        assert key is not None
        token = parse_token(await token_secret(world))
        assert token.key_id == jwk["kid"]
        assert token.is_signed_by(key)
        with pytest.raises(Forbidden):
            await world.server.transport(Identity("jane", ("system:authenticated",))).raw("GET", "/openid/v1/jwks")


async def test_the_root_lists_what_is_served() -> None:
    async with cluster() as world:
        paths = orjson.loads((await world.api.raw("GET", "/")).body)["paths"]
        assert {"/api/v1", "/apis/apps/v1", "/healthz", "/openapi/v3", "/version"} <= set(paths)
        assert paths == sorted(paths)


async def test_an_aggregating_role_carries_the_rules_of_those_it_chooses() -> None:
    async with cluster() as world:
        group = "rbac.authorization.k8s.io"
        head = {"apiVersion": f"{group}/v1", "kind": "ClusterRole"}
        chosen = {"clusterRoleSelectors": [{"matchLabels": {"for": "watching"}}]}
        await world.api.create(CLUSTER_ROLES, {**head, "metadata": {"name": "all"}, "aggregationRule": chosen})
        rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
        part = {**head, "metadata": {"name": "part", "labels": {"for": "watching"}}, "rules": rules}
        await world.api.create(CLUSTER_ROLES, part)

        def carried() -> Any:
            return (world.server.cache().get(CLUSTER_ROLES, Key("", "all")) or {}).get("rules")

        assert await world.until(carried) == rules
        await world.api.delete(CLUSTER_ROLES, Key("", "part"))
        await world.until(lambda: not carried())
