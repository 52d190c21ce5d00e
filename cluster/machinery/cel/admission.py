"""What admission's expressions may use: the request, its objects, parameters, the namespace, the requester's rights.

Upstream: apiserver/pkg/admission/plugin/cel/compile.go, apiserver/pkg/admission/plugin/policy/validating.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.machinery.cel import types as t
from cluster.machinery.cel.budget import Budget
from cluster.machinery.cel.environment import CompileError, Environment, Program
from cluster.machinery.cel.types import Field, Type
from cluster.machinery.cel.values import CelError, OverBudget
from cluster.machinery.objects import Obj

AUTHORIZER = Type("kubernetes.authorization.Authorizer")
RESOURCE_CHECK = Type("kubernetes.authorization.ResourceCheck")


def _object(name: str, /, **fields: Type) -> Type:
    return Type("object", name=name, fields={key: Field(of_type, key) for key, of_type in fields.items()})


_KIND = _object("kubernetes.GroupVersionKind", group=t.STRING, version=t.STRING, kind=t.STRING)
_RESOURCE = _object("kubernetes.GroupVersionResource", group=t.STRING, version=t.STRING, resource=t.STRING)
_USER = _object(
    "kubernetes.UserInfo",
    username=t.STRING,
    uid=t.STRING,
    groups=t.list_of(t.STRING),
    extra=t.map_of(t.STRING, t.list_of(t.STRING)),
)
REQUEST = _object(
    "kubernetes.AdmissionRequest",
    kind=_KIND,
    resource=_RESOURCE,
    subResource=t.STRING,
    requestKind=_KIND,
    requestResource=_RESOURCE,
    requestSubResource=t.STRING,
    name=t.STRING,
    namespace=t.STRING,
    operation=t.STRING,
    userInfo=_USER,
    dryRun=t.BOOL,
    options=t.DYN,
)

_ALWAYS: Mapping[str, Type] = {
    "object": t.DYN,
    "oldObject": t.DYN,
    "request": REQUEST,
    "authorizer": AUTHORIZER,
    "authorizer.requestResource": RESOURCE_CHECK,
}
CONDITIONS = Environment(_ALWAYS)
"""For match conditions of webhooks."""


def policy_environment(*, has_params: bool, object_type: Type = t.DYN, params_type: Type = t.DYN) -> Environment:
    """For everything in a policy but its variables."""
    known = {**_ALWAYS, "object": object_type, "oldObject": object_type, "namespaceObject": t.DYN}
    return Environment({**known, "params": params_type} if has_params else known)


@dataclass(frozen=True, slots=True)
class Condition:
    name: str
    program: Program


def compile_conditions(conditions: Sequence[Obj], environment: Environment = CONDITIONS) -> tuple[Condition, ...]:
    """`matchConditions` of a webhook or a policy.  Raises CompileError."""
    return tuple(
        Condition(str(condition.get("name") or ""), environment.compile(str(condition["expression"]), kinds=("bool",)))
        for condition in conditions
    )


def first_mismatch(conditions: Sequence[Condition], values: Mapping[str, Any], budget: Budget) -> Condition | None:
    """The first condition that is false; None when all hold.

    A false one decides, even after one that could not be evaluated.  Raises CelError when none is false and some could not.
    """
    failures: list[str] = []
    for condition in conditions:
        try:
            if condition.program.evaluate(values, budget) is not True:
                return condition
        except CelError as error:
            failures.append(f"expression '{condition.program.source}' resulted in error: {error.message}")
    if failures:
        raise CelError(failures[0] if len(failures) == 1 else "[" + ", ".join(failures) + "]")
    return None


@dataclass(frozen=True, slots=True)
class Expression:
    """One expression of a policy and where it stands; without a program, `failure` says why (empty: it is not there)."""

    path: str
    source: str
    program: Program | None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """`variables` by name, in their order; validations with their messages; audit annotations by key."""

    conditions: tuple[Condition, ...]
    variables: Mapping[str, Program]
    validations: tuple[CompiledValidation, ...]
    annotations: tuple[tuple[str, Program], ...]


@dataclass(frozen=True, slots=True)
class CompiledValidation:
    source: Obj
    program: Program
    message: Program | None


def expressions_of(spec: Obj, *, object_type: Type = t.DYN, params_type: Type = t.DYN) -> Iterator[Expression]:
    """Every expression of a policy's spec, compiled; paths begin with `spec.`."""
    plain = policy_environment(has_params=bool(spec.get("paramKind")), object_type=object_type, params_type=params_type)
    for index, condition in enumerate(spec.get("matchConditions") or ()):
        yield _compiled(plain, f"spec.matchConditions[{index}].expression", condition.get("expression"), ("bool",))
    fields: dict[str, Field] = {}
    environment = plain.with_variables({"variables": Type("object", name="variables", fields=fields)})
    for index, variable in enumerate(spec.get("variables") or ()):
        made = _compiled(environment, f"spec.variables[{index}].expression", variable.get("expression"), ())
        yield made
        name = str(variable.get("name") or "")
        # A variable sees those before it only.
        fields = {**fields, name: Field(made.program.type if made.program is not None else t.DYN, name)}
        environment = plain.with_variables({"variables": Type("object", name="variables", fields=fields)})
    for index, validation in enumerate(spec.get("validations") or ()):
        at = f"spec.validations[{index}]"
        yield _compiled(environment, f"{at}.expression", validation.get("expression"), ("bool",))
        if text := validation.get("messageExpression"):
            yield _compiled(environment, f"{at}.messageExpression", text, ("string",))
    for index, annotation in enumerate(spec.get("auditAnnotations") or ()):
        at = f"spec.auditAnnotations[{index}].valueExpression"
        yield _compiled(environment, at, annotation.get("valueExpression"), ("string", "null_type"))


