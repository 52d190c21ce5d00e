"""Heads of answers."""

from __future__ import annotations

from cluster.apiserver.responses import head_of


def test_an_answer_is_not_cached_unless_it_says_otherwise() -> None:
    plain = head_of(200, 0, "text/plain", {"x": "1"}, close=False)
    assert plain.count(b"Cache-Control: no-cache, private\r\n") == 1
    stated = head_of(200, 0, "text/plain", {"cache-control": "max-age=5"}, close=False)
    assert (stated.lower().count(b"cache-control"), b"Cache-Control: max-age=5\r\n" in stated) == (1, True)
