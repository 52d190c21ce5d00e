"""What a process knew survives it, and gives way to what the server says."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from cluster.base.entropy import SeededEntropy
from cluster.client.informer import Informer
from cluster.client.kept_state import WRITE_DELAY_S, KeptState
from cluster.client.transport import ObjList
from cluster.machinery.errors import ServiceUnavailable
from cluster.machinery.objects import name_of
from cluster.resources.builtin import SERVICES
from tests.clocks import SteppedClock
from tests.unit.client.test_informer import ScriptedTransport


def service(name: str) -> dict[str, Any]:
    metadata = {"namespace": "d", "name": name, "resourceVersion": "5", "managedFields": [{"manager": "m"}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"clusterIP": "10.96.0.7"}}


class Process:
    """One life of a process that keeps its Services in `directory`."""

    def __init__(self, directory: Path, *answers: ObjList | Exception) -> None:
        self.clock = SteppedClock()
        transport = ScriptedTransport(list(answers), [])
        self.cache = Informer(transport, [SERVICES], self.clock, SeededEntropy(1))  # type: ignore[arg-type]
        self.kept = KeptState(directory, self.cache, (SERVICES,), self.clock)
        self.tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Process:
        self.kept.load()
        self.tasks = [asyncio.create_task(self.cache.run()), asyncio.create_task(self.kept.run())]
        for _ in range(3):
            await self.clock.step(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    @property
    def names(self) -> list[str]:
        return [name_of(obj) for obj in self.cache.list(SERVICES)]


AWAY = ServiceUnavailable("away")


async def test_what_was_known_is_known_again_without_a_server(tmp_path: Path) -> None:
    async with Process(tmp_path / "kept", ObjList([service("a"), service("b")], "5")) as first:
        await first.clock.step(WRITE_DELAY_S)
    async with Process(tmp_path / "kept", AWAY) as second:
        await second.cache.sync([SERVICES])
        assert second.names == ["a", "b"]
        assert "managedFields" not in second.cache.list(SERVICES)[0]["metadata"]


async def test_the_server_has_the_last_word(tmp_path: Path) -> None:
    async with Process(tmp_path, ObjList([service("a"), service("b")], "5")) as first:
        await first.clock.step(WRITE_DELAY_S)
    async with Process(tmp_path, ObjList([service("b"), service("c")], "9")) as second:
        assert second.names == ["b", "c"]
        # Too late: what there is was said already.
        second.kept.load()
        assert second.names == ["b", "c"]


async def test_nothing_is_written_before_a_while(tmp_path: Path) -> None:
    async with Process(tmp_path, ObjList([service("a")], "5")) as process:
        await process.clock.step(WRITE_DELAY_S / 2)
        assert not list(tmp_path.iterdir())


async def test_the_file_is_for_its_owner(tmp_path: Path) -> None:
    async with Process(tmp_path / "kept", ObjList([service("a")], "5")) as process:
        await process.clock.step(WRITE_DELAY_S)
    assert (tmp_path / "kept" / "services.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", [b"", b"{", b"{}", b"[1]", b'[{"metadata":{}}]', orjson.dumps([{}])])
async def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "services.json").write_bytes(damage)
    async with Process(tmp_path, AWAY) as process:
        assert not process.cache.is_synced(SERVICES)
