"""Ordered keys agree with a sorted list, whatever is done to them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.store.keys import SortedKeys

TEXT = st.text(alphabet="ab/é\uffff\U0001f600", max_size=4)
KEY = TEXT.filter(bool)


@given(
    start=st.lists(KEY),
    changes=st.lists(st.tuples(st.booleans(), KEY)),
    prefix=TEXT,
    start_after=TEXT,
    limit=st.integers(0, 5),
)
def test_a_range_is_what_a_sorted_list_gives(
    start: list[str], changes: list[tuple[bool, str]], prefix: str, start_after: str, limit: int
) -> None:
    keys, model = SortedKeys(start, chunk_keys_max=4), set(start)  # so that few keys already make many chunks
    for added, key in changes:
        (keys.add if added else keys.discard)(key)
        (model.add if added else model.discard)(key)
    expected = sorted(key for key in model if key.startswith(prefix) and (not start_after or key > start_after))
    page = keys.range(prefix, start_after=start_after, limit=limit)
    assert page.keys == (expected[:limit] if limit else expected)
    assert page.remaining == len(expected) - len(page.keys)
