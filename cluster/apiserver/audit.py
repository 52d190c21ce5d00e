"""What is recorded of which request: the audit policy, and records as audit.k8s.io/v1 Events.  Pure.

Upstream: apiserver/pkg/audit/policy/{reader,checker}.go, pkg/apis/audit/v1.  Bodies of Secrets, tokens and their reviews
are never recorded, whatever a policy says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from cluster.apiserver.call import Call, ObjResult, Result, RowResult, WatchResult
from cluster.apiserver.decoding import decoded
from cluster.apiserver.http import ApiRequest, Identity, Reply
from cluster.apiserver.routes import Route
from cluster.machinery.errors import ApiError
from cluster.machinery.objects import Obj

BODY_SIZE_MAX_BYTES = 64 * 1024
"""A larger body is left out of its record."""
READS = frozenset(("get", "list", "watch", "head", "options"))
LONG_RUNNING = frozenset(("exec", "attach", "portforward", "proxy"))
RECEIVED, STARTED, COMPLETE = "RequestReceived", "ResponseStarted", "ResponseComplete"
STAGES = (RECEIVED, STARTED, COMPLETE, "Panic")
_NO_BODIES = frozenset(
    (("", "secrets"), ("", "serviceaccounts/token"), ("authentication.k8s.io", "tokenreviews"))
)  # fmt: skip
FORBIDDEN, UNAUTHENTICATED = 403, 401
DECISION = "authorization.k8s.io/decision"


class Level(IntEnum):
    """How much; each includes those before it."""

    NONE = 0
    METADATA = 1
    REQUEST = 2
    REQUEST_RESPONSE = 3

    @property
    def word(self) -> str:
        return _WORDS[self]


_WORDS = {
    Level.NONE: "None",
    Level.METADATA: "Metadata",
    Level.REQUEST: "Request",
    Level.REQUEST_RESPONSE: "RequestResponse",
}
_LEVELS = {word: level for level, word in _WORDS.items()}


class PolicyError(ValueError):
    """The policy cannot be used; the message names the field."""


@dataclass(frozen=True, slots=True)
class GroupResources:
    group: str
    resources: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()

    def matches(self, route: Route) -> bool:
        if route.group != self.group:
            return False
        if self.names and route.name not in self.names:
            return False
        if not self.resources or "*" in self.resources or route.resource_path in self.resources:
            return True
        return bool(route.subresource) and (
            f"{route.plural}/*" in self.resources or f"*/{route.subresource}" in self.resources
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRule:
    """Empty sets match everything."""

    level: Level
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    verbs: frozenset[str] = frozenset()
    resources: Sequence[GroupResources] = ()
    namespaces: frozenset[str] = frozenset()
    urls: Sequence[str] = ()
    omit_stages: frozenset[str] = frozenset()
    omit_managed_fields: bool | None = None

    def matches(self, user: Identity, verb: str, route: Route) -> bool:
        if self.users and user.name not in self.users:
            return False
        if self.groups and self.groups.isdisjoint(user.groups):
            return False
        if self.verbs and verb not in self.verbs:
            return False
        if route.is_resource:
            if self.urls:
                return False
            if self.namespaces and route.namespace not in self.namespaces:
                return False
            return not self.resources or any(each.matches(route) for each in self.resources)
        if self.resources or self.namespaces:
            return False
        return not self.urls or any(
            url == "*" or url == route.path or (url.endswith("*") and route.path.startswith(url[:-1]))
            for url in self.urls
        )


@dataclass(frozen=True, slots=True)
class AuditPolicy:
    """The first rule that matches decides; none is level None.  `refusals`: requests that are forbidden are always recorded."""

    rules: Sequence[AuditRule]
    refusals: bool = False
    omit_stages: frozenset[str] = frozenset()
    omit_managed_fields: bool = False

    @property
    def ignores_reads(self) -> bool:
        """The first rule leaves out every read, so that they need not be looked at."""
        first = next(iter(self.rules), None)
        return first is not None and first == AuditRule(level=Level.NONE, verbs=first.verbs) and first.verbs >= READS

    def rule_for(self, user: Identity, verb: str, route: Route) -> AuditRule | None:
        return next((rule for rule in self.rules if rule.matches(user, verb, route)), None)


DEFAULT_POLICY = AuditPolicy(
    (
        AuditRule(level=Level.NONE, verbs=READS),
        AuditRule(
            level=Level.NONE,
            resources=(
                GroupResources("coordination.k8s.io", frozenset(("leases",))),
                GroupResources("", frozenset(("events", "nodes/status"))),
                GroupResources("events.k8s.io", frozenset(("events",))),
                GroupResources("authorization.k8s.io"),
                GroupResources("authentication.k8s.io"),
            ),
        ),
        AuditRule(level=Level.METADATA),
    ),
    refusals=True,
)
"""Who changed what, and who was refused; heartbeats, Events and questions about rights are left out."""


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One stage of one request, as references; `event_of` makes it a record when there is time."""

    id: str
    stage: str
    level: Level
    request: ApiRequest
    route: Route
    verb: str
    acting_as: Identity | None
    code: int
    received_at: str
    at: str
    error: ApiError | None = None
    result: Result | None = None
    call: Call | None = None
    omit_managed_fields: bool = False


