"""Log lines are readable, journal entries are well-formed, and credentials do not leave."""

from __future__ import annotations

import io
import logging

import pytest
from loguru import logger

from cluster.base.log import configure, journal_fields, redacted


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


def test_the_journal_gets_the_message_its_priority_and_each_key_as_a_field():
    seen = []
    handler = logger.add(lambda message: seen.append(message.record), format="{message}")
    logger.warning("held", app="web", reason="password=hunter2")
    logger.remove(handler)
    fields = journal_fields(seen[0])
    assert fields["MESSAGE"] == 'held app=web reason="password=***'
    assert (fields["PRIORITY"], fields["RECONCILER_APP"], fields["RECONCILER_REASON"]) == ("4", "web", "password=***")
    assert fields["RECONCILER_MESSAGE"] == "held"
