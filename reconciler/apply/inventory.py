"""What an application applied, kept in the API in chunks: recorded before an object is created, forgotten after it is gone.

Losing an entry would orphan an object; a superfluous one costs a look.  So entries come first and go last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cluster.client.transport import Transport, WriteOptions
from cluster.machinery.errors import Conflict
from cluster.machinery.objects import Key, Obj, name_of, owner_reference_to
from reconciler.crds.inventory import ENTRIES_MAX, INVENTORIES
from reconciler.model import Owned, Ref
from reconciler.projection import FIELD_MANAGER

APPLICATION_LABEL = "gitops.reconciler.io/application"
LABEL_MAX = 63


class Inventory:
    """The entries of one application, this process being their only writer.

    Raises ApiError when a write fails; the entries then stay as they were before.
    """

    def __init__(self, transport: Transport, application: Obj, chunks: Iterable[Obj]) -> None:
        """`chunks` are the application's Inventory objects as last read."""
        self._transport = transport
        self._application = application
        self._key = Key(application["metadata"].get("namespace", ""), name_of(application))
        self._entries: dict[Ref, Owned] = {}
        self._chunk_of: dict[Ref, int] = {}
        self._chunks: dict[int, Obj] = {}
        for chunk in sorted(chunks, key=name_of):
            number = chunk_number(chunk, self._key.name)
            if number is not None:
                self._take(number, chunk)

    @property
    def entries(self) -> Mapping[Ref, Owned]:
        return self._entries

    async def record(self, changed: Iterable[Owned], *, forgotten: Iterable[Ref] = ()) -> None:
        """Make the stored entries those of now with `changed` added or replaced and `forgotten` removed."""
        changed = [entry for entry in changed if self._entries.get(entry.ref) != entry]
        forgotten = [ref for ref in forgotten if ref in self._entries]
        if not changed and not forgotten:
            return
        dirty: set[int] = set()
        entries, chunk_of = dict(self._entries), dict(self._chunk_of)
        sizes: dict[int, int] = {}
        for number in chunk_of.values():
            sizes[number] = sizes.get(number, 0) + 1
        for ref in forgotten:
            if entries.pop(ref, None) is not None:
                number = chunk_of.pop(ref)
                sizes[number] -= 1
                dirty.add(number)
        for entry in changed:
            if entry.ref not in chunk_of:
                number = next((n for n in range(len(sizes) + 1) if sizes.get(n, 0) < ENTRIES_MAX), len(sizes))
                chunk_of[entry.ref] = number
                sizes[number] = sizes.get(number, 0) + 1
            entries[entry.ref] = entry
            dirty.add(chunk_of[entry.ref])
        for number in sorted(dirty):
            content = [row_of(entries[ref]) for ref in sorted(ref for ref, n in chunk_of.items() if n == number)]
            self._chunks[number] = await self._write(number, content)
        self._entries, self._chunk_of = entries, chunk_of

    def _take(self, number: int, chunk: Obj) -> None:
        self._chunks[number] = chunk
        for row in chunk.get("entries") or ():
            entry = entry_of(row)
            self._entries[entry.ref] = entry
            self._chunk_of[entry.ref] = number

    async def _write(self, number: int, content: list[dict[str, str]]) -> Obj:
        options = WriteOptions(field_manager=FIELD_MANAGER)
        known = self._chunks.get(number)
        if known is None:
            meta: dict[str, Any] = {
                "name": f"{self._key.name}-{number}",
                "namespace": self._key.namespace,
                "ownerReferences": [owner_reference_to(self._application, controller=False)],
            }
            if len(self._key.name) <= LABEL_MAX:
                meta["labels"] = {APPLICATION_LABEL: self._key.name}
            chunk = {
                "apiVersion": INVENTORIES.api_version,
                "kind": INVENTORIES.kind,
                "metadata": meta,
                "application": self._key.name,
                "entries": content,
            }
            return await self._transport.create(INVENTORIES, chunk, options=options)
        try:
            return await self._transport.update(INVENTORIES, {**known, "entries": content}, options=options)
        except Conflict:
            # Somebody touched its metadata; the entries are ours alone.
            fresh = await self._transport.get(INVENTORIES, Key(self._key.namespace, name_of(known)))
            return await self._transport.update(INVENTORIES, {**fresh, "entries": content}, options=options)


def chunk_number(chunk: Obj, application: str) -> int | None:
    """The chunk's place among those of `application`; None when it belongs to another."""
    stem, _, number = name_of(chunk).rpartition("-")
    if stem != application or chunk.get("application") != application or not number.isdecimal():
        return None
    return int(number)


def entry_of(row: Obj) -> Owned:
    return Owned(
        Ref(row.get("group", ""), row["kind"], row.get("namespace", ""), row["name"]),
        row.get("version", ""),
        uid=row.get("uid", ""),
        digest=row.get("hash", ""),
        projection=row.get("projection", ""),
    )


def row_of(entry: Owned) -> dict[str, str]:
    group, kind, namespace, name = entry.ref
    row = {"group": group, "version": entry.version, "kind": kind, "namespace": namespace, "name": name}
    row |= {"uid": entry.uid, "hash": entry.digest, "projection": entry.projection}
    return {field: text for field, text in row.items() if text}