def code_of(result: Result | None) -> int:
    match result:
        case RowResult(_, True):
            return 201
        case ObjResult(_, status):
            return status
        case Reply(status=status):
            return status
        case _:
            return 200


def is_long_running(route: Route, result: Result | None = None) -> bool:
    return route.verb == "watch" or route.subresource in LONG_RUNNING or isinstance(result, WatchResult)


def level_within(level: Level, route: Route) -> Level:
    """`level`, without bodies where those are credentials."""
    return min(level, Level.METADATA) if (route.group, route.resource_path) in _NO_BODIES else level


def event_of(record: AuditRecord) -> dict[str, Any]:
    """audit.k8s.io/v1 Event."""
    request, route = record.request, record.route
    query = "&".join(f"{name}={value}" for name, values in request.query.items() for value in values)
    event: dict[str, Any] = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": record.level.word,
        "auditID": record.id,
        "stage": record.stage,
        "requestURI": request.path + (f"?{query}" if query else ""),
        "verb": record.verb,
        "user": _user_info(request.user),
        "requestReceivedTimestamp": record.received_at,
        "stageTimestamp": record.at,
    }
    if record.acting_as is not None and record.acting_as != request.user:
        event["impersonatedUser"] = _user_info(record.acting_as)
    if request.source:
        event["sourceIPs"] = [request.source]
    if agent := request.headers.get("user-agent"):
        event["userAgent"] = agent[:1024]
    if route.is_resource:
        event["objectRef"] = _object_ref(record)
    if record.stage != RECEIVED:
        event["responseStatus"] = _status_of(record)
    annotations = {
        **({} if record.code == UNAUTHENTICATED else {DECISION: "forbid" if record.code == FORBIDDEN else "allow"}),
        **(record.call.audit if record.call is not None else {}),
    }
    if record.stage == COMPLETE:
        for name, wanted, body in (
            ("requestObject", Level.REQUEST, lambda: _request_object(record)),
            ("responseObject", Level.REQUEST_RESPONSE, lambda: _response_object(record)),
        ):
            if record.level >= wanted:
                _add_body(event, annotations, name, body)
    event["annotations"] = annotations
    return event


def _add_body(event: dict[str, Any], annotations: dict[str, str], name: str, body: Callable[[], Any]) -> None:
    try:
        found = body()
    except (ApiError, ValueError):
        return  # what could not be read is not what the server acted on
    if found is _TOO_LARGE:
        annotations["audit.k8s.io/truncated"] = "true"
    elif found is not None:
        event[name] = found


_TOO_LARGE = object()


def _request_object(record: AuditRecord) -> Any:
    request = record.request
    if request.obj is not None:
        return _without_managed_fields(record, request.obj)
    if len(request.body) > BODY_SIZE_MAX_BYTES:
        return _TOO_LARGE
    if not request.body:
        return None
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return _without_managed_fields(record, decoded(request.body, media_type))


def _response_object(record: AuditRecord) -> Any:
    match record.result:
        case RowResult(row):
            if len(row.value) > BODY_SIZE_MAX_BYTES:
                return _TOO_LARGE
            return _without_managed_fields(record, row.obj())
        case ObjResult(obj):
            return _without_managed_fields(record, obj)
        case _:
            return None if record.error is None else record.error.to_status()


def _without_managed_fields(record: AuditRecord, obj: Any) -> Any:
    if not record.omit_managed_fields or not isinstance(obj, Mapping) or not isinstance(obj.get("metadata"), Mapping):
        return obj
    metadata = {name: value for name, value in obj["metadata"].items() if name != "managedFields"}
    return {**obj, "metadata": metadata}


