"""How much evaluation may cost.  One unit is one visited node of an expression, or ten characters: 0.1 to 0.2 microseconds.

Upstream: apiserver/pkg/apis/cel/config.go.  Deliberate difference: a request may cost 2 million, not 10 million.
"""

from __future__ import annotations

from dataclasses import dataclass

from cluster.machinery.cel.values import OverBudget

PER_EXPRESSION = 1_000_000
"""Units of one evaluation of one expression."""
PER_REQUEST = 2_000_000
"""Units of all evaluations for one object, or of one kind of admission for one request."""
ESTIMATE_MAX = 10_000_000
"""What one rule may be estimated to cost on the largest object its schema allows (upstream's StaticEstimatedCostLimit)."""
ESTIMATES_MAX = 100_000_000
"""The same for all rules of one schema (upstream's StaticEstimatedCRDCostLimit)."""


@dataclass(slots=True)
class Meter:
    """What is left for one evaluation."""

    left: int

    def spend(self, units: int) -> None:
        """Raises OverBudget."""
        self.left -= units
        if self.left < 0:
            raise OverBudget("operation cancelled: actual cost limit exceeded")


@dataclass(slots=True)
class Budget:
    """What is left for one request."""

    left: int = PER_REQUEST

    def meter(self) -> Meter:
        return Meter(min(self.left, PER_EXPRESSION))

    def settle(self, meter: Meter) -> None:
        """Take what the meter used off the request's budget."""
        self.left -= min(self.left, PER_EXPRESSION) - max(meter.left, 0)

    @property
    def is_spent(self) -> bool:
        return self.left <= 0
