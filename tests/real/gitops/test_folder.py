"""A plain folder as a source: saving a file deploys it; what is half done, a link or gone deletes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cluster.machinery.objects import Key, Obj
from reconciler.cli import sync
from reconciler.config import SYSTEM_NAMESPACE, Bootstrap
from reconciler.crds.application import APPLICATIONS
from reconciler.crds.repository import REPOSITORIES
from tests.real.gitops.world import World, config_map

pytestmark = pytest.mark.needs("git")


@pytest.fixture
def folder(world: World, tmp_path: Path) -> Path:
    """The look at a folder without an event comes after 15 s, later than any deadline here: events are what is proved."""
    made = tmp_path / "srv" / "plain"
    made.mkdir(parents=True)
    world.settings = replace(world.settings, bootstrap=Bootstrap(folder=str(made)))
    return made


def ready(world: World) -> Obj:
    found = world.api.get(REPOSITORIES, Key(SYSTEM_NAMESPACE, "bootstrap")) or {}
    conditions = (found.get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each["type"] == "Ready"), {})


def is_synced(world: World) -> bool:
    return world.status().get("sync") == "Synced"


async def test_a_saved_file_is_applied_at_once_however_it_is_saved(world: World, folder: Path) -> None:
    (folder / "a.yaml").write_text(config_map("a"))
    world.start()
    await world.until(lambda: world.value("a") == "1" and is_synced(world))
    (folder / "a.yaml").write_text(config_map("a", "2"))
    await world.until(lambda: world.value("a") == "2")
    # As editors do: beside it, then moved into its place.
    (folder / ".a.yaml.new").write_text(config_map("a", "3"))
    (folder / ".a.yaml.new").rename(folder / "a.yaml")
    await world.until(lambda: world.value("a") == "3")
    (folder / "below" / "deep").mkdir(parents=True)
    (folder / "below" / "deep" / "b.yaml").write_text(config_map("b"))
    await world.until(lambda: world.value("b") == "1")
    (folder / "below" / "deep" / "b.yaml").unlink()
    await world.until(lambda: world.value("b") is None)


async def test_a_half_written_file_deletes_nothing(world: World, folder: Path) -> None:
    whole = config_map("a") + "---\n" + config_map("b")
    (folder / "a.yaml").write_text(whole)
    (folder / "c.yaml").write_text(config_map("c"))
    world.start()
    await world.until(lambda: is_synced(world) and world.value("c") == "1")
    with (folder / "a.yaml").open("w") as file:
        file.write(config_map("a", "2") + "---\napiVersion: v1\nkind: Conf")
        file.flush()
        await world.until(lambda: world.status().get("problems"))
        assert world.value("b") == "1"
        file.write("igMap\nmetadata:\n  name: b\ndata:\n  value: '2'\n")
    await world.until(lambda: (world.value("a"), world.value("b"), world.value("c")) == ("2", "2", "1"))
    await world.until(lambda: is_synced(world))


async def test_links_are_named_and_not_followed(world: World, folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "evil.yaml").write_text(config_map("evil"))
    (folder / "a.yaml").write_text(config_map("a"))
    (folder / "link.yaml").symlink_to(outside / "evil.yaml")
    (folder / "linked").symlink_to(outside)
    world.start()
    await world.until(lambda: world.value("a") == "1" and world.status().get("problems"))
    assert world.status()["problems"] == ["link.yaml: it is a symbolic link or a submodule, which are not followed"]
    assert world.value("evil") is None


async def test_a_folder_that_is_moved_away_keeps_what_runs_until_it_is_back(
    world: World, folder: Path, tmp_path: Path
) -> None:
    (folder / "a.yaml").write_text(config_map("a"))
    world.start()
    await world.until(lambda: world.value("a") == "1" and is_synced(world))
    folder.rename(tmp_path / "srv" / "elsewhere")
    await look(world)
    assert ready(world)["status"] == "False"
    assert world.value("a") == "1"
    # A link in its place leads nowhere.
    folder.symlink_to(tmp_path / "srv" / "elsewhere")
    await look(world)
    assert ready(world)["status"] == "False"
    folder.unlink()
    (tmp_path / "srv" / "elsewhere").rename(folder)
    (folder / "a.yaml").write_text(config_map("a", "2"))
    await world.until(lambda: world.value("a") == "2")
    await world.until(lambda: ready(world)["status"] == "True")


async def test_a_folder_that_is_emptied_keeps_what_runs(world: World, folder: Path) -> None:
    for name in ("a", "b"):
        (folder / f"{name}.yaml").write_text(config_map(name))
    world.start()
    await world.until(lambda: world.value("b") == "1" and is_synced(world))
    for name in ("a", "b"):
        (folder / f"{name}.yaml").unlink()
    await world.until(lambda: "held back" in str(world.status().get("conditions")))
    assert (world.value("a"), world.value("b")) == ("1", "1")


async def look(world: World) -> None:
    """Ask for a look at the folder now, and wait until it was answered."""
    application = world.api.get(APPLICATIONS, Key(SYSTEM_NAMESPACE, "bootstrap"))
    assert application is not None
    value = await sync.request(world.api.as_user("someone"), application)
    await world.until(lambda: world.status().get("lastHandledRequest") == value)
