"""File events of local sources: sources that share a directory are told, and stop, each for itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

from reconciler.source.watch import FileWatch


async def test_two_sources_may_watch_one_directory_and_one_of_them_may_stop(tmp_path: Path) -> None:
    first, second = asyncio.Event(), asyncio.Event()
    files = FileWatch()
    try:
        files.add("first", [tmp_path], first.set, gather_s=0)
        files.add("second", [tmp_path], second.set, gather_s=0)
        files.remove("first")
        (tmp_path / "a.yaml").write_text("a: 1")
        async with asyncio.timeout(10):
            await second.wait()
        assert not first.is_set()
    finally:
        files.close()


async def test_closing_ends_every_watch(tmp_path: Path) -> None:
    files = FileWatch()
    files.add("first", [tmp_path], lambda: None, gather_s=0)
    files.add("second", [tmp_path], lambda: None, gather_s=0)
    files.close()
    files.remove("first")
