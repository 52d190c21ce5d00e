"""Mutating- and ValidatingWebhookConfigurations: defaults and rules.  Whom they ask about what is admission's question.

Upstream: pkg/apis/admissionregistration/{v1/defaults,validation/validation}.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from urllib.parse import urlsplit

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import duplicate, invalid, not_supported, required
from cluster.machinery.names import subdomain_errors
from cluster.machinery.objects import GroupKind, Obj
from cluster.resources.defaulting import each, filled
from cluster.resources.kind import Kind
from cluster.resources.match_conditions import validate_conditions, validate_expressions
from cluster.resources.pod_validation import validate_label_selector
from cluster.resources.printing import AGE, NAME, Column
from cluster.resources.strategy import GenericStrategy

GROUP = "admissionregistration.k8s.io"
TIMEOUT_DEFAULT_S, TIMEOUT_MAX_S = 10, 30
OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
SCOPES = ("*", "Cluster", "Namespaced")
REVIEW_VERSIONS = ("v1",)
"""The versions of AdmissionReview that are spoken; a webhook must take one of them."""
_KNOWN_REVIEW_VERSIONS = ("v1", "v1beta1")


class WebhookConfigurationStrategy(GenericStrategy):
    namespaced = False
    has_generation = True

    def __init__(self, *, mutating: bool) -> None:
        self._mutating = mutating

    def default(self, obj: Obj) -> Obj:
        made = filled(obj)
        each(made, "webhooks", self._default_webhook)
        return made

    def _default_webhook(self, webhook: Obj) -> Obj:
        absent = {
            "failurePolicy": "Fail",
            "matchPolicy": "Equivalent",
            "namespaceSelector": {},
            "objectSelector": {},
            "timeoutSeconds": TIMEOUT_DEFAULT_S,
        }
        if self._mutating:
            absent["reinvocationPolicy"] = "Never"
        made = filled(webhook, absent=absent)
        each(made, "rules", lambda rule: filled(rule, absent={"scope": "*"}))
        if (config := made.get("clientConfig")) is not None and (service := config.get("service")) is not None:
            made["clientConfig"] = {**config, "service": filled(service, absent={"port": 443})}
        return made

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(_validate_webhooks(obj.get("webhooks") or (), mutating=self._mutating))


def _validate_webhooks(webhooks: Sequence[Obj], *, mutating: bool) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, webhook in enumerate(webhooks):
        path, name = f"webhooks[{index}]", str(webhook.get("name") or "")
        yield from _validate_webhook(webhook, path, mutating=mutating)
        if name in seen:
            yield duplicate(f"{path}.name", name)
        seen.add(name)


def _validate_webhook(webhook: Obj, path: str, *, mutating: bool) -> Iterator[Cause]:
    yield from _validate_name(str(webhook.get("name") or ""), f"{path}.name")
    for index, rule in enumerate(webhook.get("rules") or ()):
        yield from validate_rule(rule, f"{path}.rules[{index}]")
    yield from _choice(webhook, path, "failurePolicy", ("Fail", "Ignore"))
    yield from _choice(webhook, path, "matchPolicy", ("Equivalent", "Exact"))
    yield from _choice(webhook, path, "sideEffects", ("None", "NoneOnDryRun"))
    if not webhook.get("sideEffects"):
        yield required(f"{path}.sideEffects", "must specify one of None, NoneOnDryRun")
    if mutating:
        yield from _choice(webhook, path, "reinvocationPolicy", ("IfNeeded", "Never"))
    timeout_s = webhook.get("timeoutSeconds", TIMEOUT_DEFAULT_S)
    if not 1 <= timeout_s <= TIMEOUT_MAX_S:
        why = f"the timeout value must be between 1 and {TIMEOUT_MAX_S} seconds"
        yield invalid(f"{path}.timeoutSeconds", timeout_s, why)
    yield from _validate_review_versions(
        webhook.get("admissionReviewVersions") or (), f"{path}.admissionReviewVersions"
    )
    for selector in ("namespaceSelector", "objectSelector"):
        yield from validate_label_selector(webhook.get(selector), f"{path}.{selector}")
    conditions = webhook.get("matchConditions") or ()
    yield from validate_conditions(conditions, f"{path}.matchConditions")
    yield from validate_expressions(conditions, f"{path}.matchConditions")
    yield from validate_client_config(webhook.get("clientConfig") or {}, f"{path}.clientConfig")


def _validate_name(name: str, path: str) -> Iterator[Cause]:
    if not name:
        yield required(path)
        return
    for why in subdomain_errors(name):
        yield invalid(path, name, why)
    if name.count(".") < 2:
        yield invalid(path, name, "should be a domain with at least three segments separated by dots")


def _choice(obj: Obj, path: str, field: str, choices: Sequence[str]) -> Iterator[Cause]:
    if (value := obj.get(field)) and value not in choices:
        yield not_supported(f"{path}.{field}", value, choices)


def _validate_review_versions(versions: Sequence[str], path: str) -> Iterator[Cause]:
    if not versions:
        yield required(path, f"must specify one of {', '.join(_KNOWN_REVIEW_VERSIONS)}")
    elif not set(versions).intersection(REVIEW_VERSIONS):
        yield invalid(path, list(versions), f"must include at least one of {', '.join(REVIEW_VERSIONS)}")
    for index, version in enumerate(versions):
        if version in versions[:index]:
            yield duplicate(f"{path}[{index}]", version)


def validate_rule(rule: Obj, path: str) -> Iterator[Cause]:
    """A RuleWithOperations; policies have the same."""
    operations = rule.get("operations") or ()
    if not operations:
        yield required(f"{path}.operations")
    if len(operations) > 1 and "*" in operations:
        why = "if '*' is present, must not specify other operations"
        yield invalid(f"{path}.operations", list(operations), why)
    for index, operation in enumerate(operations):
        if operation not in OPERATIONS:
            yield not_supported(f"{path}.operations[{index}]", operation, OPERATIONS)
    for field, what in (("apiGroups", "API groups"), ("apiVersions", "API versions")):
        values = rule.get(field) or ()
        if not values:
            yield required(f"{path}.{field}")
        if len(values) > 1 and "*" in values:
            yield invalid(f"{path}.{field}", list(values), f"if '*' is present, must not specify other {what}")
        if field == "apiVersions":
            yield from (required(f"{path}.{field}[{i}]") for i, value in enumerate(values) if not value)
    yield from _validate_resources(rule.get("resources") or (), f"{path}.resources")
    if (scope := rule.get("scope")) and scope not in SCOPES:
        yield not_supported(f"{path}.scope", scope, SCOPES)


def _validate_resources(resources: Sequence[str], path: str) -> Iterator[Cause]:
    if not resources:
        yield required(path)
    given = set(resources)
    for index, resource in enumerate(resources):
        at = f"{path}[{index}]"
        if not resource:
            yield required(at)
        elif resource == "*/*" and len(resources) > 1:
            yield invalid(path, list(resources), "if '*/*' is present, must not specify other resources")
        plural, slash, subresource = resource.partition("/")
        if slash and subresource != "*" and f"{plural}/*" in given:
            yield invalid(at, resource, f"if '{plural}/*' is present, must not specify {resource}")
        if slash and plural != "*" and f"*/{subresource}" in given:
            yield invalid(at, resource, f"if '*/{subresource}' is present, must not specify {resource}")
    if "*" in given and any("/" not in resource and resource != "*" for resource in given):
        why = "if '*' is present, must not specify other resources without subresources"
        yield invalid(path, list(resources), why)


def validate_client_config(config: Obj, path: str) -> Iterator[Cause]:
    """A WebhookClientConfig; conversion has the same."""
    url, service = config.get("url"), config.get("service")
    if (url is None) is (service is None):
        yield required(path, "exactly one of url or service is required")
    elif url is not None:
        yield from _validate_url(str(url), f"{path}.url")
    else:
        yield from _validate_service(service or {}, f"{path}.service")


def _validate_url(url: str, path: str) -> Iterator[Cause]:
    form = "; desired format: https://host[/path]"
    try:
        parts = urlsplit(url)
        # Reading the port is what checks it.
        _ = parts.port
    except ValueError as error:
        yield required(path, f"url must be a valid URL: {error}{form}")
        return
    if parts.scheme != "https":
        yield invalid(path, parts.scheme, f"'https' is the only allowed URL scheme{form}")
    if not parts.hostname:
        yield invalid(path, parts.netloc, f"host must be specified{form}")
    if parts.username is not None:
        yield invalid(path, "***", "user information is not permitted in the URL")
    if parts.fragment:
        yield invalid(path, parts.fragment, "fragments are not permitted in the URL")
    if parts.query:
        yield invalid(path, parts.query, "query parameters are not permitted in the URL")


def _validate_service(service: Obj, path: str) -> Iterator[Cause]:
    for field in ("name", "namespace"):
        if not service.get(field):
            yield required(f"{path}.{field}")
    port = service.get("port", 443)
    if not 1 <= port <= 65535:
        why = "port is not valid: must be between 1 and 65535, inclusive"
        yield invalid(f"{path}.port", port, why)
    if (text := service.get("path")) is not None:
        yield from _validate_path(str(text), f"{path}.path")


def _validate_path(text: str, path: str) -> Iterator[Cause]:
    if text in ("", "/"):
        return
    if not text.startswith("/"):
        yield invalid(path, text, "must start with a '/'")
        return
    # A slash at the end is allowed, an empty step within is not.
    steps = text[1:].removesuffix("/").split("/")
    for index, step in enumerate(steps):
        if not step:
            yield invalid(path, text, f"segment[{index}] may not be empty")
        yield from (invalid(path, text, f"segment[{index}]: {why}") for why in subdomain_errors(step) if step)


def _count(obj: Obj, now: datetime) -> int:
    return len(obj.get("webhooks") or ())


_COLUMNS = (NAME, Column("Webhooks", _count, type="integer"), AGE)

KINDS: Mapping[GroupKind, Kind] = {
    GroupKind(GROUP, "MutatingWebhookConfiguration"): Kind(WebhookConfigurationStrategy(mutating=True), _COLUMNS),
    GroupKind(GROUP, "ValidatingWebhookConfiguration"): Kind(WebhookConfigurationStrategy(mutating=False), _COLUMNS),
}
