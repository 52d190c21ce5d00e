"""Label and field selectors: parse once, match many.

Upstream: apimachinery/pkg/labels/selector.go, pkg/fields/selector.go, metav1.LabelSelector.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cluster.machinery.objects import Obj


class SelectorError(ValueError):
    """The text or object is not a selector; the message says why."""


class Operator(StrEnum):
    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    DOES_NOT_EXIST = "!"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label.  NOT_IN is also met by an absent label, as upstream's."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case Operator.IN:
                return value is not None and value in self.values
            case Operator.NOT_IN:
                return value is None or value not in self.values
            case Operator.EXISTS:
                return value is not None
            case Operator.DOES_NOT_EXIST:
                return value is None


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements hold.  No requirements match everything; `NOTHING` matches nothing."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Mapping[str, str]) -> bool:
        return not self.nothing and all(requirement.matches(labels) for requirement in self.requirements)

    @property
    def is_empty(self) -> bool:
        """It matches everything."""
        return not self.requirements and not self.nothing

    def __str__(self) -> str:
        return ",".join(_text_of(requirement) for requirement in self.requirements)


EVERYTHING = Selector()
NOTHING = Selector(nothing=True)

_QUALIFIED = re.compile(r"(?:[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")
_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?\Z")
_TERM = re.compile(
    r"""\s*(?:
        !\s*(?P<absent>[^\s,=!()]+)
      | (?P<key>[^\s,=!()]+)\s*(?:
            (?P<op>==|=|!=)\s*(?P<value>[^\s,=!()]*)
          | \s(?P<set>in|notin)\s*\((?P<values>[^()]*)\)
        )?
    )\s*(?:,|\Z)""",
    re.VERBOSE,
)


def parse_selector(text: str) -> Selector:
    """A label selector in its query form (`a=b,c!=d,e in (f,g),!h`).  Raises SelectorError."""
    requirements: list[Requirement] = []
    position = 0
    while position < len(text):
        match = _TERM.match(text, position)
        if match is None or match.end() == position:
            if not text[position:].strip():
                break
            raise SelectorError(f"unable to parse requirement: {text[position:]!r}")
        position = match.end()
        if match["absent"]:
            requirements.append(_requirement(match["absent"], Operator.DOES_NOT_EXIST, ()))
        elif match["set"]:
            values = tuple(value.strip() for value in match["values"].split(","))
            requirements.append(_requirement(match["key"], Operator(match["set"]), values))
        elif match["op"]:
            operator = Operator.NOT_IN if match["op"] == "!=" else Operator.IN
            requirements.append(_requirement(match["key"], operator, (match["value"],)))
        else:
            requirements.append(_requirement(match["key"], Operator.EXISTS, ()))
        if position == len(text) and text.rstrip().endswith(","):
            raise SelectorError(f"found a trailing comma in {text!r}")
    return Selector(tuple(requirements))


def selector_of(label_selector: Obj | None) -> Selector:
    """A metav1.LabelSelector: absent matches nothing, empty everything.  Raises SelectorError."""
    if label_selector is None:
        return NOTHING
    requirements = [
        Requirement(key, Operator.IN, frozenset((value,)))
        for key, value in sorted((label_selector.get("matchLabels") or {}).items())
    ]
    for expression in label_selector.get("matchExpressions") or ():
        operator = _EXPRESSION_OPERATORS.get(expression.get("operator", ""))
        if operator is None:
            raise SelectorError(f"{expression.get('operator')!r} is not a valid label selector operator")
        values = tuple(expression.get("values") or ())
        requirements.append(_requirement(expression.get("key", ""), operator, values))
    return Selector(tuple(requirements))


def selector_of_map(labels: Mapping[str, str] | None) -> Selector:
    """The plain map form of Services and ReplicationControllers: None or empty matches nothing."""
    if not labels:
        return NOTHING
    return Selector(tuple(Requirement(key, Operator.IN, frozenset((value,))) for key, value in sorted(labels.items())))


_EXPRESSION_OPERATORS = {
    "In": Operator.IN,
    "NotIn": Operator.NOT_IN,
    "Exists": Operator.EXISTS,
    "DoesNotExist": Operator.DOES_NOT_EXIST,
}


def _requirement(key: str, operator: Operator, values: Sequence[str]) -> Requirement:
    if not _QUALIFIED.match(key):
        raise SelectorError(f"invalid label key {key!r}")
    if operator in (Operator.IN, Operator.NOT_IN) and not values:
        raise SelectorError(f"for 'in', 'notin' operators, values set can't be empty (key {key!r})")
    if operator in (Operator.EXISTS, Operator.DOES_NOT_EXIST) and values:
        raise SelectorError(f"values set must be empty for exists and does not exist (key {key!r})")
    for value in values:
        if not _VALUE.match(value):
            raise SelectorError(f"invalid label value {value!r} for key {key!r}")
    return Requirement(key, operator, frozenset(values))


def _text_of(requirement: Requirement) -> str:
    values = ",".join(sorted(requirement.values))
    match requirement.operator:
        case Operator.EXISTS:
            return requirement.key
        case Operator.DOES_NOT_EXIST:
            return f"!{requirement.key}"
        case Operator.IN:
            return f"{requirement.key}={values}" if len(requirement.values) == 1 else f"{requirement.key} in ({values})"
        case Operator.NOT_IN:
            if len(requirement.values) == 1:
                return f"{requirement.key}!={values}"
            return f"{requirement.key} notin ({values})"


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    """`path` equals (or, negated, differs from) `value`; an absent field is the empty string."""

    path: str
    value: str
    negated: bool = False


def parse_field_selector(text: str) -> tuple[FieldRequirement, ...]:
    """A field selector (`a=b,c!=d`); backslash escapes comma, equals and itself.  Raises SelectorError."""
    requirements: list[FieldRequirement] = []
    for term in re.findall(r"(?:\\.|[^,\\])+", text):
        match = re.fullmatch(r"\s*([^=!]+?)\s*(!=|==|=)((?:\\.|[^\\])*)", term)
        if match is None:
            raise SelectorError(f"invalid selector: {text!r}; can't understand {term!r}")
        value = re.sub(r"\\(.)", r"\1", match[3])
        requirements.append(FieldRequirement(match[1], value, negated=match[2] == "!="))
    return tuple(requirements)
