"""What a URL asks for: method and path in, verb, resource, namespace, name and subresource out.  Pure.

Upstream: apiserver/pkg/endpoints/request/requestinfo.go.  Deliberately stricter: encoded slashes, empty and dotted
segments never name anything, so that two spellings of one path cannot be authorized differently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote

from cluster.machinery.errors import NotFound
from cluster.machinery.objects import Key
from cluster.machinery.selectors import SelectorError, parse_field_selector

ROUTES_MAX = 4096
"""Routes of paths without a query that are remembered: clients ask for the same objects again and again."""

_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_FALSE = frozenset(("", "0", "false"))


@dataclass(frozen=True, slots=True)
class Route:
    """What is asked.  A non-resource path has an empty `plural`; `namespace` of the Namespace resource is its own name.

    What follows from these is worked out once: routes are remembered, and every request asks for it.
    """

    verb: str
    path: str
    group: str = ""
    version: str = ""
    plural: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""

    is_resource: bool = field(init=False)
    key: Key = field(init=False)
    """The object named, with the namespace as storage has it (none for Namespaces)."""
    resource_path: str = field(init=False)
    """`pods` or `pods/log`: how RBAC names it."""

    def __post_init__(self) -> None:
        own = self.plural == "namespaces" and not self.group
        object.__setattr__(self, "is_resource", bool(self.plural))
        object.__setattr__(self, "key", Key("" if own else self.namespace, self.name))
        path = f"{self.plural}/{self.subresource}" if self.subresource else self.plural
        object.__setattr__(self, "resource_path", path)


def is_true(text: str) -> bool:
    """Whether a boolean parameter is set: any value but `0` and `false` does it (upstream: Convert_Slice_string_To_bool)."""
    return text.lower() not in _FALSE


def parse_route(method: str, path: str, query: Mapping[str, Sequence[str]]) -> Route:
    """The route of a request.  Raises NotFound for paths that are no clean path."""
    return _parse_route(method, path, query) if query else _plain_route(method, path)


@lru_cache(ROUTES_MAX)
def _plain_route(method: str, path: str) -> Route:
    return _parse_route(method, path, {})


def _parse_route(method: str, path: str, query: Mapping[str, Sequence[str]]) -> Route:
    segments = _segments_of(path)
    verb = _VERBS.get(method, method.lower())
    match segments:
        case ["api", version, *rest] if rest:
            return _resource_route(verb, path, "", version, rest, query)
        case ["apis", group, version, *rest] if rest:
            return _resource_route(verb, path, group, version, rest, query)
        case _:
            return Route(method.lower() if method != "HEAD" else "get", "/" + "/".join(segments))


def _segments_of(path: str) -> list[str]:
    lowered = path.lower()
    if not path.startswith("/") or "//" in path or "%2f" in lowered or "%5c" in lowered or "%00" in lowered:
        raise path_not_found()
    segments = [unquote(segment) if "%" in segment else segment for segment in path.strip("/").split("/")]
    if any(segment in (".", "..") or "\\" in segment for segment in segments):
        raise path_not_found()
    return segments


def path_not_found() -> NotFound:
    return NotFound("the server could not find the requested resource")


def _resource_route(
    verb: str, path: str, group: str, version: str, rest: list[str], query: Mapping[str, Sequence[str]]
) -> Route:
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        # `namespaces/x`, `namespaces/x/status` and `.../finalize` are the Namespace itself; deeper paths are inside it.
        if len(rest) > 2 and not (len(rest) == 3 and rest[2] in ("status", "finalize")):
            rest = rest[2:]
    plural, name, subresource, *tail = [*rest, "", "", ""]
    if plural == "namespaces" and group:
        raise path_not_found()
    if verb == "get" and is_true(_first(query, "watch")) and not subresource:
        verb = "watch"
    elif not name:
        verb = {"get": "list", "delete": "deletecollection"}.get(verb, verb)
    if verb in ("list", "watch") and not name and (selector := _first(query, "fieldSelector")):
        name = _named_by(selector)
        return Route(verb, path, group, version, plural, namespace, name)
    return Route(verb, path, group, version, plural, namespace, name, subresource, "/".join(filter(None, tail)))


def _named_by(field_selector: str) -> str:
    """The single name a list is limited to; it takes part in authorization as if it were in the path."""
    try:
        requirements = parse_field_selector(field_selector)
    except SelectorError:
        return ""
    return next((r.value for r in requirements if r.path == "metadata.name" and not r.negated), "")


def _first(query: Mapping[str, Sequence[str]], name: str) -> str:
    values = query.get(name)
    return values[0] if values else ""