def _user_info(user: Identity) -> Obj:
    if not user.name:
        return {}
    info: dict[str, Any] = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    if user.extra:
        info["extra"] = {name: list(values) for name, values in sorted(user.extra.items())}
    return info


def _object_ref(record: AuditRecord) -> Obj:
    route = record.route
    name = record.result.row.key.name if isinstance(record.result, RowResult) else route.name
    fields = {
        "resource": route.plural,
        "namespace": route.namespace,
        "name": name,
        "apiGroup": route.group,
        "apiVersion": route.version,
        "subresource": route.subresource,
    }
    return {field: value for field, value in fields.items() if value}


def _status_of(record: AuditRecord) -> Obj:
    status: dict[str, Any] = {"metadata": {}, "code": record.code}
    if record.error is not None:
        full = record.error.to_status()
        status |= {name: full[name] for name in ("status", "message", "reason") if full.get(name)}
    return status


def parse_policy(document: Any) -> AuditPolicy:
    """An audit.k8s.io/v1 Policy.  Raises PolicyError for anything that would not be done."""
    top = _fields(document, "", ("apiVersion", "kind", "metadata", "rules", "omitStages", "omitManagedFields"))
    if (top.get("apiVersion"), top.get("kind")) != ("audit.k8s.io/v1", "Policy"):
        raise PolicyError("apiVersion and kind: audit.k8s.io/v1 Policy is needed")
    rules = top.get("rules")
    if not isinstance(rules, list) or not rules:
        raise PolicyError("rules: at least one is needed")
    return AuditPolicy(
        tuple(_rule(rule, f"rules[{index}]") for index, rule in enumerate(rules)),
        omit_stages=_stages(top, ""),
        omit_managed_fields=bool(top.get("omitManagedFields", False)),
    )


def _rule(document: Any, path: str) -> AuditRule:
    known = (
        "level", "users", "userGroups", "verbs", "resources", "namespaces", "nonResourceURLs", "omitStages",
        "omitManagedFields",
    )  # fmt: skip
    rule = _fields(document, path, known)
    level = _LEVELS.get(str(rule.get("level")))
    if level is None:
        raise PolicyError(f"{path}.level: one of {', '.join(_LEVELS)} is needed")
    if rule.get("nonResourceURLs") and (rule.get("resources") or rule.get("namespaces")):
        raise PolicyError(f"{path}: nonResourceURLs go with neither resources nor namespaces")
    resources = rule.get("resources") or ()
    if not isinstance(resources, list | tuple):
        raise PolicyError(f"{path}.resources: not a list")
    return AuditRule(
        level=level,
        users=_words(rule, "users", path),
        groups=_words(rule, "userGroups", path),
        verbs=_words(rule, "verbs", path),
        resources=tuple(_resources(each, f"{path}.resources[{index}]") for index, each in enumerate(resources)),
        namespaces=_words(rule, "namespaces", path),
        urls=tuple(sorted(_words(rule, "nonResourceURLs", path))),
        omit_stages=_stages(rule, path),
        omit_managed_fields=rule.get("omitManagedFields"),
    )


def _resources(document: Any, path: str) -> GroupResources:
    entry = _fields(document, path, ("group", "resources", "resourceNames"))
    return GroupResources(
        str(entry.get("group") or ""), _words(entry, "resources", path), _words(entry, "resourceNames", path)
    )


def _stages(document: Mapping[str, Any], path: str) -> frozenset[str]:
    stages = _words(document, "omitStages", path)
    if unknown := sorted(stages - set(STAGES)):
        raise PolicyError(f"{path}.omitStages: {unknown[0]!r} is none of {', '.join(STAGES)}".lstrip("."))
    return stages


def _words(document: Mapping[str, Any], name: str, path: str) -> frozenset[str]:
    words = document.get(name) or ()
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        raise PolicyError(f"{path}.{name}: not a list of words".lstrip("."))
    return frozenset(words)


def _fields(document: Any, path: str, known: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(document, Mapping):
        raise PolicyError(f"{path or 'the policy'}: not a mapping")
    if unknown := sorted(str(name) for name in document if name not in known):
        raise PolicyError(f"{path}.{unknown[0]}: unknown field".lstrip("."))
    return document
