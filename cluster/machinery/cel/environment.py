"""Environments: the functions and variables that expressions may use, and programs compiled against them.

Upstream: apiserver/pkg/cel/environment/base.go (the library set of v1.33), cel-go/cel/{env,program}.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from cluster.machinery.cel import addresses, authorizer, formats, library, standard
from cluster.machinery.cel.budget import Budget
from cluster.machinery.cel.compiler import Compiler, Run
from cluster.machinery.cel.parser import parse
from cluster.machinery.cel.syntax import CelSyntaxError, located
from cluster.machinery.cel.types import Overload, Type, declare
from cluster.machinery.cel.values import CelError, OverBudget

_LIBRARIES = (standard, library, addresses, formats, authorizer)
_MISFITS = (TypeError, ValueError, KeyError, AttributeError, IndexError, OverflowError, RecursionError, MemoryError)
"""What Python raises on values that are not what their schema says."""


class CompileError(ValueError):
    """The expression is wrong whatever the values are; the text is what people see."""


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled expression.  `estimate` is its cost on the largest values its variables' types allow."""

    source: str
    type: Type
    estimate: float
    frame_size: int
    slots: Mapping[str, int]
    run: Run

    def evaluate(self, values: Mapping[str, Any], budget: Budget) -> Any:
        """The result, with `values` for the declared variables.  Raises CelError, OverBudget among them."""
        meter = budget.meter()
        frame: list[Any] = [None] * self.frame_size
        frame[0] = meter
        for name, value in values.items():
            if (slot := self.slots.get(name)) is not None:
                frame[slot] = value
        try:
            return self.run(frame)
        except CelError:
            raise
        except _MISFITS as error:
            raise CelError(f"no such overload: {type(error).__name__}") from error
        finally:
            budget.settle(meter)


class Environment:
    """Variables by name; the functions are always Kubernetes' own."""

    def __init__(self, variables: Mapping[str, Type]) -> None:
        self._variables = dict(variables)

    def with_variables(self, variables: Mapping[str, Type]) -> Environment:
        return Environment({**self._variables, **variables})

    def compile(self, source: str, *, kinds: Sequence[str] = ()) -> Program:
        """Raises CompileError; with `kinds`, also when the result is of none of those kinds of types."""
        overloads, implementations = functions()
        try:
            tree = parse(source)
            compiler = Compiler(self._variables, overloads, implementations)
            typed = compiler.typed(tree)
        except CelSyntaxError as error:
            raise CompileError(f"compilation failed: {located(source, error)}") from None
        if kinds and typed.type.kind not in (*kinds, "dyn"):
            wanted = kinds[0] if len(kinds) == 1 else " or ".join(kinds)
            raise CompileError(f"must evaluate to {wanted}")
        return Program(source, typed.type, typed.cost, compiler.frame_size, compiler.variable_slots, typed.run)


@cache
def functions() -> tuple[Mapping[str, tuple[Overload, ...]], Mapping[str, Callable[..., Any]]]:
    """Declarations and implementations of every function, read once."""
    overloads: dict[str, tuple[Overload, ...]] = {}
    implementations: dict[str, Callable[..., Any]] = {}
    for part in _LIBRARIES:
        for name, declared in declare(part.DECLARATIONS).items():
            overloads[name] = (*overloads.get(name, ()), *declared)
        implementations |= part.FUNCTIONS
    return overloads, implementations


__all__ = ["CompileError", "Environment", "OverBudget", "Program"]
