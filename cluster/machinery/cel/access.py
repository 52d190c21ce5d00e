"""Reading fields of values whose types are known at run time only, and truth with CEL's way of absorbing errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from cluster.machinery.cel.operators import NO_OVERLOAD
from cluster.machinery.cel.values import NONE, CelError, Optional, OverBudget, type_name

Run: TypeAlias = Callable[[list[Any]], Any]


def junction(runs: Sequence[Run], *, decides: bool) -> Run:
    """`&&` or `||` of all: a value that decides wins over the errors of others, whatever their order."""

    def decide(frame: list[Any]) -> bool:
        failure: CelError | None = None
        for run in runs:
            try:
                value = run(frame)
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

    return decide


def truth(value: Any) -> bool:
    if type(value) is bool:
        return value
    raise CelError(NO_OVERLOAD)


def present(value: Any) -> bool:
    if isinstance(value, Optional):
        return value.present
    raise CelError(NO_OVERLOAD)


def field_of(operand: Any, key: str) -> Any:
    if isinstance(operand, Mapping):
        try:
            return operand[key]
        except KeyError:
            raise CelError(f"no such key: {key}") from None
    if isinstance(operand, Optional):
        return optional_field(operand, key, None)
    raise CelError(f"{NO_OVERLOAD}: {type_name(operand)} has no fields")


def has(operand: Any, key: str) -> bool:
    if isinstance(operand, Optional):
        if not operand.present:
            return False
        operand = operand.value
    if isinstance(operand, Mapping):
        return key in operand
    raise CelError(f"{NO_OVERLOAD}: {type_name(operand)} has no fields")


def optional_field(operand: Any, key: str, convert: Callable[[Any], Any] | None) -> Optional:
    if isinstance(operand, Optional):
        if not operand.present:
            return NONE
        operand = operand.value
    if not isinstance(operand, Mapping):
        raise CelError(f"{NO_OVERLOAD}: {type_name(operand)} has no fields")
    if key not in operand:
        return NONE
    return Optional(True, convert(operand[key]) if convert is not None else operand[key])
