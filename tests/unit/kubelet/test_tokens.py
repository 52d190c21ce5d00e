from __future__ import annotations

from typing import Any

import pytest

from cluster.kubelet.volumes.content import VolumeError
from cluster.kubelet.volumes.tokens import TokenSource
from cluster.machinery.errors import ServiceUnavailable
from cluster.machinery.objects import Obj
from cluster.machinery.resource import Resource
from tests.clocks import SteppedClock
from tests.unit.kubelet.shapes import pod

POD = pod(serviceAccountName="robot")


class Api:
    """A Transport that gives out numbered tokens."""

    def __init__(self) -> None:
        self.requests: list[Obj] = []
        self.is_away = False

    async def create(self, resource: Resource, obj: Obj, *, name: str, subresource: str) -> Obj:
        if self.is_away:
            raise ServiceUnavailable("away")
        assert (resource.plural, name, subresource) == ("serviceaccounts", "robot", "token")
        self.requests.append(obj)
        return {**obj, "status": {"token": f"token-{len(self.requests)}"}}


def source() -> tuple[TokenSource, Api, SteppedClock]:
    api, clock = Api(), SteppedClock()
    transport: Any = api
    return TokenSource(transport, clock), api, clock


async def test_a_token_is_bound_to_its_pod_and_kept_for_four_fifths_of_its_life() -> None:
    tokens, api, clock = source()
    projection = {"audience": "vault", "expirationSeconds": 1000}
    assert await tokens.token(POD, projection) == "token-1"
    (request,) = api.requests
    assert request["spec"]["audiences"] == ["vault"]
    assert request["spec"]["expirationSeconds"] == 1000
    assert request["spec"]["boundObjectRef"]["uid"] == "uid-1"
    await clock.step(799)
    assert await tokens.token(POD, projection) == "token-1"
    await clock.step(2)
    assert await tokens.token(POD, projection) == "token-2"


async def test_one_for_another_audience_is_another_token() -> None:
    tokens, _, _ = source()
    assert await tokens.token(POD, {"audience": "a"}) == "token-1"
    assert await tokens.token(POD, {"audience": "b"}) == "token-2"
    assert await tokens.token(POD, {"audience": "a"}) == "token-1"


async def test_an_old_token_serves_while_the_api_is_away_and_until_it_ends() -> None:
    tokens, api, clock = source()
    projection = {"expirationSeconds": 1000}
    assert await tokens.token(POD, projection) == "token-1"
    api.is_away = True
    await clock.step(999)
    assert await tokens.token(POD, projection) == "token-1"
    await clock.step(2)
    with pytest.raises(VolumeError, match='failed to fetch token for service account "robot": away'):
        await tokens.token(POD, projection)
    api.is_away = False
    assert await tokens.token(POD, projection) == "token-2"


async def test_a_pod_that_is_gone_leaves_no_token() -> None:
    tokens, _, _ = source()
    assert await tokens.token(POD, {}) == "token-1"
    assert "token-1" not in repr(vars(tokens))
    tokens.forget("uid-1")
    assert await tokens.token(POD, {}) == "token-2"
