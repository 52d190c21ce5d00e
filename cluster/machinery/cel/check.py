"""Whether a schema's `x-kubernetes-validations` are sound, and what they may cost: asked when the schema is written.

Upstream: apiextensions-apiserver/pkg/apis/apiextensions/validation/validation.go.  Deliberate difference: the estimate counts
the turns of loops, and leaves out the lengths of texts.
"""

from __future__ import annotations

from collections.abc import Iterator

from cluster.machinery import field_errors
from cluster.machinery.cel.budget import ESTIMATE_MAX, ESTIMATES_MAX
from cluster.machinery.cel.calls import size_estimate
from cluster.machinery.cel.rules import Rule, compile_rule, leads_somewhere, parse_path
from cluster.machinery.cel.schema import type_of_node
from cluster.machinery.errors import Cause
from cluster.machinery.objects import Obj
from cluster.machinery.schema import Node, compile_structural

REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
MESSAGE_MAX = 2048
RULES_MAX = 2000
"""Rules of one schema: compiling them holds up everything else."""


def check_rules(schema: Obj, path: str) -> tuple[Cause, ...]:
    """What is wrong with the rules of a structural schema."""
    checker = _Checker()
    causes = tuple(checker.check(compile_structural(schema), path, "self", 1.0, ""))
    if checker.cost > ESTIMATES_MAX:
        what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        why = _too_costly(what, checker.cost, ESTIMATES_MAX)
        return (*causes, field_errors.forbidden(path, why))
    return causes


class _Checker:
    def __init__(self) -> None:
        self.cost = 0.0
        self._count = 0

    def check(self, node: Node, path: str, name: str, cardinality: float, uncorrelated: str) -> Iterator[Cause]:
        """`cardinality`: how often this node stands in an object at most; `uncorrelated`: the list that hides its old value."""
        declared = type_of_node(node, name) if node.rules or node.items or node.additional else None
        for index, rule in enumerate(node.rules):
            at = f"{path}.x-kubernetes-validations[{index}]"
            self._count += 1
            if self._count > RULES_MAX:
                yield field_errors.forbidden(at, f"must have at most {RULES_MAX} rules")
                return
            yield from _check_words(rule, at)
            if not str(rule.get("rule") or "").strip():
                continue
            if declared is None:
                yield field_errors.invalid(
                    f"{at}.rule", rule["rule"], "x-kubernetes-validations are not supported on this type"
                )
                continue
            compiled = compile_rule(rule, declared)
            yield from _check_compiled(compiled, node, at, uncorrelated)
            if compiled.program is not None:
                yield from self._charge(compiled, cardinality, at)
        for key, part in node.properties.items():
            if not (node.embedded_resource and key == "metadata"):
                hidden = uncorrelated or (path if node.map_type == "atomic" else "")
                yield from self.check(part, f"{path}.properties[{key}]", f"{name}.{key}", cardinality, hidden)
        often = cardinality * (size_estimate(declared) if declared is not None else 1)
        if node.items is not None:
            hidden = uncorrelated or ("" if node.list_type == "map" else path)
            yield from self.check(node.items, f"{path}.items", f"{name}.@idx", often, hidden)
        if node.additional is not None:
            yield from self.check(node.additional, f"{path}.additionalProperties", f"{name}.@elem", often, uncorrelated)

    def _charge(self, rule: Rule, cardinality: float, at: str) -> Iterator[Cause]:
        for program, what in ((rule.program, "rule"), (rule.message, "messageExpression")):
            if program is None:
                continue
            cost = program.estimate * cardinality
            self.cost += cost
            if cost > ESTIMATE_MAX:
                yield field_errors.forbidden(f"{at}.{what}", _too_costly(f"estimated {what} cost", cost, ESTIMATE_MAX))


def _check_words(rule: Obj, at: str) -> Iterator[Cause]:
    text, message = str(rule.get("rule") or "").strip(), str(rule.get("message") or "")
    if not text:
        yield field_errors.required(f"{at}.rule", "rule is not specified")
    elif message and not message.strip():
        yield field_errors.invalid(f"{at}.message", message, "message must be non-empty if specified")
    elif len(message) > MESSAGE_MAX:
        why = f"message must have a maximum length of {MESSAGE_MAX} characters"
        yield field_errors.invalid(f"{at}.message", message[:10] + "...", why)
    elif _has_newlines(message.strip()):
        yield field_errors.invalid(f"{at}.message", message, "message must not contain line breaks")
    elif _has_newlines(text) and not message:
        yield field_errors.required(f"{at}.message", "message must be specified if rule contains line breaks")
    expression = rule.get("messageExpression")
    if expression and not str(expression).strip():
        yield field_errors.required(f"{at}.messageExpression", "messageExpression must be non-empty if specified")
    if (reason := rule.get("reason")) is not None and reason not in REASONS:
        yield field_errors.not_supported(f"{at}.reason", reason, REASONS)


def _check_compiled(rule: Rule, node: Node, at: str, uncorrelated: str) -> Iterator[Cause]:
    text = rule.source["rule"]
    if rule.failure:
        yield field_errors.invalid(f"{at}.rule", text, rule.failure)
    if rule.message_failure:
        yield field_errors.invalid(f"{at}.messageExpression", rule.source["messageExpression"], rule.message_failure)
    if rule.is_transition and uncorrelated:
        why = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {uncorrelated}"
        yield field_errors.invalid(f"{at}.rule", text, why)
    if not rule.is_transition and not rule.failure and rule.source.get("optionalOldSelf") is not None:
        why = "may not be set if oldSelf is not used in rule"
        yield field_errors.invalid(f"{at}.optionalOldSelf", rule.source["optionalOldSelf"], why)
    if path := rule.source.get("fieldPath"):
        try:
            wrong = leads_somewhere(node, parse_path(str(path)))
        except ValueError as error:
            wrong = str(error)
        if wrong:
            yield field_errors.invalid(f"{at}.fieldPath", path, f"fieldPath must be a valid path: {wrong}")


def _has_newlines(text: str) -> bool:
    return "\n" in text or "\r" in text


def _too_costly(what: str, cost: float, most: float) -> str:
    factor = cost / most
    shown = "more than 100x" if factor > 100 else f"{factor:.1f}x" if factor >= 1.5 else f"{factor:f}x"
    return (
        f"{what} exceeds budget by factor of {shown} (try simplifying the rule, or adding maxItems, maxProperties, and "
        "maxLength where arrays, maps, and strings are declared)"
    )
