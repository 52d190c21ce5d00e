"""The match conditions of webhooks and admission policies: names and expressions that narrow what they are asked about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import duplicate, invalid, required, too_many
from cluster.machinery.names import qualified_name_errors
from cluster.machinery.objects import Obj

CONDITIONS_MAX = 64


def validate_conditions(conditions: Sequence[Obj], path: str) -> Iterator[Cause]:
    """The names of match conditions; what their expressions say is checked where it is known what they may use."""
    if len(conditions) > CONDITIONS_MAX:
        yield too_many(path, len(conditions), CONDITIONS_MAX)
    seen: set[str] = set()
    for index, condition in enumerate(conditions):
        name = str(condition.get("name") or "")
        if not name:
            yield required(f"{path}[{index}].name")
        else:
            for why in qualified_name_errors(name):
                yield invalid(f"{path}[{index}].name", name, why)
            if name in seen:
                yield duplicate(f"{path}[{index}].name", name)
            seen.add(name)
        if not str(condition.get("expression") or "").strip():
            yield required(f"{path}[{index}].expression")


def validate_expressions(conditions: Sequence[Obj], path: str) -> Iterator[Cause]:
    """Whether the expressions of a webhook's conditions compile."""
    if not conditions:
        return
    from cluster.machinery.cel import CompileError  # loaded with the first condition
    from cluster.machinery.cel.admission import compile_conditions

    for index, condition in enumerate(conditions):
        if not str(condition.get("expression") or "").strip():
            continue  # its absence is told already
        try:
            compile_conditions((condition,))
        except CompileError as error:
            yield invalid(f"{path}[{index}].expression", condition["expression"], str(error))
