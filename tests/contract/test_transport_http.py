"""The Transport suite over HTTPS, and what only this transport has: acting as somebody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster.base.clock import SystemClock
from cluster.client.kubeconfig import load_kubeconfig
from cluster.client.rest import HttpTransport
from cluster.client.transport import Transport
from cluster.machinery.errors import Forbidden
from cluster.machinery.objects import Key, Obj
from cluster.machinery.resource import Resource
from cluster.resources.builtin import CONFIG_MAPS
from tests.apiservers import running, serving_https
from tests.contract.transport_suite import TransportSuite, config_map

REVIEWS = Resource("authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", False)


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[HttpTransport]:
    clock = SystemClock()
    async with running(clock=clock) as server, serving_https(server, tmp_path, clock=clock) as kubeconfig:
        transport = HttpTransport(load_kubeconfig(kubeconfig))
        yield transport
        await transport.close()


class TestHttpTransport(TransportSuite):
    @pytest.fixture
    async def transport(self, http: HttpTransport) -> Transport:
        return http


async def user_info(transport: Transport) -> Obj:
    review = await transport.create(REVIEWS, {"apiVersion": REVIEWS.api_version, "kind": REVIEWS.kind, "metadata": {}})
    info: Obj = review["status"]["userInfo"]
    return info


async def test_an_impersonated_service_account_has_its_own_groups_and_rights(http: HttpTransport) -> None:
    deployer = http.impersonate("system:serviceaccount:team:deployer")
    info = await user_info(deployer)
    assert info["username"] == "system:serviceaccount:team:deployer"
    assert set(info["groups"]) == {"system:serviceaccounts", "system:serviceaccounts:team", "system:authenticated"}
    with pytest.raises(Forbidden, match="system:serviceaccount:team:deployer"):
        await deployer.create(CONFIG_MAPS, config_map("a"))


async def test_every_impersonated_group_is_sent(http: HttpTransport) -> None:
    info = await user_info(http.impersonate("ada", ("deployers", "auditors")))
    assert set(info["groups"]) >= {"deployers", "auditors"}
    powerful = http.impersonate("ada", ("auditors", "system:masters"))
    await powerful.create(CONFIG_MAPS, config_map("a"))
    assert (await http.get(CONFIG_MAPS, Key("default", "a")))["metadata"]["name"] == "a"
