"""`x-kubernetes-validations`: a schema's rules, compiled once, and what objects break of them.

Upstream: apiextensions-apiserver/pkg/apiserver/schema/cel/{compilation,validation}.go; ratcheting: KEP-4008.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster.machinery import field_errors
from cluster.machinery.cel import types as t
from cluster.machinery.cel.budget import Budget
from cluster.machinery.cel.environment import CompileError, Environment, Program
from cluster.machinery.cel.parser import parse
from cluster.machinery.cel.schema import Convert, conversion_of, type_of_node
from cluster.machinery.cel.syntax import CelSyntaxError, Ident, parts_of
from cluster.machinery.cel.types import Type
from cluster.machinery.cel.values import NONE, CelError, Optional, OverBudget, equal
from cluster.machinery.errors import Cause
from cluster.machinery.objects import Obj
from cluster.machinery.schema import ABSENT, Node, counterpart

MESSAGE_MAX_BYTES = 5 * 1024
"""A longer message of a messageExpression is not shown."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of one node.  `program` is None when it does not compile, and `failure` says why."""

    source: Obj
    program: Program | None
    message: Program | None
    is_transition: bool
    failure: str = ""
    message_failure: str = ""

    @property
    def optional_old(self) -> bool:
        return bool(self.source.get("optionalOldSelf"))

    @property
    def shown(self) -> str:
        return str(self.source.get("message") or self.source.get("rule") or "").strip()


@dataclass(slots=True)
class Rules:
    """The rules at one node and below it; only branches that have some."""

    node: Node
    here: tuple[Rule, ...] = ()
    convert: Convert | None = None
    properties: dict[str, Rules] = field(default_factory=dict)
    items: Rules | None = None
    additional: Rules | None = None


def compile_rules(node: Node, name: str = "self") -> Rules | None:
    """The compiled rules of a schema; None when it has none."""
    made = Rules(node, convert=conversion_of(node))
    for key, part in node.properties.items():
        if not (node.embedded_resource and key == "metadata") and (below := compile_rules(part, f"{name}.{key}")):
            made.properties[key] = below
    if node.items is not None:
        made.items = compile_rules(node.items, f"{name}.@idx")
    if node.additional is not None:
        made.additional = compile_rules(node.additional, f"{name}.@elem")
    if node.rules and (self_type := type_of_node(node, name)) is not None:
        made.here = tuple(compile_rule(rule, self_type) for rule in node.rules)
    return made if made.here or made.properties or made.items or made.additional else None


def compile_rule(rule: Obj, self_type: Type) -> Rule:
    old_type = t.optional_of(self_type) if rule.get("optionalOldSelf") else self_type
    environment = Environment({"self": self_type, "oldSelf": old_type})
    program = message = None
    failure = message_failure = ""
    try:
        program = environment.compile(str(rule.get("rule") or ""), kinds=("bool",))
    except CompileError as error:
        failure = str(error) if str(error).startswith("compilation") else "cel expression must evaluate to a bool"
    if expression := rule.get("messageExpression"):
        try:
            message = environment.compile(str(expression), kinds=("string",))
        except CompileError as error:
            wrong_type = not str(error).startswith("compilation")
            message_failure = (
                "messageExpression must evaluate to a string" if wrong_type else f"messageExpression {error}"
            )
    return Rule(rule, program, message, _mentions_old(rule), failure, message_failure)


def _mentions_old(rule: Obj) -> bool:
    try:
        todo = [parse(str(rule.get("rule") or ""))]
    except CelSyntaxError:
        return False
    while todo:
        expr = todo.pop()
        if isinstance(expr, Ident) and expr.name == "oldSelf":
            return True
        todo.extend(parts_of(expr))
    return False


def broken_rules(rules: Rules, obj: Any, old: Any, budget: Budget, path: str = "") -> Iterator[Cause]:
    """What `obj` breaks, given the state before (ABSENT: none).  A rule that an unchanged part breaks is let pass."""
    if budget.is_spent or obj is None:
        return
    if rules.here:
        unchanged = old is not ABSENT and equal(obj, old)
        for rule in rules.here:
            if cause := _broken(rule, rules, obj, old, unchanged, budget, path):
                yield cause
                if budget.is_spent:
                    return
    if isinstance(obj, Mapping):
        before = old if isinstance(old, Mapping) and rules.node.map_type != "atomic" else {}
        for key, below in rules.properties.items():
            if key in obj:
                yield from broken_rules(below, obj[key], before.get(key, ABSENT), budget, field_errors.child(path, key))
        if rules.additional is not None:
            for key, part in obj.items():
                yield from broken_rules(rules.additional, part, before.get(key, ABSENT), budget, f"{path}[{key}]")
    elif isinstance(obj, (list, tuple)) and rules.items is not None:
        for index, item in enumerate(obj):
            yield from broken_rules(rules.items, item, counterpart(rules.node, item, old), budget, f"{path}[{index}]")


