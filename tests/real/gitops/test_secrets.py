"""A server that echoes what it was sent: the values of a Secret reach neither status, Run, Event nor log."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pytest
from loguru import logger

from cluster.machinery.errors import ApiError, Cause, Invalid
from cluster.machinery.objects import Obj
from cluster.machinery.resource import Resource
from tests.real.gitops.world import World

pytestmark = pytest.mark.needs("git")

PLANTED = "correct-horse-battery"
SECRET = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{password: {PLANTED}}}\n"


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(f"{message} {message.record['extra']}"), level=0)
    yield lines
    logger.remove(sink)


async def test_an_echoed_value_goes_no_further(world: World, log: list[str]) -> None:
    def echo(user: str, verb: str, resource: Resource, obj: Obj) -> ApiError | None:
        if resource.kind != "Secret":
            return None
        what = orjson.dumps(obj.get("stringData")).decode()
        return Invalid(f"Secret is invalid: {what}", causes=[Cause("FieldValueInvalid", what, "data[password]")])

    world.api.refuse = echo
    world.repository.commit("one", {"s.yaml": SECRET, "t.yaml": f"kind: Secret\ndata: {{x: *{PLANTED}}}\n"})
    world.start()
    await world.until(lambda: world.status().get("lastRun"))
    assert world.status()["problems"] == [
        "s.yaml:1: Secret default/s: Invalid at data[password]: the server's message repeats the Secret's values "
        "and is not shown",
        "t.yaml:2: unknown or recursive alias '***'",
    ]
    assert any("and is not shown" in line for line in log)
    everything = [*log, str(world.events.said), str(world.api.objects)]
    assert [text for text in everything if PLANTED in text] == []
