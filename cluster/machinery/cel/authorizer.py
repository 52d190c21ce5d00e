"""`authorizer` in expressions: may the requester, or a service account, do this?

Who decides stands behind `Decider`.  Upstream: apiserver/pkg/cel/library/{authz,authzselectors}.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

from cluster.machinery.cel.values import CelError

_PREFIX = "kubernetes.authorization"

DECLARATIONS = f"""
{_PREFIX}.Authorizer.path(string) {_PREFIX}.PathCheck
{_PREFIX}.Authorizer.group(string) {_PREFIX}.GroupCheck
{_PREFIX}.Authorizer.serviceAccount(string, string) {_PREFIX}.Authorizer
{_PREFIX}.PathCheck.check(string) {_PREFIX}.Decision
{_PREFIX}.GroupCheck.resource(string) {_PREFIX}.ResourceCheck
{_PREFIX}.ResourceCheck.subresource(string) {_PREFIX}.ResourceCheck
{_PREFIX}.ResourceCheck.namespace(string) {_PREFIX}.ResourceCheck
{_PREFIX}.ResourceCheck.name(string) {_PREFIX}.ResourceCheck
{_PREFIX}.ResourceCheck.check(string) {_PREFIX}.Decision
{_PREFIX}.Decision.allowed() bool
{_PREFIX}.Decision.reason() string
{_PREFIX}.Decision.errored() bool
{_PREFIX}.Decision.error() string
"""


class Decider(Protocol):
    """Answers for one requester."""

    def allows(
        self, verb: str, *, group: str, resource: str, subresource: str, namespace: str, name: str, path: str
    ) -> bool: ...

    def service_account(self, namespace: str, name: str) -> Decider:
        """The same for a service account."""
        ...


@dataclass(frozen=True, slots=True)
class Authorizer:
    cel_type: ClassVar[str] = f"{_PREFIX}.Authorizer"
    decider: Decider


@dataclass(frozen=True, slots=True)
class PathCheck:
    cel_type: ClassVar[str] = f"{_PREFIX}.PathCheck"
    decider: Decider
    path: str


@dataclass(frozen=True, slots=True)
class GroupCheck:
    cel_type: ClassVar[str] = f"{_PREFIX}.GroupCheck"
    decider: Decider
    group: str


@dataclass(frozen=True, slots=True)
class ResourceCheck:
    cel_type: ClassVar[str] = f"{_PREFIX}.ResourceCheck"
    decider: Decider
    group: str
    resource: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    cel_type: ClassVar[str] = f"{_PREFIX}.Decision"
    allowed: bool


def _path(authorizer: Authorizer, path: str) -> PathCheck:
    if not path:
        raise CelError("path must not be empty")
    return PathCheck(authorizer.decider, path)


def _check(subject: PathCheck | ResourceCheck, verb: str) -> Decision:
    if isinstance(subject, PathCheck):
        return Decision(
            subject.decider.allows(
                verb, group="", resource="", subresource="", namespace="", name="", path=subject.path
            )
        )
    allowed = subject.decider.allows(
        verb,
        group=subject.group,
        resource=subject.resource,
        subresource=subject.subresource,
        namespace=subject.namespace,
        name=subject.name,
        path="",
    )
    return Decision(allowed)


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "path": _path,
    "group": lambda authorizer, group: GroupCheck(authorizer.decider, group),
    "serviceAccount": lambda authorizer, namespace, name: Authorizer(
        authorizer.decider.service_account(namespace, name)
    ),
    "resource": lambda group, resource: ResourceCheck(group.decider, group.group, resource),
    "subresource": lambda check, subresource: replace(check, subresource=subresource),
    "namespace": lambda check, namespace: replace(check, namespace=namespace),
    "name": lambda check, name: replace(check, name=name),
    "check": _check,
    "allowed": lambda decision: decision.allowed,
    "reason": lambda decision: "",
    "errored": lambda decision: False,
    "error": lambda decision: "",
}