def _broken(rule: Rule, rules: Rules, obj: Any, old: Any, unchanged: bool, budget: Budget, path: str) -> Cause | None:
    if rule.program is None:
        return field_errors.invalid(path, rules.node.type, f"rule compile error: {rule.failure}")
    if rule.is_transition:
        if old is ABSENT and not rule.optional_old:
            return None
    elif unchanged:
        return None
    try:
        values = {"self": _converted(rules, obj)}
        if rule.is_transition:
            before = ABSENT if old is ABSENT else _converted(rules, old)
            values["oldSelf"] = before if not rule.optional_old else NONE if old is ABSENT else Optional(True, before)
        if rule.program.evaluate(values, budget) is True:
            return None
    except OverBudget as error:
        budget.left = 0
        why = "no further validation rules will be run due to call cost exceeds limit for rule"
        return field_errors.invalid(path, rules.node.type, f"'{error.message}': {why}: {rule.shown}")
    except CelError as error:
        if error.message.startswith("no such overload"):
            why = (
                f"'{error.message}': call arguments did not match a supported operator, function or macro signature for rule: "
                f"{rule.shown}"
            )
        else:
            why = f"{error.message} evaluating rule: {rule.shown}"
        return field_errors.invalid(path, rules.node.type, why)
    if budget.is_spent:
        why = "validation failed due to running out of cost budget, no further validation rules will be run"
        return field_errors.invalid(path, rules.node.type, why)
    return _cause(rule, rules.node, path, _message(rule, values, budget))


def _converted(rules: Rules, value: Any) -> Any:
    return value if rules.convert is None else rules.convert(value)


def _message(rule: Rule, values: Mapping[str, Any], budget: Budget) -> str:
    if rule.message is not None:
        try:
            text = rule.message.evaluate(values, budget)
        except CelError:
            text = None
        if isinstance(text, str) and text.strip() and "\n" not in text and len(text.encode()) <= MESSAGE_MAX_BYTES:
            return text.strip()
    return str(rule.source.get("message") or "").strip() or f"failed rule: {rule.shown}"


def _cause(rule: Rule, node: Node, path: str, why: str) -> Cause:
    if text := rule.source.get("fieldPath"):
        path += "".join(_shown_parts(parse_path(text), at_root=not path))
    match rule.source.get("reason"):
        case "FieldValueRequired":
            return field_errors.required(path, why)
        case "FieldValueForbidden":
            return field_errors.forbidden(path, why)
        case "FieldValueDuplicate":
            return field_errors.duplicate(path, node.type)
        case _:
            return field_errors.invalid(path, node.type, why)


def _shown_parts(parts: Sequence[tuple[str, bool]], *, at_root: bool) -> Iterator[str]:
    for index, (name, is_key) in enumerate(parts):
        yield f"[{name}]" if is_key else name if at_root and not index else f".{name}"


def parse_path(text: str) -> list[tuple[str, bool]]:
    """The steps of a fieldPath (`.spec.labels['a.b']`), and whether each was written in brackets.  Raises ValueError."""
    steps: list[tuple[str, bool]] = []
    at = 0
    while at < len(text):
        if text[at] == ".":
            stop = min(
                (stop for stop in (text.find(".", at + 1), text.find("[", at + 1)) if stop >= 0), default=len(text)
            )
            steps.append((text[at + 1 : stop], False))
        elif text.startswith("['", at) and (stop := text.find("']", at)) > 0:
            steps.append((text[at + 2 : stop].replace("\\'", "'"), True))
            stop += 2
        else:
            raise ValueError(f"expected [ or . but got: {text[at:]}")
        if not steps[-1][0]:
            raise ValueError("unexpected end of JSON path")
        at = stop
    if not steps:
        raise ValueError("unexpected end of JSON path")
    return steps


def leads_somewhere(node: Node, steps: Sequence[tuple[str, bool]]) -> str:
    """What is wrong with a fieldPath below `node`; empty when it leads to a field."""
    for name, _ in steps:
        below = node.properties.get(name) or (node.additional if node.type == "object" else None)
        if below is None:
            return f"does not refer to a valid field: {name}"
        node = below
    return ""
