"""Log lines are readable, journal entries are well-formed, and credentials do not leave."""

from __future__ import annotations

import io
import logging

import pytest
from loguru import logger

from cluster.base.log import configure, journal_entry, redacted


@pytest.fixture
def lines():
    stream = io.StringIO()
    configure(level="INFO", stream=stream)
    yield stream
    logger.remove()
    logging.basicConfig(handlers=[], force=True)


def test_a_line_has_the_message_and_its_keys_in_order(lines):
    logger.info("application synced", app="web", subject='say "hi"', count=3)
    assert lines.getvalue().endswith(' INFO    application synced app=web subject="say \\"hi\\"" count=3\n')


def test_a_failure_shows_its_traceback_without_local_values(lines):
    hidden = "sesame-42"
    try:
        raise ValueError(f"bad {len(hidden)}")
    except ValueError as error:
        logger.opt(exception=error).error("it broke")
    assert "ValueError: bad 9" in lines.getvalue()
    assert "sesame-42" not in lines.getvalue()


def test_the_standard_library_s_logging_comes_out_alike(lines):
    logging.getLogger("some.library").warning("odd %s", "thing")
    assert "WARNING odd thing source=some.library" in lines.getvalue()


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("clone https://bob:hunter2@git.test/x failed", "clone https://***git.test/x failed"),
        ("Authorization: Bearer abcdefgh.ijkl", "Authorization: Bearer ***"),
        ("password=hunter2 user=bob", "password=*** user=bob"),
        ("-----BEGIN EC PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY-----", "***"),
        ("nothing to hide: revision=abc", "nothing to hide: revision=abc"),
    ],
)
def test_credentials_are_replaced(text, kept):
    assert redacted(text) == kept


def test_a_journal_entry_carries_keys_as_fields_and_multi_line_values_by_length():
    seen = []
    handler = logger.add(lambda message: seen.append(message.record), format="{message}")
    logger.warning("held", app="web", reason="two\nlines")
    logger.remove(handler)
    entry = journal_entry(seen[0])
    assert b"PRIORITY=4\n" in entry and b"RECONCILER_APP=web\n" in entry
    assert b"RECONCILER_REASON\n\x09\x00\x00\x00\x00\x00\x00\x00two\nlines\n" in entry
