from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from cluster.apiserver.apiserver import ApiServer
from cluster.base.entropy import SeededEntropy
from cluster.client.lease import Heartbeat, LeaderElector
from cluster.machinery.errors import Conflict
from cluster.machinery.objects import Key
from cluster.resources.builtin import LEASES
from tests.apiservers import ADMIN, running
from tests.clocks import SteppedClock

KEY = Key("kube-system", "scheduler")


class Candidate:
    def __init__(self, server: ApiServer, clock: SteppedClock, name: str) -> None:
        self.name = name
        self.leading = False
        elector = LeaderElector(server.transport(ADMIN), clock, SeededEntropy(1), key=KEY, holder=name)
        self.task = asyncio.create_task(elector.run(self._lead))

    async def _lead(self) -> None:
        self.leading = True
        try:
            await asyncio.Event().wait()
        finally:
            self.leading = False

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class Election:
    def __init__(self, server: ApiServer, clock: SteppedClock) -> None:
        self.server = server
        self.clock = clock
        self.candidates: list[Candidate] = []

    def stand(self, name: str) -> Candidate:
        self.candidates.append(Candidate(self.server, self.clock, name))
        return self.candidates[-1]

    async def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds / 0.5)):
            await self.clock.step(0.5)
            for _ in range(20):
                await asyncio.sleep(0)
            assert sum(candidate.leading for candidate in self.candidates) <= 1


@pytest.fixture
async def election() -> AsyncIterator[Election]:
    clock = SteppedClock()
    async with running(clock=clock) as server:
        election = Election(server, clock)
        yield election
        for candidate in election.candidates:
            await candidate.end()


async def test_one_candidate_leads_and_keeps_leading(election: Election) -> None:
    first, second = election.stand("a"), election.stand("b")
    await election.pass_time(60)
    assert (first.leading, second.leading) == (True, False)


async def test_a_leader_that_leaves_hands_over_at_once(election: Election) -> None:
    first = election.stand("a")
    await election.pass_time(5)
    second = election.stand("b")
    await election.pass_time(5)
    await first.end()
    await election.pass_time(5)
    assert second.leading
    lease = await election.server.transport(ADMIN).get(LEASES, KEY)
    assert lease["spec"]["holderIdentity"] == "b"
    assert lease["spec"]["leaseTransitions"] == 1


async def test_a_dead_leader_is_followed_when_its_lease_has_run_out(election: Election) -> None:
    api = election.server.transport(ADMIN)
    spec = {"holderIdentity": "dead", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z"}
    metadata = {"namespace": KEY.namespace, "name": KEY.name}
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
    await api.create(LEASES, lease)
    candidate = election.stand("b")
    await election.pass_time(14)
    assert not candidate.leading
    await election.pass_time(5)
    assert candidate.leading


async def test_a_leader_that_cannot_renew_stops_leading(election: Election) -> None:
    leader = election.stand("a")
    await election.pass_time(5)
    await election.server.transport(ADMIN).delete(LEASES, KEY)
    api = election.server.transport(ADMIN)
    usurped = {"holderIdentity": "b", "leaseDurationSeconds": 3600, "renewTime": "2026-01-01T00:00:00.000000Z"}
    metadata = {"namespace": KEY.namespace, "name": KEY.name}
    await api.create(
        LEASES, {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": usurped}
    )
    await election.pass_time(15)
    assert not leader.leading


async def test_a_heartbeat_makes_and_renews_its_lease() -> None:
    clock = SteppedClock()
    async with running(clock=clock) as server:
        api = server.transport(ADMIN)
        key = Key("kube-node-lease", "n1")
        heartbeat = Heartbeat(api, clock, key=key)
        await heartbeat.beat()
        first = await api.get(LEASES, key)
        await clock.step(10)
        await heartbeat.beat()
        second = await api.get(LEASES, key)
        assert second["spec"]["renewTime"] > first["spec"]["renewTime"]
        await api.update(LEASES, {**second, "spec": {**second["spec"], "leaseDurationSeconds": 41}})
        with pytest.raises(Conflict):
            await heartbeat.beat()
        await heartbeat.beat()
