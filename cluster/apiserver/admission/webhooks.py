"""Admission webhooks: which are configured, who is asked in what order, and what becomes of their answers.

Mutating ones are asked one after another, by name of their configuration, each seeing what the one before left; validating
ones all at once.  Without configurations `mutates` and `validates` are False and nothing here runs.
Upstream: apiserver/pkg/admission/plugin/webhook/{mutating,validating}/dispatcher.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from loguru import logger

from cluster.apiserver.admission.api import Attributes, annotate, replaced
from cluster.apiserver.admission.match import GROUP, Criteria, Matcher, criteria_of
from cluster.apiserver.admission.review import InvalidReview, Verdict, converted, review_of, verdict_of
from cluster.apiserver.authz import Authorizer
from cluster.apiserver.conversion import Converter
from cluster.apiserver.state import Row, State, TableId, subscriptions
from cluster.apiserver.webhook_client import WebhookClient, WebhookFailed
from cluster.base.entropy import Entropy
from cluster.machinery.errors import ApiError, BadRequest, InternalError
from cluster.machinery.objects import Obj, meta_of, name_of
from cluster.machinery.patch import json_patch
from cluster.resources.admission_webhooks import TIMEOUT_DEFAULT_S
from cluster.resources.catalog import Catalog, Descriptor

if TYPE_CHECKING:
    from cluster.machinery.cel.admission import Condition

MUTATING = TableId(GROUP, "mutatingwebhookconfigurations")
VALIDATING = TableId(GROUP, "validatingwebhookconfigurations")

Redo = Callable[[Obj], Obj]
"""An object that a webhook changed, typed and defaulted anew."""

_FIXED = ("name", "namespace", "uid")
_KEPT = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generateName",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
)


@dataclass(frozen=True, slots=True)
class Webhook:
    """One webhook of one configuration."""

    configuration: str
    name: str
    client_config: Obj
    criteria: Criteria
    conditions: Sequence[Condition]
    timeout_s: float
    ignores_failure: bool
    has_side_effects: bool
    is_reinvoked: bool
    mutating: bool


@dataclass(frozen=True, slots=True)
class _Match:
    """A webhook to ask in `version`, and the request with its objects as far as a webhook has to convert them to it."""

    webhook: Webhook
    version: Descriptor
    attributes: Attributes


@dataclass(slots=True)
class _Round:
    """One request's way past the mutating webhooks."""

    attributes: Attributes
    asked: list[Webhook] = field(default_factory=list)
    again: list[Webhook] = field(default_factory=list)
    changed: bool = False


