"""The comprehensions at work.  Every turn pays for its body before it runs: no loop outlives its budget.

Upstream: cel-go/parser/macro.go, cel-go/ext/comprehensions.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from cluster.machinery.cel.access import truth
from cluster.machinery.cel.operators import NO_OVERLOAD, key_text
from cluster.machinery.cel.values import CelError, OverBudget

Run: TypeAlias = Callable[[list[Any]], Any]


def fold_of(kind: str, over: Run, slots: Sequence[int], condition: Run | None, body: Run, units: int) -> Run:
    """The closure of a macro; `slots` are its variables', `units` what one turn costs."""
    turns = _turns(over, slots, units)
    match kind:
        case "all" | "exists":
            return _quantified(turns, body, decides=kind == "exists")
        case "existsOne":
            return lambda frame: sum(truth(body(frame)) for _ in turns(frame)) == 1
        case "filter":
            return lambda frame: [item for item in turns(frame) if truth(body(frame))]
        case "map" | "transformList":
            if condition is None:
                return lambda frame: [body(frame) for _ in turns(frame)]
            return lambda frame: [body(frame) for _ in turns(frame) if truth(condition(frame))]
        case _:
            return _transform_map(turns, slots[0], condition, body, entries=kind == "transformMapEntry")


def _turns(over: Run, slots: Sequence[int], units: int) -> Callable[[list[Any]], Iterable[Any]]:
    """Each item (or key), with the variables set."""
    first, second = slots[0], slots[1] if len(slots) > 1 else 0

    def turns(frame: list[Any]) -> Iterable[Any]:
        container = over(frame)
        spend = frame[0].spend
        if isinstance(container, Mapping):
            for key in list(container):
                spend(units)
                frame[first] = key
                if second:
                    frame[second] = container[key]
                yield key
        elif isinstance(container, (list, tuple)):
            for at, item in enumerate(container):
                spend(units)
                if second:
                    frame[first], frame[second] = at, item
                else:
                    frame[first] = item
                yield item
        else:
            raise CelError(NO_OVERLOAD)

    return turns


def _quantified(turns: Callable[[list[Any]], Iterable[Any]], body: Run, *, decides: bool) -> Run:
    def quantified(frame: list[Any]) -> bool:
        failure: CelError | None = None
        for _ in turns(frame):
            try:
                value = body(frame)
            except OverBudget:
                raise
            except CelError as error:
                failure = error
                continue
            if type(value) is bool and value == decides:
                return decides
            if type(value) is not bool:
                failure = CelError(NO_OVERLOAD)
        if failure is not None:
            raise failure
        return not decides

    return quantified


def _transform_map(
    turns: Callable[[list[Any]], Iterable[Any]], key_slot: int, condition: Run | None, body: Run, *, entries: bool
) -> Run:
    def transform(frame: list[Any]) -> dict[Any, Any]:
        made: dict[Any, Any] = {}
        for _ in turns(frame):
            if condition is not None and not truth(condition(frame)):
                continue
            key = frame[key_slot]
            value = body(frame)
            for name, part in value.items() if entries else ((key, value),):
                if name in made:
                    raise CelError(f"insert failed: key {key_text(name)} already exists")
                made[name] = part
        return made

    return transform
