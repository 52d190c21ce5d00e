"""From one ruleset to the next as one transaction.  Pure.

Where the structure is the same only elements are deleted and added; otherwise the table is replaced.  Either is atomic:
no packet meets half a change.
"""

from __future__ import annotations

from dataclasses import dataclass

from cluster.proxy.ruleset import COLLECTIONS, Ruleset, element_text


@dataclass(frozen=True, slots=True)
class Transaction:
    """What to feed to nft.  `deleted` and `added` count elements."""

    text: str
    deleted: int
    added: int
    is_full: bool

    @property
    def is_empty(self) -> bool:
        return not self.text


def transaction(old: Ruleset | None, new: Ruleset) -> Transaction:
    """What makes `old` (None: unknown, whatever is there) into `new`.  Equal ones need nothing."""
    if old is None or (old.network, old.spread_max) != (new.network, new.spread_max):
        table = new.network.table
        # Adding first makes deleting succeed where there is no table yet.
        text = f"add table ip {table}\ndelete table ip {table}\n{new.text()}"
        return Transaction(text, deleted=old.count if old else 0, added=new.count, is_full=True)
    deletions: list[str] = []
    additions: list[str] = []
    deleted = added = 0
    for name in COLLECTIONS:
        before, after = old.elements[name], new.elements[name]
        gone = sorted(key for key, value in before.items() if after.get(key) != value)
        come = sorted(key for key, value in after.items() if before.get(key) != value)
        deleted, added = deleted + len(gone), added + len(come)
        where = f"element ip {new.network.table} {name}"
        if gone:
            deletions.append(f"delete {where} {{ {', '.join(element_text(key, before[key]) for key in gone)} }}\n")
        if come:
            additions.append(f"add {where} {{ {', '.join(element_text(key, after[key]) for key in come)} }}\n")
    return Transaction("".join(deletions + additions), deleted=deleted, added=added, is_full=False)
