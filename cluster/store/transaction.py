"""What a transaction does to the keys it names: the one place where compare-and-set is decided, for every engine.

Pure: given the operations and a way to look a key up, the events they cause or the error that refuses them.  Knows
nothing of how events are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cluster.store.api import (
    OPERATIONS_MAX,
    TRANSACTION_SIZE_MAX_BYTES,
    VALUE_SIZE_MAX_BYTES,
    Conflict,
    Delete,
    Event,
    Operation,
    Put,
    Record,
    TooLarge,
)


def plan_transaction(
    operations: Sequence[Operation], *, revision: int, current: Callable[[str], Record | None]
) -> tuple[Event, ...]:
    """The events of `operations` happening together at `revision`, in the order given.

    Empty when nothing changes (only absent keys deleted, whatever they were).  Raises Conflict naming the first
    operation whose expectation fails, and what `check_transaction` raises.
    """
    check_transaction(operations)
    events = (_event_of(operation, current(operation.key), revision=revision) for operation in operations)
    return tuple([event for event in events if event is not None])


def check_transaction(operations: Sequence[Operation]) -> None:
    """Raise TooLarge, and ValueError for what no caller may send: no operations, a key named twice, a key that is empty
    or not encodable as UTF-8."""
    if not operations:
        raise ValueError("a transaction needs at least one operation")
    if len(operations) > OPERATIONS_MAX:
        raise TooLarge(f"{len(operations)} operations in one transaction, at most {OPERATIONS_MAX} are accepted")
    if (size_bytes := size_of(operations)) > TRANSACTION_SIZE_MAX_BYTES:
        raise TooLarge(f"{size_bytes} bytes in one transaction, at most {TRANSACTION_SIZE_MAX_BYTES} are accepted")
    named: set[str] = set()
    for operation in operations:
        _check_key(operation.key)
        if operation.key in named:
            raise ValueError(f"{operation.key}: named twice in one transaction")
        named.add(operation.key)
        if isinstance(operation, Put) and len(operation.value) > VALUE_SIZE_MAX_BYTES:
            raise TooLarge(f"{operation.key}: a value of {len(operation.value)} bytes, at most {VALUE_SIZE_MAX_BYTES}")


def size_of(operations: Sequence[Operation]) -> int:
    """The bytes of the values written."""
    return sum(len(operation.value) for operation in operations if isinstance(operation, Put))


def _check_key(key: str) -> None:
    if not key:
        raise ValueError("a key must not be empty")
    if not key.isascii():
        key.encode()  # UnicodeEncodeError, a ValueError, for lone surrogates


def _event_of(operation: Operation, previous: Record | None, *, revision: int) -> Event | None:
    actual = previous.revision if previous is not None else 0
    if operation.expect is not None and operation.expect != actual:
        raise Conflict(operation.key, expected=operation.expect, actual=actual)
    match operation:
        case Put(key=key, value=value):
            created = previous.created_revision if previous is not None else revision
            # Through a memoryview: encoders hand over buffers grown by doubling, which kept whole waste half.
            record = Record(key, bytes(memoryview(value)), revision, created)
            return Event(key, revision, record, previous)
        case Delete(key=key, expect=expect):
            if previous is None:
                if expect is None:
                    return None
                raise Conflict(key, expected=expect, actual=0)
            return Event(key, revision, None, previous)
