"""May this caller do that?  Superusers, then nodes, then RBAC; and acting as somebody else.

Upstream: the Node,RBAC authorizer chain, apiserver/pkg/endpoints/filters/{authorization,impersonation}.go.
"""

from __future__ import annotations

from urllib.parse import unquote

from cluster.apiserver.http import ApiRequest, Identity
from cluster.apiserver.node_authorizer import node_allows, node_name_of
from cluster.apiserver.rbac import SERVICE_ACCOUNT_PREFIX, Access, Rbac, Rule
from cluster.apiserver.routes import Route
from cluster.apiserver.state import State
from cluster.machinery.errors import BadRequest, Forbidden, qualified
from cluster.machinery.selectors import SelectorError, parse_field_selector

MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
ANONYMOUS = Identity("system:anonymous", (UNAUTHENTICATED,))
IMPERSONATION = "impersonate-"
EXTRA_HEADER = "impersonate-extra-"


def access_of(route: Route) -> Access:
    if not route.plural:
        return Access(route.verb, path=route.path)
    if not route.subresource:
        return Access(route.verb, route.group, route.plural, route.namespace, route.name)
    # Streams into a container change things, whatever method opens them (upstream from 1.35 on).
    verb = "create" if route.subresource in _STREAMS else route.verb
    return Access(verb, route.group, route.resource_path, route.namespace, route.name)


_STREAMS = frozenset(("exec", "attach", "portforward"))


class Authorizer:
    """Decides from the server's state; keeps no policy of its own."""

    def __init__(self, state: State, rbac: Rbac) -> None:
        self._state = state
        self._rbac = rbac

    def allows(self, user: Identity, access: Access, *, field_node: str = "") -> bool:
        if MASTERS in user.groups:
            return True
        node = node_name_of(user)
        if node and node_allows(self._state, node, access, field_node=field_node):
            return True
        return self._rbac.allows(user, access)

    def check(self, user: Identity, route: Route, request: ApiRequest) -> None:
        """Raises Forbidden, worded as upstream."""
        if MASTERS in user.groups:
            return
        access = access_of(route)
        if not self.allows(user, access, field_node=_node_of(route, request)):
            raise forbidden(user, access)

    def require_create(self, user: Identity, route: Route) -> None:
        """For writes that would create what they name: leave to update is not leave to create.  Raises Forbidden."""
        access = Access("create", route.group, route.resource_path, route.namespace, route.name)
        if not self.allows(user, access):
            raise forbidden(user, access)

    def rules(self, user: Identity, namespace: str) -> list[Rule]:
        return list(self._rbac.rules_of(user).applying(namespace))

    def acting(self, request: ApiRequest) -> Identity:
        """Whom the request acts as: its caller, or whom the Impersonate headers name.

        Raises Forbidden unless the caller may impersonate each of the user, groups, uid and extras named.
        """
        headers = request.headers
        # One search through all names at once: nearly no request has such a header.
        if IMPERSONATION not in " ".join(headers):
            return request.user
        name = headers.get("impersonate-user", "")
        groups = [group.strip() for group in headers.get("impersonate-group", "").split(",") if group.strip()]
        uid = headers.get("impersonate-uid", "")
        extra = {
            unquote(header[len(EXTRA_HEADER) :]): tuple(part.strip() for part in value.split(","))
            for header, value in headers.items()
            if header.startswith(EXTRA_HEADER)
        }
        if not name:
            if groups or uid or extra:
                raise BadRequest("requested impersonation without impersonating a user")
            return request.user
        self._check_impersonation(request.user, _impersonated_user(name))
        for group in groups:
            self._check_impersonation(request.user, Access("impersonate", "", "groups", name=group))
        if uid:
            self._check_impersonation(request.user, Access("impersonate", "authentication.k8s.io", "uids", name=uid))
        for key, values in sorted(extra.items()):
            for value in values:
                access = Access("impersonate", "authentication.k8s.io", f"userextras/{key}", name=value)
                self._check_impersonation(request.user, access)
        return Identity(name, _groups_of(name, groups), uid, extra)

    def _check_impersonation(self, user: Identity, access: Access) -> None:
        if not self.allows(user, access):
            raise forbidden(user, access)


def _impersonated_user(name: str) -> Access:
    if name.startswith(SERVICE_ACCOUNT_PREFIX):
        namespace, _, account = name.removeprefix(SERVICE_ACCOUNT_PREFIX).partition(":")
        return Access("impersonate", "", "serviceaccounts", namespace, account)
    return Access("impersonate", "", "users", name=name)


def _groups_of(name: str, groups: list[str]) -> tuple[str, ...]:
    if not groups and name.startswith(SERVICE_ACCOUNT_PREFIX):
        namespace = name.removeprefix(SERVICE_ACCOUNT_PREFIX).partition(":")[0]
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
    if name == ANONYMOUS.name:
        return tuple(groups) or tuple(ANONYMOUS.groups)
    return (*groups, *(() if AUTHENTICATED in groups else (AUTHENTICATED,)))


def _node_of(route: Route, request: ApiRequest) -> str:
    if route.plural != "pods" or route.verb not in ("list", "watch"):
        return ""
    try:
        fields = parse_field_selector(request.parameter("fieldSelector"))
    except SelectorError:
        return ""
    return next((f.value for f in fields if f.path == "spec.nodeName" and not f.negated), "")


def forbidden(user: Identity, access: Access) -> Forbidden:
    if access.path:
        return Forbidden(f'forbidden: User "{user.name}" cannot {access.verb} path "{access.path}"')
    plural, _, _ = access.plural.partition("/")
    named = f' "{access.name}"' if access.name else ""
    scope = f'in the namespace "{access.namespace}"' if access.namespace else "at the cluster scope"
    return Forbidden(
        f'{qualified(access.group, plural)}{named} is forbidden: User "{user.name}" cannot {access.verb} resource '
        f'"{access.plural}" in API group "{access.group}" {scope}',
        group=access.group,
        kind=plural,
        name=access.name,
    )