class Webhooks:
    """Follows the configurations in the server's own state."""

    def __init__(
        self,
        *,
        state: State,
        catalog: Catalog,
        entropy: Entropy,
        client: WebhookClient,
        authorizer: Authorizer,
        converter: Converter,
    ) -> None:
        self._state = state
        self._authorizer = authorizer
        self._entropy = entropy
        self._client = client
        self._converter = converter
        self._matcher = Matcher(state, catalog)
        self._mutating: Sequence[Webhook] = ()
        self._validating: Sequence[Webhook] = ()

    @property
    def mutates(self) -> bool:
        return bool(self._mutating)

    @property
    def validates(self) -> bool:
        return bool(self._validating)

    def follow(self) -> None:
        """Obey the configurations present and to come; call once the state is loaded."""
        for table_id in (MUTATING, VALIDATING):
            self._state.table(table_id).subscribers[next(subscriptions)] = self._on_change
        self._on_change(None, None)

    async def mutate(self, attributes: Attributes, redo: Redo, plugins: Callable[[Attributes], Obj]) -> Obj:
        """The object as the webhooks leave it; `plugins` are the mutating plugins, which see what was changed.

        Raises ApiError: a webhook's refusal, or InternalError for one that cannot be asked.
        """
        turn = _Round(attributes)
        for webhook in self._mutating:
            await self._take(turn, webhook, redo)
        if turn.changed:
            after = plugins(turn.attributes)
            if after != turn.attributes.obj:
                turn.attributes = replaced(turn.attributes, after)
                turn.again = [webhook for webhook in turn.asked if webhook.is_reinvoked]
            for webhook in tuple(turn.again):
                await self._take(turn, webhook, redo)
        return turn.attributes.obj

    async def validate(self, attributes: Attributes) -> None:
        """Raises ApiError: the first refusal, in the webhooks' order."""
        matched = [one for webhook in self._validating if (one := await self._matched(webhook, attributes)) is not None]
        if not matched:
            return
        answers = await asyncio.gather(*(self._ask(one) for one in matched), return_exceptions=True)
        for answer in answers:
            match answer:
                case BaseException():
                    raise answer
                case Verdict():
                    attributes.warnings.extend(answer.warnings)
        for one, answer in zip(matched, answers, strict=True):
            _annotate(one.webhook, answer, attributes)
        for answer in answers:
            if isinstance(answer, Verdict) and answer.refusal is not None:
                raise answer.refusal

    async def _take(self, turn: _Round, webhook: Webhook, redo: Redo) -> None:
        """Ask one mutating webhook and go on with what it leaves."""
        attributes = turn.attributes
        matched = await self._matched(webhook, attributes)
        if matched is None:
            return
        verdict = await self._ask(matched)
        if verdict is None:
            return
        attributes.warnings.extend(verdict.warnings)
        _annotate(webhook, verdict, attributes)
        if verdict.refusal is not None:
            raise verdict.refusal
        if verdict.patch:
            new = await self._patched(matched, attributes, verdict.patch, redo)
            if new != attributes.obj:
                turn.attributes = replaced(attributes, new)
                turn.changed = True
                # Those asked before did not see this.
                turn.again = [one for one in turn.asked if one.is_reinvoked and one is not webhook]
        if webhook not in turn.asked:
            turn.asked.append(webhook)

    async def _matched(self, webhook: Webhook, attributes: Attributes) -> _Match | None:
        """In which version the webhook is to be asked, and about what; None when it is not.  Raises InternalError."""
        version = self._matcher.match(webhook.criteria, attributes)
        if version is None:
            return None
        shown = await self._converter.attributes(attributes, version)
        matched = _Match(webhook, version, shown)
        if not webhook.conditions:
            return matched
        from cluster.apiserver.admission.expressions import values_of
        from cluster.machinery.cel import Budget, CelError
        from cluster.machinery.cel.admission import first_mismatch

        try:
            values = values_of(shown, version, self._authorizer)
            return matched if first_mismatch(webhook.conditions, values, Budget()) is None else None
        except CelError as error:
            if webhook.ignores_failure:
                logger.warning("an admission webhook failed and is ignored", webhook=webhook.name, reason=error.message)
                return None
            raise InternalError(f"Internal error occurred: {error.message}") from None

    async def _ask(self, matched: _Match) -> Verdict | None:
        """What the webhook says; None when it could not be asked and that is ignored."""
        webhook, attributes = matched.webhook, matched.attributes
        if attributes.dry_run and webhook.has_side_effects:
            raise BadRequest(f'admission webhook "{webhook.name}" does not support dry run')
        uid = self._entropy.uid()
        body = orjson.dumps(review_of(attributes, matched.version, uid))
        try:
            answer = await self._client.call(webhook.client_config, body, timeout_s=webhook.timeout_s)
            return verdict_of(webhook.name, answer, uid, mutating=webhook.mutating)
        except WebhookFailed as error:
            reason = f"failed to call webhook: {error}"
        except InvalidReview as error:
            reason = f"received invalid webhook response: {error}"
        if webhook.ignores_failure:
            logger.warning("an admission webhook failed and is ignored", webhook=webhook.name, reason=reason)
            return None
        raise InternalError(f'Internal error occurred: failed calling webhook "{webhook.name}": {reason}')

    async def _patched(self, matched: _Match, attributes: Attributes, patch: Any, redo: Redo) -> Obj:
        """The object after a webhook's patch, in the request's own version."""
        webhook, version, own = matched.webhook, matched.version, attributes.descriptor
        if attributes.operation in ("DELETE", "CONNECT") or attributes.obj.get("kind") != own.resource.kind:
            raise _failed(webhook, "attempted to modify the object, which is not supported for this operation")
        shown = converted(matched.attributes.obj, own, version)
        try:
            new = json_patch(shown, patch)
        except ApiError as error:
            raise _failed(webhook, f"returned a patch that does not fit: {error.message}") from None
        if (new.get("apiVersion"), new.get("kind")) != (shown.get("apiVersion"), shown.get("kind")):
            raise _failed(webhook, "may not change apiVersion or kind")
        if version is not own:
            conversion = own.conversion or version.conversion
            new = (
                own.from_storage(version.to_storage(new))
                if conversion is None
                else await self._converter.obj(conversion, new, own.resource.api_version)
            )
        return _redone(webhook, attributes, new, redo)

    def _on_change(self, old: Row | None, new: Row | None) -> None:
        self._mutating = self._configured(MUTATING, mutating=True)
        self._validating = self._configured(VALIDATING, mutating=False)

    def _configured(self, table_id: TableId, *, mutating: bool) -> Sequence[Webhook]:
        found: list[Webhook] = []
        for row in self._state.table(table_id).ordered():
            configuration = self._state.obj(row)
            for webhook in configuration.get("webhooks") or ():
                try:
                    found.append(_webhook(name_of(configuration), webhook, mutating=mutating))
                except ValueError as error:
                    # Validated when it was written; another release may have had other rules.
                    logger.error("an admission webhook cannot be used", webhook=webhook["name"], reason=str(error))
        return tuple(found)


