"""What a transaction does is decided from its operations and the keys they name, and from nothing else."""

from __future__ import annotations

import sys

import orjson
import pytest

from cluster.store.api import Conflict, Delete, Event, Put, Record
from cluster.store.transaction import plan_transaction

LIVE = {"/a": Record("/a", b"1", 4, 2)}


def test_a_put_a_delete_and_an_idle_delete() -> None:
    events = plan_transaction([Delete("/a", 4), Put("/b", b"2", 0), Delete("/c", None)], revision=9, current=LIVE.get)
    assert events == (
        Event("/a", 9, None, LIVE["/a"]),
        Event("/b", 9, Record("/b", b"2", 9, 9), None),
    )


def test_the_first_failed_expectation_is_named() -> None:
    with pytest.raises(Conflict, match="/a: expected revision 3, found 4"):
        plan_transaction([Put("/b", b"", 0), Put("/a", b"", 3), Put("/c", b"", 8)], revision=9, current=LIVE.get)


def test_a_kept_value_has_its_exact_size() -> None:
    """An encoder's buffer, grown by doubling, would keep its unused half as long as the object lives."""
    encoded = orjson.dumps(["x" * 100] * 40)
    (event,) = plan_transaction([Put("/b", encoded, None)], revision=9, current=LIVE.get)
    assert event.record is not None
    assert event.record.value == encoded
    assert event.record.value is not encoded
    assert sys.getsizeof(event.record.value) == sys.getsizeof(b"") + len(encoded)


@pytest.mark.parametrize("value", [Record("/a", b"hunter2", 1, 1), Put("/a", b"hunter2", 0)])
def test_values_are_never_printed(value: object) -> None:
    assert "hunter2" not in repr(value)
    assert "hunter2" not in repr(Event("/a", 1, Record("/a", b"hunter2", 1, 1), None))
