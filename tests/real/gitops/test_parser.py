"""The parser's own process: it answers as the inline one does, may open nothing, and its end is one file's problem."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reconciler.render.parsed import parse
from reconciler.render.parser import INLINE_MAX_BYTES, Parser

LARGE = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n" + b"".join(
    b"  key%d: value\n" % n for n in range(4000)
)


@pytest.fixture
async def parser() -> AsyncIterator[Parser]:
    made = Parser()
    yield made
    await made.close()


async def test_a_large_file_parses_to_the_same_as_inline(parser: Parser) -> None:
    assert len(LARGE) > INLINE_MAX_BYTES
    assert await parser.parse(LARGE) == parse(LARGE)


async def test_an_error_keeps_its_line(parser: Parser) -> None:
    broken = LARGE + b"  broken: [\n"
    assert await parser.parse(broken) == parse(broken)
    assert (await parser.parse(broken)).error_line > 4000


async def test_the_process_has_no_descriptor_left_to_open_anything(parser: Parser) -> None:
    await parser.parse(LARGE)
    child = parser._child
    assert child is not None
    limits = await asyncio.to_thread(Path(f"/proc/{child.pid}/limits").read_text)
    assert [line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files")] == [["3", "3"]]
    environment = await asyncio.to_thread(Path(f"/proc/{child.pid}/environ").read_bytes)
    assert sorted(entry.split(b"=")[0] for entry in environment.split(b"\0") if entry) == [b"LC_ALL", b"PATH"]


async def test_a_process_that_was_killed_is_started_again(parser: Parser) -> None:
    await parser.parse(LARGE)
    child = parser._child
    assert child is not None
    child.kill()
    await child.wait()
    assert not (await parser.parse(LARGE)).error


async def test_files_parsed_at_the_same_time_get_their_own_answers(parser: Parser) -> None:
    files = [LARGE.replace(b"name: a", b"name: a%d" % n) for n in range(5)]
    found = await asyncio.gather(*(parser.parse(data) for data in files))
    assert [parsed.parts[0].obj["metadata"]["name"] for parsed in found] == [f"a{n}" for n in range(5)]
