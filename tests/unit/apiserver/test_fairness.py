"""Seats and turns: who waits for whom, who is refused, and that what is held comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from cluster.apiserver.apiserver import ApiServer
from cluster.apiserver.fairness import STREAMS_MAX, Fairness
from cluster.apiserver.flow_schemas import FlowSchemas, levels_of, schemas_of
from cluster.apiserver.http import ApiRequest, Identity
from cluster.apiserver.routes import parse_route
from cluster.machinery.errors import TooManyRequests
from cluster.resources.builtin import PRIORITY_LEVEL_CONFIGURATIONS
from tests.apiservers import ADMIN, running

JANE, BOB = (Identity(name, ("system:authenticated",)) for name in ("jane", "bob"))
NODE = Identity("system:node:n", ("system:nodes", "system:authenticated"))
BOT = Identity("system:serviceaccount:kube-system:x", ("system:serviceaccounts", "system:authenticated"))


def post(user: Identity, path: str = "/api/v1/namespaces/n/pods") -> ApiRequest:
    return ApiRequest("POST", path, user)


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with running() as server:
        yield server


@pytest.fixture
async def narrow(server: ApiServer) -> Fairness:
    """The level of everybody else has one seat and three places in each queue."""
    admin = server.transport(ADMIN)
    levels = (await admin.list(PRIORITY_LEVEL_CONFIGURATIONS)).items
    for level in levels:
        if level["spec"].get("type") == "Limited" and level["metadata"]["name"] != "catch-all":
            shares = 1 if level["metadata"]["name"] == "global-default" else 1000
            limited = {**level["spec"]["limited"], "nominalConcurrencyShares": shares}
            if level["metadata"]["name"] == "global-default":
                limited["limitResponse"] = {
                    "type": "Queue",
                    "queuing": {"queues": 1, "handSize": 1, "queueLengthLimit": 3},
                }
            spec = {"type": "Limited", "limited": limited}
            annotations = {"apf.kubernetes.io/autoupdate-spec": "false"}
            metadata = {**level["metadata"], "annotations": annotations}
            await admin.update(PRIORITY_LEVEL_CONFIGURATIONS, {**level, "metadata": metadata, "spec": spec})
    return Fairness(FlowSchemas(server.state))


@pytest.mark.parametrize(
    ("user", "method", "path", "level", "who"),
    [
        (ADMIN, "POST", "/api/v1/namespaces/n/pods", "exempt", ""),
        (JANE, "GET", "/healthz", "exempt", ""),
        (JANE, "POST", "/api/v1/namespaces/n/pods", "global-default", "jane"),
        (NODE, "PATCH", "/api/v1/nodes/n/status", "node-high", "system:node:n"),
        (NODE, "PUT", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n", "node-high", "system:node:n"),
        (NODE, "PATCH", "/api/v1/namespaces/n/pods/p/status", "system", "system:node:n"),
        (BOT, "POST", "/api/v1/namespaces/n/pods", "workload-high", "n"),
        (Identity("nobody"), "POST", "/api/v1/namespaces/n/pods", "catch-all", "nobody"),
    ],
)  # fmt: skip
async def test_which_level_a_request_is_of(
    server: ApiServer, user: Identity, method: str, path: str, level: str, who: str
) -> None:
    flow = FlowSchemas(server.state).flow_of(user, parse_route(method, path, {}))
    assert (flow.level.name, flow.distinguisher) == (level, who)


async def test_flows_take_turns_and_each_waits_in_its_own_queue(narrow: Fairness) -> None:
    order: list[str] = []
    seated: list[Callable[[], None] | None] = [await narrow.seat(post(JANE))]

    async def come(user: Identity, name: str) -> None:
        seated.append(await narrow.seat(post(user)))
        order.append(name)

    tasks = [asyncio.create_task(come(user, name)) for user, name in
             ((JANE, "j1"), (JANE, "j2"), (JANE, "j3"), (BOB, "b1"))]  # fmt: skip
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests) as refused:
        await narrow.seat(post(JANE))
    assert refused.value.retry_after_s == 1
    for _ in range(4):
        leave = seated.pop()
        assert leave is not None
        leave()
        for _ in range(4):
            await asyncio.sleep(0)
    assert order == ["j1", "b1", "j2", "j3"]
    await asyncio.gather(*tasks)
    assert 'rejected_requests_total{priority_level="global-default"} 1' in "\n".join(narrow.metrics())


async def test_who_gives_up_waiting_leaves_no_trace(narrow: Fairness) -> None:
    first = await narrow.seat(post(JANE))
    waiting = asyncio.create_task(narrow.seat(post(JANE)))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert first is not None
    first()
    again = await asyncio.wait_for(narrow.seat(post(BOB)), 1)
    assert again is not None
    again()
    assert 'current_executing_seats{priority_level="global-default"} 0' in "\n".join(narrow.metrics())


async def test_superusers_and_other_levels_do_not_wait_for_a_full_one(narrow: Fairness) -> None:
    await narrow.seat(post(JANE))
    assert await narrow.seat(post(ADMIN)) is None
    assert await asyncio.wait_for(narrow.seat(post(BOT)), 1) is not None


class Source:
    closed = 0

    def take(self) -> bytes | None:
        return b""

    def on_ready(self, wake: Any) -> None: ...

    def close(self) -> None:
        self.closed += 1


async def test_open_streams_are_bounded_for_each_user_and_closing_frees_one(narrow: Fairness) -> None:
    held = [narrow.stream(JANE, Source()) for _ in range(STREAMS_MAX)]
    refused = Source()
    with pytest.raises(TooManyRequests):
        narrow.stream(JANE, refused)
    assert refused.closed == 1
    narrow.stream(BOB, Source())
    held[0].close()
    held[0].close()
    narrow.stream(JANE, Source())
    with pytest.raises(TooManyRequests):
        narrow.stream(JANE, Source())


def test_shares_become_seats_and_precedence_an_order() -> None:
    def level(name: str, shares: int) -> Any:
        spec = {"type": "Limited", "limited": {"nominalConcurrencyShares": shares, "limitResponse": {"type": "Reject"}}}
        return {"metadata": {"name": name}, "spec": spec}

    levels = levels_of([level("a", 1), level("b", 3), {"metadata": {"name": "e"}, "spec": {"type": "Exempt"}}])
    assert [levels[name].seats for name in "abe"] == [50, 150, None]
    assert levels["a"].queue_max == 0

    def schema(name: str, precedence: int, to: str) -> Any:
        spec = {"priorityLevelConfiguration": {"name": to}, "matchingPrecedence": precedence}
        return {"metadata": {"name": name}, "spec": spec}

    ordered = schemas_of(
        [schema("late", 9, "a"), schema("b", 1, "a"), schema("a", 1, "b"), schema("lost", 1, "x")], levels
    )
    assert [each.name for each in ordered] == ["a", "b", "late"]
