"""Quotas: charged with the write itself, counted anew when something goes, refused in upstream's words."""

from __future__ import annotations

import asyncio

import pytest

from cluster.client.transport import WriteOptions
from cluster.controllers.resource_quota import plan_quota_status
from cluster.machinery.errors import Forbidden
from cluster.machinery.objects import Key
from cluster.resources.builtin import CONFIG_MAPS, DEPLOYMENTS, PODS, REPLICA_SETS, RESOURCE_QUOTAS, SERVICES
from tests.apiservers import ADMIN
from tests.apiservers import running as apiserver
from tests.unit.controllers.cluster import cluster as running


def _meta(name):
    return {"name": name, "namespace": "default"}


def _quota(name="q", **hard):
    spec = {"hard": {key.replace("_", "."): value for key, value in hard.items()}}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": _meta(name), "spec": spec}


def _pod(name, **requests):
    container = {"name": "c", "image": "i:1", "resources": {"requests": requests}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": _meta(name), "spec": {"containers": [container]}}


def _used(cluster, name="q"):
    return (cluster.get(RESOURCE_QUOTAS, name) or {}).get("status", {}).get("used")


def test_the_status_counts_what_matches_and_nothing_else():
    quota = {"spec": {"hard": {"pods": "1000m", "requests.cpu": "2", "count/unknown.io": "1"}}}
    pods = [{"spec": {"containers": [{"resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}}]}}] * 3
    (write,) = plan_quota_status(quota, [(PODS, pods)])
    assert write.status == {
        "hard": {"pods": "1", "requests.cpu": "2", "count/unknown.io": "1"},
        "used": {"pods": "3", "requests.cpu": "1500m"},
    }


async def test_what_is_created_is_charged_at_once_and_what_goes_is_given_back():
    async with running() as cluster:
        await cluster.api.create(RESOURCE_QUOTAS, _quota(pods="2", requests_cpu="1"))
        await cluster.until(lambda: _used(cluster) == {"pods": "0", "requests.cpu": "0"})
        await cluster.api.create(PODS, _pod("a", cpu="600m"))
        assert _used(cluster) == {"pods": "1", "requests.cpu": "600m"}
        with pytest.raises(Forbidden) as refused:
            await cluster.api.create(PODS, _pod("b", cpu="500m"))
        assert refused.value.message == (
            'pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, '
            "limited: requests.cpu=1"
        )
        with pytest.raises(
            Forbidden, match=r'pods "c" is forbidden: failed quota: q: must specify requests\.cpu for: c'
        ):
            await cluster.api.create(PODS, _pod("c"))
        assert _used(cluster) == {"pods": "1", "requests.cpu": "600m"}
        await cluster.api.delete(PODS, Key("default", "a"))
        await cluster.until(lambda: _used(cluster) == {"pods": "0", "requests.cpu": "0"})


async def test_of_many_at_once_exactly_as_many_as_there_is_room_for_are_created():
    async with running() as cluster:
        await cluster.api.create(RESOURCE_QUOTAS, _quota(**{"count/configmaps": "12"}))
        # The namespace has one of its own.
        await cluster.until(lambda: _used(cluster) == {"count/configmaps": "1"})
        maps = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": _meta(f"m{number}")} for number in range(40)]
        answers = await asyncio.gather(*(cluster.api.create(CONFIG_MAPS, one) for one in maps), return_exceptions=True)
        assert sum(isinstance(answer, dict) for answer in answers) == 11
        assert all(isinstance(answer, dict | Forbidden) for answer in answers)
        assert _used(cluster) == {"count/configmaps": "12"}


async def test_a_quota_that_was_never_counted_refuses_what_is_new_and_nothing_else():
    async with apiserver() as server:
        api = server.transport(ADMIN)
        pod = await api.create(PODS, _pod("a"))
        quota = await api.create(RESOURCE_QUOTAS, _quota(pods="5"))
        await api.update(RESOURCE_QUOTAS, {**quota, "status": {"hard": {"pods": "5"}}}, subresource="status")
        with pytest.raises(Forbidden, match="status unknown for quota: q, resources: pods"):
            await api.create(PODS, _pod("b"))
        await api.update(PODS, {**pod, "metadata": {**pod["metadata"], "labels": {"a": "b"}}})
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": _meta("a"),
            "target": {"kind": "Node", "name": "n"},
        }
        await api.create(PODS, binding, name="a", subresource="binding")


async def test_a_dry_run_is_checked_and_charges_nothing():
    async with running() as cluster:
        await cluster.api.create(RESOURCE_QUOTAS, _quota(services="1"))
        await cluster.until(lambda: _used(cluster) == {"services": "0"})
        spec = {"ports": [{"port": 80}], "type": "NodePort"}
        service = {"apiVersion": "v1", "kind": "Service", "metadata": _meta("s"), "spec": spec}
        await cluster.api.create(SERVICES, service, options=WriteOptions(dry_run=True))
        assert _used(cluster) == {"services": "0"}
        await cluster.api.create(SERVICES, service)
        assert _used(cluster) == {"services": "1"}
        with pytest.raises(
            Forbidden, match="exceeded quota: q, requested: services=1, used: services=1, limited: services=1"
        ):
            await cluster.api.create(SERVICES, {**service, "metadata": _meta("t")}, options=WriteOptions(dry_run=True))


async def test_a_service_that_takes_ports_later_is_charged_for_them():
    async with running() as cluster:
        await cluster.api.create(RESOURCE_QUOTAS, _quota(services_nodeports="1"))
        await cluster.until(lambda: _used(cluster) == {"services.nodeports": "0"})
        spec = {"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]}
        service = {"apiVersion": "v1", "kind": "Service", "metadata": _meta("s"), "spec": spec}
        live = await cluster.api.create(SERVICES, service)
        with pytest.raises(Forbidden, match=r"exceeded quota: q, requested: services\.nodeports=2"):
            await cluster.api.update(SERVICES, {**live, "spec": {**live["spec"], "type": "NodePort"}})
        one = {**live["spec"], "type": "NodePort", "ports": live["spec"]["ports"][:1]}
        await cluster.api.update(SERVICES, {**live, "spec": one})
        assert _used(cluster) == {"services.nodeports": "1"}


async def test_a_replica_set_says_why_it_stays_short():
    async with running() as cluster:
        await cluster.api.create(RESOURCE_QUOTAS, _quota(pods="2"))
        await cluster.until(lambda: _used(cluster) == {"pods": "0"})
        template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
        spec = {"replicas": 5, "selector": {"matchLabels": {"a": "b"}}, "template": template}
        deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": _meta("d"), "spec": spec}
        await cluster.api.create(DEPLOYMENTS, deployment)

        def failing():
            conditions = [c for rs in cluster.list(REPLICA_SETS) for c in rs["status"].get("conditions", ())]
            return any("exceeded quota: q" in condition["message"] for condition in conditions)

        await cluster.until(failing)
        assert len(cluster.list(PODS)) == 2 and _used(cluster) == {"pods": "2"}
        # More room is used as soon as it is known.
        live = await cluster.api.get(RESOURCE_QUOTAS, Key("default", "q"))
        await cluster.api.update(RESOURCE_QUOTAS, {**live, "spec": {"hard": {"pods": "5"}}})
        await cluster.until(lambda: len(cluster.list(PODS)) == 5)
