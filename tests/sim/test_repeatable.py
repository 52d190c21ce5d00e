"""The same seed gives the same world, write by write: without that no failure could be replayed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.sim.manifests import web
from tests.sim.world import World, run

ROOT = Path(__file__).resolve().parents[2]


async def eventful(world: World) -> None:
    """A bit of everything that uses chance."""
    first = world.repository.commit(web(replicas=3))
    await world.until(lambda: world.is_healthy(first), within_s=60, what="healthy")
    second = world.repository.commit(web(version=2, replicas=2))
    await world.run_for(1)
    await world.restart_agent("n1")
    await world.restart_server()
    await world.until(lambda: world.is_healthy(second), within_s=120, what="healthy after the restarts")
    await world.rest()


def story(seed: int, directory: Path) -> list[str]:
    return run(eventful, seed=seed, directory=directory, nodes=2).log


def test_the_same_seed_writes_the_same(seed: int, tmp_path: Path) -> None:
    assert story(seed, tmp_path / "a") == story(seed, tmp_path / "b")


def test_another_seed_is_another_world(tmp_path: Path) -> None:
    assert story(1, tmp_path / "a") != story(2, tmp_path / "b")


def test_the_order_of_sets_reaches_no_write(tmp_path: Path) -> None:
    told = [
        subprocess.run(
            [sys.executable, "-c", _PROGRAM, str(tmp_path / hash_seed)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
            text=True,
            timeout=60,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert told[0].splitlines() == told[1].splitlines()
    assert len(told[0].splitlines()) > 100


_PROGRAM = """
import sys
from pathlib import Path
from loguru import logger
from tests.sim.test_repeatable import story
logger.remove()
print("\\n".join(story(7, Path(sys.argv[1]))))
"""
