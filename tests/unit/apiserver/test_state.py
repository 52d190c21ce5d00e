"""The state in memory: what it keeps, in which order, and that one listener cannot harm another."""

from __future__ import annotations

from cluster.apiserver.state import Row, State, TableId, path_of, spliced, stored_form
from cluster.client.transport import Transport
from cluster.machinery.objects import Key
from cluster.resources.builtin import CONFIG_MAPS
from cluster.store.memory import MemoryStore
from tests.apiservers import ADMIN, running
from tests.clocks import SteppedClock
from tests.contract.transport_suite import config_map

MAPS = TableId("", "configmaps")


def test_the_stored_form_has_no_version_and_the_final_one_has() -> None:
    obj = {"data": {}, "metadata": {"resourceVersion": "7", "name": "a"}, "kind": "ConfigMap", "apiVersion": "v1"}
    stored = stored_form(obj)
    assert stored == b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{}}'
    final = spliced(stored, 9)
    assert final == b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":"9","name":"a"},"data":{}}'
    assert spliced(b'{"apiVersion":"v1","kind":"X","metadata":{}}', 3).endswith(b'"metadata":{"resourceVersion":"3"}}')
    row = Row(Key("", "a"), "/x", final, 9, {"metadata": {}})
    assert row.at(12).value == final.replace(b'"9"', b'"12"')


def test_paths_name_the_core_group() -> None:
    assert path_of(MAPS, Key("ns", "n")) == "/registry/core/configmaps/ns/n"
    assert path_of(TableId("apps", "deployments"), Key("ns", "n")) == "/registry/apps/deployments/ns/n"


async def test_only_so_many_objects_stay_decoded() -> None:
    store = MemoryStore(SteppedClock())
    async with running(store) as server:
        for index in range(10):
            await server.transport(ADMIN).create(CONFIG_MAPS, config_map(f"m{index}"))
    state = State(store, decoded_max=3)
    await state.load()
    rows = state.table(MAPS).ordered("default")
    objects = [state.obj(row) for row in rows]
    assert len(objects) == 11
    assert sum(row.obj_decoded is not None for row in rows) == 3


async def test_rows_are_in_the_stores_order() -> None:
    async with running() as server:
        transport: Transport = server.transport(ADMIN)
        for name in ("a-b", "a", "a.b", "b"):
            await transport.create(CONFIG_MAPS, config_map(name))
        rows = server.state.table(MAPS).ordered("default")
        assert [row.path for row in rows] == sorted(row.path for row in rows)


async def test_a_listener_that_fails_stops_nobody_else() -> None:
    async with running() as server:
        heard: list[str] = []

        def fails(change: object) -> None:
            raise RuntimeError("a bug")

        cache = server.cache()
        try:
            cache.subscribe(CONFIG_MAPS, fails)
        except RuntimeError:
            heard.append("what is there already is told in the subscriber's own turn")
        cache.subscribe(CONFIG_MAPS, lambda change: heard.append(change.key.name))
        await server.transport(ADMIN).create(CONFIG_MAPS, config_map("late"))
        assert heard[-1] == "late"
