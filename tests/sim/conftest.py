"""Seeds: `--seed N` replays one, `SIM_SEEDS=N` runs that many of each test that takes one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from loguru import logger

EVERYDAY_SEEDS = 2


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--seed")
        count = int(os.environ.get("SIM_SEEDS", EVERYDAY_SEEDS))
        metafunc.parametrize("seed", range(1, count + 1) if chosen is None else [chosen])


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Worlds log as much as real ones; SIM_LOG=1 shows it."""
    if os.environ.get("SIM_LOG"):
        yield
        return
    for package in ("cluster", "reconciler"):
        logger.disable(package)
    yield
    for package in ("cluster", "reconciler"):
        logger.enable(package)
