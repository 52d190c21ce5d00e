"""ValidatingAdmissionPolicies at work: asked of every request they match, they refuse, warn, or are recorded.

Upstream: apiserver/pkg/admission/plugin/policy/validating/{dispatcher,validator}.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson
from loguru import logger

from cluster.apiserver.admission.api import ANNOTATION_MAX, Attributes, annotate
from cluster.apiserver.admission.expressions import values_of
from cluster.apiserver.admission.match import Matcher
from cluster.apiserver.admission.policy_set import Binding, Policy, PolicySet
from cluster.apiserver.authz import Authorizer
from cluster.apiserver.state import State, TableId
from cluster.machinery.cel import Budget, CelError
from cluster.machinery.cel.admission import CompiledPolicy, CompiledValidation, Variables, first_mismatch
from cluster.machinery.errors import (
    ApiError,
    Cause,
    Forbidden,
    Invalid,
    RequestEntityTooLarge,
    Unauthorized,
    qualified,
)
from cluster.machinery.objects import Key, Obj
from cluster.machinery.selectors import Selector, selector_of
from cluster.resources.catalog import Catalog, Descriptor

MESSAGE_MAX_BYTES = 5 * 1024
VALIDATION_FAILURE = "validation.policy.admission.k8s.io/validation_failure"
_ERRORS: Mapping[str, type[ApiError]] = {
    "Forbidden": Forbidden,
    "Invalid": Invalid,
    "RequestEntityTooLarge": RequestEntityTooLarge,
    "Unauthorized": Unauthorized,
}
_NAMESPACES = TableId("", "namespaces")


@dataclass(frozen=True, slots=True)
class Failure:
    """One reason against a request."""

    message: str
    reason: str = "Invalid"
    index: int = 0
    binding: Binding | None = None


class NotConfigured(Exception):
    """The policy or binding does not fit the cluster or the request; its failurePolicy decides."""


class PolicyEvaluation:
    """The policies of the server's state, applied to requests."""

    def __init__(self, state: State, catalog: Catalog, authorizer: Authorizer) -> None:
        self._state = state
        self._catalog = catalog
        self._authorizer = authorizer
        self._matcher = Matcher(state, catalog)
        self._policies = PolicySet(state)

    def validate(self, attributes: Attributes) -> None:
        """Raises ApiError for the first policy, by name, that denies the request."""
        budget = Budget()
        for policy in self._policies.bound():
            matched = self._matcher.match(policy.criteria, attributes)
            if matched is not None:
                self._apply(policy, attributes, matched, budget)

    def _apply(self, policy: Policy, attributes: Attributes, matched: Descriptor, budget: Budget) -> None:
        denied: Failure | None = None
        notes: dict[str, list[str]] = {}
        failures: list[Obj] = []
        if matched is not attributes.descriptor and (matched.conversion or attributes.descriptor.conversion):
            for failure in self._ignored_or(policy, f"{matched.resource.api_version} is converted to by a webhook"):
                raise _refusal(policy, failure, attributes)
            return
        values = values_of(attributes, matched, self._authorizer)
        for binding in policy.bindings:
            if binding.criteria is not None and self._matcher.match(binding.criteria, attributes) is None:
                continue
            for failure in self._failures(policy, binding, attributes, values, budget, notes):
                self._tell(policy, binding, failure, attributes)
                if "Audit" in binding.actions:
                    failures.append(_recorded(policy, binding, failure))
                if denied is None and "Deny" in binding.actions:
                    denied = replace(failure, binding=binding)
        for key, texts in notes.items():
            annotate(attributes, key, ", ".join(dict.fromkeys(texts)))
        if failures:
            _annotate_failures(attributes, failures)
        if denied is not None:
            raise _refusal(policy, denied, attributes)

    def _failures(
        self,
        policy: Policy,
        binding: Binding,
        attributes: Attributes,
        values: Mapping[str, Any],
        budget: Budget,
        notes: dict[str, list[str]],
    ) -> Iterator[Failure]:
        try:
            if policy.compiled is None:
                raise NotConfigured(policy.failure)
            params = self._params(policy, binding, attributes)
        except NotConfigured as error:
            yield from self._ignored_or(policy, f"failed to configure binding: {error}")
            return
        known = {**values, "namespaceObject": self._namespace_of(attributes)}
        for param in params:
            yield from self._evaluated(policy, policy.compiled, {**known, "params": param}, budget, notes)

    def _evaluated(
        self,
        policy: Policy,
        compiled: CompiledPolicy,
        values: dict[str, Any],
        budget: Budget,
        found: dict[str, list[str]],
    ) -> Iterator[Failure]:
        try:
            if first_mismatch(compiled.conditions, values, budget) is not None:
                return
        except CelError as error:
            yield from self._ignored_or(policy, error.message)
            return
        values["variables"] = Variables(compiled.variables, values, budget)
        for index, validation in enumerate(compiled.validations):
            try:
                holds = validation.program.evaluate(values, budget)
            except CelError as error:
                why = f"expression '{validation.program.source}' resulted in error: {error.message}"
                yield from self._ignored_or(policy, why)
                continue
            if holds is not True:
                yield Failure(
                    _message(validation, values, budget), str(validation.source.get("reason") or "Invalid"), index
                )
        for key, program in compiled.annotations:
            try:
                text = program.evaluate(values, budget)
            except CelError as error:
                why = f"failed to evaluate audit annotation {key}: {error.message}"
                yield from self._ignored_or(policy, why)
                continue
            if isinstance(text, str) and text.strip():
                found.setdefault(f"{policy.name}/{key}", []).append(text.strip())

    def _ignored_or(self, policy: Policy, why: str) -> Iterator[Failure]:
        if policy.ignores_failure:
            logger.warning("an admission policy failed and is ignored", policy=policy.name, reason=why)
        else:
            yield Failure(why)

    def _tell(self, policy: Policy, binding: Binding, failure: Failure, attributes: Attributes) -> None:
        if "Warn" in binding.actions:
            attributes.warnings.append(
                f"Validation failed for ValidatingAdmissionPolicy '{policy.name}' with binding '{binding.name}': "
                f"{failure.message}"
            )

    def _namespace_of(self, attributes: Attributes) -> Obj | None:
        if not attributes.descriptor.resource.namespaced:
            return None
        row = self._state.table(_NAMESPACES).get(Key("", attributes.key.namespace))
        return None if row is None else self._state.obj(row)

    def _params(self, policy: Policy, binding: Binding, attributes: Attributes) -> list[Obj | None]:
        """The objects to evaluate with, one after another.  Raises NotConfigured."""
        kind, ref = policy.param_kind, binding.param_ref
        if kind is None or ref is None:
            return [None]
        descriptor = self._catalog.of_kind(kind.kind, kind.version)
        if descriptor is None or descriptor.resource.version != kind.version:
            raise NotConfigured(f"failed to find resource referenced by paramKind: '{kind.kind.group}/{kind.version}, "
                                f"Kind={kind.kind.kind}'")  # fmt: skip
        namespace = self._param_namespace(descriptor, ref, attributes)
        table = self._state.table(TableId(descriptor.storage.group, descriptor.storage.plural))
        if name := ref.get("name"):
            row = table.get(Key(namespace, str(name)))
            found = [] if row is None else [row]
        else:
            selector: Selector = selector_of(ref.get("selector"))
            found = [row for row in table.ordered(namespace) if selector.matches(row.labels)]
        if not found and ref.get("parameterNotFoundAction") == "Deny":
            raise NotConfigured("no params found for policy binding with `Deny` parameterNotFoundAction")
        if descriptor.conversion is not None:
            raise NotConfigured(f"{descriptor.resource.api_version} is converted to by a webhook")
        return [descriptor.from_storage(self._state.obj(row)) for row in found]

    @staticmethod
    def _param_namespace(descriptor: Descriptor, ref: Obj, attributes: Attributes) -> str:
        stated = str(ref.get("namespace") or "")
        if not descriptor.resource.namespaced:
            if stated:
                raise NotConfigured("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
            return ""
        own = attributes.key.namespace if attributes.descriptor.resource.namespaced else ""
        if not stated and not own:
            raise NotConfigured(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
            )
        return stated or own


def _recorded(policy: Policy, binding: Binding, failure: Failure) -> Obj:
    """A failure as the audit record has it."""
    return {
        "message": failure.message,
        "policy": policy.name,
        "binding": binding.name,
        "expressionIndex": str(failure.index),
        "validationActions": sorted(binding.actions),
    }


def _annotate_failures(attributes: Attributes, failures: list[Obj]) -> None:
    """Add to what policies before this one had recorded."""
    known = attributes.call.audit if attributes.call is not None else {}
    before = orjson.loads(known.pop(VALIDATION_FAILURE, "[]"))
    listed = [*before, *failures]
    # One text holds them all: what would make it too long to be read again is left out.
    while len(text := orjson.dumps(listed).decode()) > ANNOTATION_MAX:
        listed.pop()
    annotate(attributes, VALIDATION_FAILURE, text)


def _message(validation: CompiledValidation, values: Mapping[str, Any], budget: Budget) -> str:
    if validation.message is not None:
        try:
            text = validation.message.evaluate(values, budget)
        except CelError:
            text = None
        if isinstance(text, str) and text.strip() and "\n" not in text and len(text.encode()) <= MESSAGE_MAX_BYTES:
            return text.strip()
    if stated := str(validation.source.get("message") or "").strip():
        return stated
    return f"failed expression: {validation.program.source.strip()}"


def _refusal(policy: Policy, failure: Failure, attributes: Attributes) -> ApiError:
    resource, name = attributes.descriptor.resource, attributes.key.name
    bound = f" with binding '{failure.binding.name}'" if failure.binding is not None else ""
    why = f"ValidatingAdmissionPolicy '{policy.name}'{bound} denied request: {failure.message}"
    named = f' "{name}"' if name else ""
    return _ERRORS.get(failure.reason, Invalid)(
        f"{qualified(resource.group, resource.plural)}{named} is forbidden: {why}",
        group=resource.group,
        kind=resource.plural,
        name=name,
        causes=[Cause("", why)],
    )
