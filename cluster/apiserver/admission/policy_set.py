"""The admission policies of the server's state, compiled: what is kept from one request to the next.

Upstream: apiserver/pkg/admission/plugin/policy/{generic,validating}.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cluster.apiserver.admission.match import Criteria, Rule, criteria_of
from cluster.apiserver.admission.policy import BINDINGS, POLICIES
from cluster.apiserver.state import State
from cluster.machinery.cel import CompileError
from cluster.machinery.cel.admission import CompiledPolicy, compile_policy
from cluster.machinery.objects import GroupKind, Obj, name_of
from cluster.machinery.selectors import SelectorError

_ALL = frozenset("*")
_ANYTHING = Rule(_ALL, _ALL, _ALL, frozenset(("*/*",)))


@dataclass(frozen=True, slots=True)
class ParamKind:
    kind: GroupKind
    version: str


@dataclass(frozen=True, slots=True)
class Binding:
    """`criteria` None: everything that the policy matches."""

    name: str
    criteria: Criteria | None
    actions: frozenset[str]
    param_ref: Obj | None


@dataclass(frozen=True, slots=True)
class Policy:
    """`compiled` is None when an expression is wrong (stored by another release); `failure` says how."""

    name: str
    criteria: Criteria
    compiled: CompiledPolicy | None
    failure: str
    ignores_failure: bool
    param_kind: ParamKind | None
    bindings: Sequence[Binding]


class PolicySet:
    """Looks at the state's tables each time it is asked, which costs two look-ups, and compiles again what changed."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._seen = (-1, -1)
        self._bound: Sequence[Policy] = ()

    def bound(self) -> Sequence[Policy]:
        """The policies that have bindings, by name."""
        seen = (self._state.table(POLICIES).revision, self._state.table(BINDINGS).revision)
        if seen != self._seen:
            self._bound = self._made()
            self._seen = seen
        return self._bound

    def _made(self) -> Sequence[Policy]:
        by_policy: dict[str, list[Binding]] = {}
        for row in self._state.table(BINDINGS).ordered():
            spec = self._state.obj(row).get("spec") or {}
            if (binding := _binding(row.key.name, spec)) is not None:
                by_policy.setdefault(str(spec.get("policyName") or ""), []).append(binding)
        made: list[Policy] = []
        for row in self._state.table(POLICIES).ordered():
            if not (bindings := by_policy.get(row.key.name)):
                continue
            try:
                made.append(policy_of(self._state.obj(row), bindings))
            except SelectorError:
                continue  # refused when it is written
        return made


def policy_of(obj: Obj, bindings: Sequence[Binding]) -> Policy:
    """Raises SelectorError."""
    spec = obj.get("spec") or {}
    compiled, failure = None, ""
    try:
        compiled = compile_policy(spec)
    except CompileError as error:
        failure = str(error)
    kind = spec.get("paramKind")
    group, _, version = str(kind["apiVersion"]).rpartition("/") if kind else ("", "", "")
    return Policy(
        name_of(obj),
        criteria_of(spec.get("matchConstraints") or {}),
        compiled,
        failure,
        spec.get("failurePolicy") == "Ignore",
        ParamKind(GroupKind(group, str(kind["kind"])), version) if kind else None,
        tuple(bindings),
    )


def _binding(name: str, spec: Obj) -> Binding | None:
    match = spec.get("matchResources")
    try:
        criteria = None if match is None else criteria_of(match)
    except SelectorError:
        return None
    if criteria is not None and not criteria.rules:
        criteria = replace(criteria, rules=(_ANYTHING,))  # it narrows by its selectors only
    return Binding(name, criteria, frozenset(spec.get("validationActions") or ()), spec.get("paramRef"))
