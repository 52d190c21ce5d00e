"""Resource quantities: `100m`, `1.5Gi`, `2e3`.  Exact, comparable, and printed in upstream's canonical form.

Upstream: apimachinery/pkg/api/resource/quantity.go.  As there, precision ends at nano (rounded away from zero) and values
are capped at 2^63-1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

NANO = 10**9
VALUE_MAX = 2**63 - 1
TEXT_MAX = 256
"""Longer texts are refused: no quantity needs more digits."""

_EXPONENT_MAX = 64
_SYNTAX = re.compile(
    r"(?P<sign>[+-]?)(?P<whole>[0-9]*)(?:\.(?P<part>[0-9]*))?"
    r"(?P<suffix>Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]?|[eE][+-]?[0-9]{1,4})\Z",
    re.ASCII,
)
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIXES = {power: suffix for suffix, power in _DECIMAL.items()}


class QuantityError(ValueError):
    """The text is not a quantity."""


class Format(Enum):
    """How a quantity was written, and is written again."""

    DECIMAL = "DecimalSI"
    BINARY = "BinarySI"
    EXPONENT = "DecimalExponent"


@dataclass(frozen=True, slots=True, order=True)
class Quantity:
    """An exact amount of `nanos` billionths; the format takes no part in comparison."""

    nanos: int
    format: Format = field(default=Format.DECIMAL, compare=False)

    @property
    def value(self) -> int:
        """Whole units (bytes, counts), rounded up as upstream's Value()."""
        return -(-self.nanos // NANO)

    @property
    def millis(self) -> int:
        """Thousandths (millicores), rounded up as upstream's MilliValue()."""
        return -(-self.nanos * 1000 // NANO)

    def __add__(self, other: Quantity) -> Quantity:
        return Quantity(self.nanos + other.nanos, self.format if self.nanos else other.format)

    def __sub__(self, other: Quantity) -> Quantity:
        return Quantity(self.nanos - other.nanos, self.format if self.nanos else other.format)

    def __str__(self) -> str:
        """The canonical form: no fraction, the largest suffix that needs none."""
        if not self.nanos:
            return "0"
        if self.format is Format.BINARY and self.nanos % NANO == 0 and abs(self.nanos) >= 1024 * NANO:
            amount, power = self.nanos // NANO, 0
            while power < 60 and amount % 1024 == 0:
                amount, power = amount // 1024, power + 10
            suffix = next((name for name, bits in _BINARY.items() if bits == power), "")
            return f"{amount}{suffix}"
        amount, exponent = self.nanos, -9
        while exponent < 18 and amount % 1000 == 0:
            amount, exponent = amount // 1000, exponent + 3
        if self.format is Format.EXPONENT:
            return f"{amount}e{exponent}" if exponent else str(amount)
        return f"{amount}{_DECIMAL_SUFFIXES[exponent]}"


@lru_cache(maxsize=4096)
def parse_quantity(text: str | int | float) -> Quantity:
    """A quantity from its text or a JSON number.  Raises QuantityError with upstream's wording."""
    written = str(text).strip()
    match = _SYNTAX.match(written) if len(written) <= TEXT_MAX else None
    if match is None or not (match["whole"] or match["part"]):
        raise QuantityError(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
            if written
            else "quantities must not be empty"
        )
    part = match["part"] or ""
    digits = int(match["whole"] + part)
    suffix = match["suffix"]
    power_of_ten = 9 - len(part)
    power_of_two = _BINARY.get(suffix, 0)
    if power_of_two:
        form = Format.BINARY
    elif suffix in _DECIMAL:
        form = Format.DECIMAL
        power_of_ten += _DECIMAL[suffix]
    else:
        form = Format.EXPONENT
        power_of_ten += max(-_EXPONENT_MAX - TEXT_MAX, min(int(suffix[1:]), _EXPONENT_MAX + TEXT_MAX))
    nanos = digits << power_of_two
    if power_of_ten >= 0:
        nanos *= 10**power_of_ten
    else:
        nanos = -(-nanos // 10**-power_of_ten)
    nanos = min(nanos, VALUE_MAX * NANO)
    return Quantity(-nanos if match["sign"] == "-" else nanos, form)


def canonical(text: str | int | float) -> str:
    """The canonical text of a quantity: `0.5` is `500m`, `1024Mi` is `1Gi`.  Raises QuantityError."""
    return str(parse_quantity(text))


def millicores_of(text: str | int | float) -> int:
    """A cpu quantity in thousandths of a core, rounded up.  Raises QuantityError."""
    return parse_quantity(text).millis


def bytes_of(text: str | int | float) -> int:
    """A memory or storage quantity in bytes, rounded up.  Raises QuantityError."""
    return parse_quantity(text).value