def _compiled(environment: Environment, path: str, source: Any, kinds: tuple[str, ...]) -> Expression:
    text = str(source or "")
    if not text.strip():
        return Expression(path, text, None)  # its absence is told apart from what is wrong with it
    try:
        return Expression(path, text, environment.compile(text, kinds=kinds))
    except CompileError as error:
        return Expression(path, text, None, str(error))


def compile_policy(spec: Obj) -> CompiledPolicy:
    """Raises CompileError for the first expression that is wrong."""
    programs: dict[str, Program] = {}
    for expression in expressions_of(spec):
        if expression.program is None:
            raise CompileError(expression.failure or f"{expression.path}: expression is not specified")
        programs[expression.path] = expression.program
    return CompiledPolicy(
        tuple(
            Condition(str(condition.get("name") or ""), programs[f"spec.matchConditions[{index}].expression"])
            for index, condition in enumerate(spec.get("matchConditions") or ())
        ),
        {
            str(variable["name"]): programs[f"spec.variables[{index}].expression"]
            for index, variable in enumerate(spec.get("variables") or ())
        },
        tuple(
            CompiledValidation(
                validation,
                programs[f"spec.validations[{index}].expression"],
                programs.get(f"spec.validations[{index}].messageExpression"),
            )
            for index, validation in enumerate(spec.get("validations") or ())
        ),
        tuple(
            (str(annotation["key"]), programs[f"spec.auditAnnotations[{index}].valueExpression"])
            for index, annotation in enumerate(spec.get("auditAnnotations") or ())
        ),
    )


class Variables(Mapping[str, Any]):
    """A policy's variables for one evaluation: each computed when first read, and once."""

    def __init__(self, programs: Mapping[str, Program], values: Mapping[str, Any], budget: Budget) -> None:
        self._programs = programs
        self._values = {**values, "variables": self}
        self._budget = budget
        self._known: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._known:
            try:
                self._known[name] = self._programs[name].evaluate(self._values, self._budget)
            except OverBudget:
                raise
            except CelError as error:
                self._known[name] = error
        if isinstance(value := self._known[name], CelError):
            raise CelError(f'composited variable "{name}" fails to evaluate: {value.message}')
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._programs)

    def __len__(self) -> int:
        return len(self._programs)
