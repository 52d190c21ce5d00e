"""ValidatingAdmissionPolicies and their bindings: defaults and rules.  What they refuse is admission's question.

Upstream: pkg/apis/admissionregistration/{v1/defaults,validation/validation}.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import duplicate, forbidden, invalid, not_supported, required, too_many
from cluster.machinery.names import qualified_name_errors, subdomain_errors
from cluster.machinery.objects import GroupKind, Obj, name_of
from cluster.resources.admission_webhooks import validate_rule
from cluster.resources.defaulting import each, filled, inner
from cluster.resources.kind import Kind
from cluster.resources.match_conditions import validate_conditions
from cluster.resources.pod_validation import validate_label_selector
from cluster.resources.printing import AGE, NAME, Column
from cluster.resources.strategy import GenericStrategy

GROUP = "admissionregistration.k8s.io"
ACTIONS = ("Audit", "Deny", "Warn")
REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")
ANNOTATIONS_MAX = 20
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
MATCH_POLICIES = ("Equivalent", "Exact")


class PolicyStrategy(GenericStrategy):
    namespaced = False
    has_status = True
    has_generation = True

    def default(self, obj: Obj) -> Obj:
        spec = filled(obj.get("spec") or {}, absent={"failurePolicy": "Fail"})
        inner(spec, "matchConstraints", _default_match)
        return {**obj, "spec": spec}

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(_validate_policy(obj))


class BindingStrategy(GenericStrategy):
    namespaced = False
    has_generation = True

    def default(self, obj: Obj) -> Obj:
        spec = filled(obj.get("spec") or {})
        inner(spec, "matchResources", _default_match)
        return {**obj, "spec": spec}

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(_validate_binding(obj.get("spec") or {}))


def _default_match(match: Obj) -> Obj:
    made = filled(match, absent={"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}})
    for rules in ("resourceRules", "excludeResourceRules"):
        each(made, rules, lambda rule: filled(rule, absent={"scope": "*"}))
    return made


def _validate_policy(policy: Obj) -> Iterator[Cause]:
    spec = policy.get("spec") or {}
    if (failure := spec.get("failurePolicy")) not in ("Fail", "Ignore"):
        yield not_supported("spec.failurePolicy", failure, ("Fail", "Ignore"))
    if (kind := spec.get("paramKind")) is not None:
        yield from _validate_param_kind(kind)
    match = spec.get("matchConstraints")
    if match is None:
        yield required("spec.matchConstraints")
    else:
        yield from _validate_match(match, "spec.matchConstraints", rules_required=True)
    yield from validate_conditions(spec.get("matchConditions") or (), "spec.matchConditions")
    if not spec.get("validations") and not spec.get("auditAnnotations"):
        yield required("spec.validations", "validations or auditAnnotations must contain at least one item")
    yield from _validate_variables(spec.get("variables") or ())
    for index, validation in enumerate(spec.get("validations") or ()):
        yield from _validate_validation(validation, f"spec.validations[{index}]")
    yield from _validate_annotations(spec.get("auditAnnotations") or (), name_of(policy))
    from cluster.machinery.cel.admission import expressions_of  # loaded with the first policy

    for expression in expressions_of(spec):
        if expression.failure:
            yield invalid(expression.path, expression.source, expression.failure)


def _validate_param_kind(kind: Obj) -> Iterator[Cause]:
    version = str(kind.get("apiVersion") or "")
    if not version:
        yield required("spec.paramKind.apiVersion")
    elif version.count("/") > 1 or not version.rpartition("/")[2]:
        yield invalid("spec.paramKind.apiVersion", version, f"unexpected GroupVersion string: {version}")
    if not kind.get("kind"):
        yield required("spec.paramKind.kind")


def _validate_match(match: Obj, path: str, *, rules_required: bool) -> Iterator[Cause]:
    if match.get("matchPolicy") not in MATCH_POLICIES:
        yield not_supported(f"{path}.matchPolicy", match.get("matchPolicy") or "", MATCH_POLICIES)
    for selector in ("namespaceSelector", "objectSelector"):
        yield from validate_label_selector(match.get(selector), f"{path}.{selector}")
    if rules_required and not match.get("resourceRules"):
        yield required(f"{path}.resourceRules")
    for field in ("resourceRules", "excludeResourceRules"):
        for index, rule in enumerate(match.get(field) or ()):
            yield from validate_rule(rule, f"{path}.{field}[{index}]")
            names: Sequence[str] = rule.get("resourceNames") or ()
            for at, name in enumerate(names):
                if name in names[:at]:
                    yield duplicate(f"{path}.{field}[{index}].resourceNames[{at}]", name)


def _validate_variables(variables: Sequence[Obj]) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, variable in enumerate(variables):
        path, name = f"spec.variables[{index}]", str(variable.get("name") or "")
        if not name:
            yield required(f"{path}.name", "name is not specified")
        elif not _IDENTIFIER.match(name):
            yield invalid(f"{path}.name", name, "name is not a valid CEL identifier")
        elif name in seen:
            yield duplicate(f"{path}.name", name)
        seen.add(name)
        if not str(variable.get("expression") or "").strip():
            yield required(f"{path}.expression", "expression is not specified")


def _validate_validation(validation: Obj, path: str) -> Iterator[Cause]:
    expression, message = str(validation.get("expression") or "").strip(), str(validation.get("message") or "")
    if not expression:
        yield required(f"{path}.expression", "expression is not specified")
    if message and not message.strip():
        yield invalid(f"{path}.message", message, "message must be non-empty if specified")
    elif "\n" in message.strip():
        yield invalid(f"{path}.message", message, "message must not contain line breaks")
    elif "\n" in expression and not message:
        yield required(f"{path}.message", "message must be specified if expression contains line breaks")
    text = validation.get("messageExpression")
    if text and not str(text).strip():
        yield invalid(f"{path}.messageExpression", text, "must be non-empty if specified")
    if (reason := validation.get("reason")) and reason not in REASONS:
        yield not_supported(f"{path}.reason", reason, REASONS)


def _validate_annotations(annotations: Sequence[Obj], policy: str) -> Iterator[Cause]:
    if len(annotations) > ANNOTATIONS_MAX:
        yield too_many("spec.auditAnnotations", len(annotations), ANNOTATIONS_MAX)
    seen: set[str] = set()
    for index, annotation in enumerate(annotations):
        path, key = f"spec.auditAnnotations[{index}]", str(annotation.get("key") or "")
        if not key:
            yield required(f"{path}.key")
        for why in qualified_name_errors(f"{policy}/{key}") if key else ():
            yield invalid(f"{path}.key", key, why)
        if key in seen:
            yield duplicate(f"{path}.key", key)
        seen.add(key)
        if not str(annotation.get("valueExpression") or "").strip():
            yield required(f"{path}.valueExpression", "valueExpression is not specified")


def _validate_binding(spec: Obj) -> Iterator[Cause]:
    name = str(spec.get("policyName") or "")
    if not name:
        yield required("spec.policyName")
    for why in subdomain_errors(name) if name else ():
        yield invalid("spec.policyName", name, why)
    if (ref := spec.get("paramRef")) is not None:
        yield from _validate_param_ref(ref)
    if (match := spec.get("matchResources")) is not None:
        yield from _validate_match(match, "spec.matchResources", rules_required=False)
    actions: Sequence[str] = spec.get("validationActions") or ()
    if not actions:
        yield required("spec.validationActions")
    for index, action in enumerate(actions):
        if action not in ACTIONS:
            yield not_supported(f"spec.validationActions[{index}]", action, ACTIONS)
        if action in actions[:index]:
            yield duplicate(f"spec.validationActions[{index}]", action)
    if "Deny" in actions and "Warn" in actions:
        why = (
            "must not contain both Deny and Warn (repeating the same validation failure information in the API response and "
            "headers serves no purpose)"
        )
        yield invalid("spec.validationActions", list(actions), why)


def _validate_param_ref(ref: Obj) -> Iterator[Cause]:
    name, selector, path = ref.get("name"), ref.get("selector"), "spec.paramRef"
    if not name and selector is None:
        yield required(f"{path}.name", "one of name or selector must be specified")
    if name:
        if selector is not None:
            yield forbidden(f"{path}.name", "name and selector are mutually exclusive")
        for why in subdomain_errors(str(name)):
            yield invalid(f"{path}.name", name, why)
    if selector is not None:
        yield from validate_label_selector(selector, f"{path}.selector")
    action = ref.get("parameterNotFoundAction")
    if not action:
        yield required(f"{path}.parameterNotFoundAction")
    elif action not in ("Allow", "Deny"):
        yield not_supported(f"{path}.parameterNotFoundAction", action, ("Allow", "Deny"))


def _count(*path: str) -> Column:
    def counted(obj: Obj, now: object) -> int:
        value: object = obj
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        return len(value) if isinstance(value, list) else 0

    return Column("Validations", counted, "integer")


def _param_kind(obj: Obj, now: object) -> str:
    kind = (obj.get("spec") or {}).get("paramKind")
    return f"{kind['apiVersion']}/{kind['kind']}" if kind else "<unset>"


def _param_ref(obj: Obj, now: object) -> str:
    ref = (obj.get("spec") or {}).get("paramRef")
    if not ref:
        return "<unset>"
    what = ref.get("name") or "*"
    return f"{ref['namespace']}/{what}" if ref.get("namespace") else str(what)


KINDS: Mapping[GroupKind, Kind] = {
    GroupKind(GROUP, "ValidatingAdmissionPolicy"): Kind(
        PolicyStrategy(),
        (NAME, _count("spec", "validations"), Column("ParamKind", _param_kind, "string"), AGE),
    ),
    GroupKind(GROUP, "ValidatingAdmissionPolicyBinding"): Kind(
        BindingStrategy(),
        (
            NAME,
            Column("PolicyName", lambda obj, now: str((obj.get("spec") or {}).get("policyName", "")), "string"),
            Column("ParamRef", _param_ref, "string"),
            AGE,
        ),
    ),
}
