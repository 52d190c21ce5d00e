"""The store's transactions, records and events as etcd's messages, and back.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cluster.store.api import Conflict, Delete, Event, Operation, Put, Record, StoreError, Unavailable
from cluster.store.etcd_gateway import Message, bytes_of, text_of

AFTER = b"\0"
"""The smallest thing that can follow a key."""


class Keys:
    """Where a store's keys lie in etcd."""

    def __init__(self, prefix: str) -> None:
        if not prefix.startswith("/") or prefix.endswith("/"):
            raise ValueError(f"{prefix!r} is not an absolute path without a slash at its end")
        self._root = f"{prefix}/".encode()
        self._records = f"{prefix}/keys/".encode()
        self.mark = text_of(f"{prefix}/marks/history".encode())
        self.everything: Message = {"key": text_of(self._root), "range_end": text_of(end_of(self._root))}

    def encoded(self, key: str) -> str:
        return text_of(self._records + key.encode())

    def range_after(self, prefix: str, start_after: str) -> Message:
        """What `range` asks for: keys with `prefix` that follow `start_after`."""
        whole = self._records + prefix.encode()
        after = self._records + start_after.encode() + AFTER if start_after else whole
        return {"key": text_of(max(whole, after)), "range_end": text_of(end_of(whole))}

    def decoded(self, key: str) -> str | None:
        """The store's key; None for what is no record."""
        raw = bytes_of(key)
        return raw[len(self._records) :].decode() if raw.startswith(self._records) else None


def end_of(prefix: bytes) -> bytes:
    """The first key after all those with `prefix`, which is UTF-8 and so never ends in 0xff."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def transaction_message(operations: Sequence[Operation], keys: Keys) -> Message:
    """Compare, then write; what a failed comparison found is told, without values."""
    compare: list[Message] = []
    success: list[Message] = []
    failure: list[Message] = []
    for operation in operations:
        key = keys.encoded(operation.key)
        if operation.expect is not None:
            compare.append(_comparison(operation, key))
            failure.append({"request_range": {"key": key, "keys_only": True}})
        match operation:
            case Put(value=value, lease=lease):
                success.append({"request_put": {"key": key, "value": text_of(value), "lease": str(lease)}})
            case Delete():
                success.append({"request_delete_range": {"key": key}})
    return {"compare": compare, "success": success, "failure": failure}


def _comparison(operation: Operation, key: str) -> Message:
    if isinstance(operation, Delete) and operation.expect == 0:
        return {
            "key": key,
            "target": "VERSION",
            "result": "LESS",
            "version": "0",
        }  # never: nothing to delete is a conflict
    return {"key": key, "target": "MOD", "result": "EQUAL", "mod_revision": str(operation.expect)}


def conflict_in(answer: Message, operations: Sequence[Operation], keys: Keys) -> StoreError:
    """The first expectation that did not hold."""
    expecting = [operation for operation in operations if operation.expect is not None]
    for operation, response in zip(expecting, answer.get("responses", ()), strict=False):
        found = response.get("response_range", {}).get("kvs", ())
        actual = int(found[0]["mod_revision"]) if found else 0
        if operation.expect is not None and (
            actual != operation.expect or (isinstance(operation, Delete) and not actual)
        ):
            return Conflict(operation.key, expected=operation.expect, actual=actual)
    return Unavailable("etcd refused a transaction whose every expectation holds")


def record_of(kv: Message, keys: Keys) -> Record:
    """Raises Unavailable for what this store did not write."""
    key = keys.decoded(kv["key"])
    if key is None:
        raise Unavailable("etcd answered with a key that was not asked for")
    return Record(key, bytes_of(kv.get("value", "")), int(kv["mod_revision"]), int(kv["create_revision"]))


def events_of(messages: Iterable[Message], keys: Keys) -> Sequence[Event]:
    """The events of one revision; marks are none."""
    events: list[Event] = []
    for message in messages:
        kv = message["kv"]
        key = keys.decoded(kv["key"])
        if key is None:
            continue
        before = message.get("prev_kv")
        events.append(
            Event(
                key,
                int(kv["mod_revision"]),
                None if message.get("type") == "DELETE" else record_of(kv, keys),
                record_of(before, keys) if before else None,
            )
        )
    return events
