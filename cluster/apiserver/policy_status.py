"""The status of ValidatingAdmissionPolicies: what in their expressions does not fit the types they name.

Only warnings: expressions are evaluated without types, and a policy may match kinds that differ.  Upstream:
apiserver/pkg/admission/plugin/policy/validating/typechecking.go, pkg/controller/validatingadmissionpolicystatus.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import product

from loguru import logger

from cluster.apiserver.admission.policy import POLICIES
from cluster.apiserver.state import Row, State, subscriptions
from cluster.base.clock import Clock
from cluster.client.transport import Transport
from cluster.machinery.errors import ApiError, Conflict, NotFound
from cluster.machinery.objects import Key, Obj, generation_of
from cluster.resources.builtin import VALIDATING_ADMISSION_POLICIES
from cluster.resources.catalog import Catalog, Descriptor

RETRY_S = 1.0
TYPES_MAX = 10
"""Types that one policy is checked against (upstream: maxTypesToCheck)."""


class PolicyStatuses:
    """`transport` acts as a superuser: it writes the policies' status."""

    def __init__(self, *, state: State, catalog: Catalog, clock: Clock, transport: Transport) -> None:
        self._state = state
        self._catalog = catalog
        self._clock = clock
        self._transport = transport
        self._due: set[str] = set()
        self._wake = asyncio.Event()

    def follow(self) -> None:
        """Look at the policies present and to come; call once the state is loaded."""
        table = self._state.table(POLICIES)
        table.subscribers[next(subscriptions)] = self._on_change
        for row in table.ordered():
            self._on_change(None, row)

    async def run(self) -> None:
        """Keep statuses right, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            due, self._due = sorted(self._due), set()
            failed = [name for name in due if not await self._settled(name)]
            if failed:
                await self._clock.sleep(RETRY_S)
                self._request(*failed)

    def _on_change(self, old: Row | None, new: Row | None) -> None:
        if new is not None:
            self._request(new.key.name)

    def _request(self, *names: str) -> None:
        self._due.update(names)
        self._wake.set()

    async def _settled(self, name: str) -> bool:
        """Write one policy's status if it is of another generation; False when it has to be looked at again."""
        row = self._state.table(POLICIES).get(Key("", name))
        if row is None:
            return True
        policy = self._state.obj(row)
        status = policy.get("status") or {}
        if status.get("observedGeneration") == generation_of(policy):
            return True
        warnings = list(expression_warnings(policy.get("spec") or {}, self._catalog))
        checked = {"expressionWarnings": warnings} if warnings else {}
        made = {**status, "observedGeneration": generation_of(policy), "typeChecking": checked}
        try:
            await self._transport.update(
                VALIDATING_ADMISSION_POLICIES, {**policy, "status": made}, subresource="status"
            )
        except (Conflict, NotFound):
            return True  # changed meanwhile, which asks for it again
        except ApiError as error:
            logger.warning("the status of an admission policy could not be written", policy=name, reason=error.message)
            return False
        return True


def expression_warnings(spec: Obj, catalog: Catalog) -> Iterator[Obj]:
    """One entry an expression that some of the types cannot have: its path, and each type with what is wrong."""
    from cluster.machinery.cel.admission import expressions_of
    from cluster.machinery.cel.schema import type_of_resource

    found: dict[str, list[str]] = {}
    for descriptor in _types_of(spec, catalog):
        kind = descriptor.resource
        declared = type_of_resource(descriptor.node, kind.kind)
        for expression in expressions_of(spec, object_type=declared):
            if expression.failure and expression.path.startswith("spec.validations"):
                why = expression.failure.removeprefix("compilation failed: ")
                found.setdefault(expression.path, []).append(f"{kind.api_version}, Kind={kind.kind}: {why}\n")
    for path, warnings in found.items():
        yield {"fieldRef": path, "warning": "".join(warnings)}


def _types_of(spec: Obj, catalog: Catalog) -> Sequence[Descriptor]:
    """The types that the rules name one by one, at most TYPES_MAX."""
    found: dict[str, Descriptor] = {}
    for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
        words = [rule.get(field) or () for field in ("apiGroups", "apiVersions", "resources")]
        if any("*" in word for listed in words for word in listed):
            continue
        for group, version, plural in product(*words):
            descriptor = catalog.get(group, version, plural)
            if descriptor is not None:
                found[descriptor.definition] = descriptor
    return list(found.values())[:TYPES_MAX]