def _annotate(webhook: Webhook, answer: Any, attributes: Attributes) -> None:
    if isinstance(answer, Verdict):
        for key, text in (answer.audit_annotations or {}).items():
            annotate(attributes, f"{webhook.name}/{key}", text)


def _webhook(configuration: str, webhook: Obj, *, mutating: bool) -> Webhook:
    return Webhook(
        configuration=configuration,
        name=str(webhook["name"]),
        client_config=webhook["clientConfig"],
        criteria=criteria_of(webhook),
        conditions=_conditions_of(webhook),
        timeout_s=float(webhook.get("timeoutSeconds", TIMEOUT_DEFAULT_S)),
        ignores_failure=webhook.get("failurePolicy") == "Ignore",
        has_side_effects=webhook.get("sideEffects") not in ("None", "NoneOnDryRun"),
        is_reinvoked=webhook.get("reinvocationPolicy") == "IfNeeded",
        mutating=mutating,
    )


def _conditions_of(webhook: Obj) -> Sequence[Condition]:
    """Raises ValueError for an expression that does not compile."""
    if not (conditions := webhook.get("matchConditions")):
        return ()
    from cluster.machinery.cel.admission import compile_conditions  # loaded with the first condition

    return compile_conditions(conditions)


def _redone(webhook: Webhook, attributes: Attributes, new: Obj, redo: Redo) -> Obj:
    """The object that a webhook left, typed anew, with what only the server may set."""
    meta, before = new.get("metadata"), meta_of(attributes.obj)
    if not isinstance(meta, dict) or any(meta.get(name) != before.get(name) for name in _FIXED):
        raise _failed(webhook, "may not change the object's name, namespace or uid")
    kept = {name: value for name, value in meta.items() if name not in _KEPT}
    kept |= {name: before[name] for name in _KEPT if name in before}
    try:
        return redo({**new, "metadata": kept})
    except ApiError as error:
        raise _failed(webhook, f"left an object that cannot be read: {error.message}") from None


def _failed(webhook: Webhook, why: str) -> InternalError:
    return InternalError(f'Internal error occurred: admission webhook "{webhook.name}" {why}')
