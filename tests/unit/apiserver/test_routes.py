"""URLs to routes."""

from __future__ import annotations

import pytest

from cluster.apiserver.routes import parse_route
from cluster.machinery.errors import NotFound


@pytest.mark.parametrize(
    ("method", "path", "verb", "plural", "namespace", "name", "subresource"),
    [
        ("GET", "/api/v1/pods", "list", "pods", "", "", ""),
        ("GET", "/api/v1/namespaces/a/pods/", "list", "pods", "a", "", ""),
        ("GET", "/api/v1/namespaces/a/pods/p", "get", "pods", "a", "p", ""),
        ("HEAD", "/api/v1/namespaces/a/pods/p", "get", "pods", "a", "p", ""),
        ("PUT", "/api/v1/namespaces/a/pods/p/status", "update", "pods", "a", "p", "status"),
        ("POST", "/api/v1/namespaces/a/pods/p/binding", "create", "pods", "a", "p", "binding"),
        ("GET", "/api/v1/namespaces/a", "get", "namespaces", "a", "a", ""),
        ("PUT", "/api/v1/namespaces/a/finalize", "update", "namespaces", "a", "a", "finalize"),
        ("DELETE", "/apis/apps/v1/namespaces/a/deployments", "deletecollection", "deployments", "a", "", ""),
        (
            "PATCH",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
            "patch",
            "clusterroles",
            "",
            "system:node",
            "",
        ),
    ],
)
def test_a_path_says_what_is_asked(
    method: str, path: str, verb: str, plural: str, namespace: str, name: str, subresource: str
) -> None:
    route = parse_route(method, path, {})
    assert (route.verb, route.plural, route.namespace, route.name, route.subresource) == (
        verb,
        plural,
        namespace,
        name,
        subresource,
    )


@pytest.mark.parametrize("value", ["true", "True", "1"])
def test_a_watch_is_a_list_with_a_true_parameter(value: str) -> None:
    assert parse_route("GET", "/api/v1/pods", {"watch": [value]}).verb == "watch"


def test_a_list_of_one_name_is_authorized_by_it() -> None:
    assert parse_route("GET", "/api/v1/pods", {"fieldSelector": ["metadata.name=p"]}).name == "p"


def test_a_namespace_has_no_namespace() -> None:
    assert parse_route("GET", "/api/v1/namespaces/a", {}).key == ("", "a")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/namespaces/a%2fb/pods",
        "/api/v1/namespaces/../pods",
        "/api/v1//pods",
        "/api/v1/namespaces/%2e%2e/secrets",
        "/api/v1/namespaces/a%5cb/pods",
        "/api/v1/namespaces/a/pods/x%00",
        "relative",
    ],
)
def test_a_path_that_could_be_read_in_two_ways_names_nothing(path: str) -> None:
    with pytest.raises(NotFound):
        parse_route("GET", path, {})


def test_other_paths_are_no_resources() -> None:
    route = parse_route("GET", "/version/", {})
    assert (route.is_resource, route.verb, route.path) == (False, "get", "/version")
