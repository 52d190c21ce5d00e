"""Who may do what: every served resource, subresource and verb, asked by eight identities, against an oracle of its own.

The oracle knows the RBAC objects as the API shows them and nothing of the server's code.  Impersonated requests are
authorized as if the other had sent them.
"""

from __future__ import annotations

import http.client
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.real.clients.served import Server

RBAC = "/apis/rbac.authorization.k8s.io/v1"
METHODS = {
    "get": "GET", "list": "GET", "watch": "GET", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE",
    "deletecollection": "DELETE",
}  # fmt: skip
SESSIONS = ("exec", "attach", "portforward")
"""Subresources that need `create` by whatever method they are opened."""
PATHS = (
    "/version",
    "/healthz",
    "/readyz/ping",
    "/metrics",
    "/openapi/v3",
    "/apis",
    "/api/v1",
    "/logs",
    "/debug/pprof/heap",
)


@dataclass(frozen=True, slots=True)
class Who:
    user: str
    groups: tuple[str, ...]
    """Those the server gives; `asked` are the ones that are impersonated by name."""
    asked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    verb: str
    group: str
    resource: str
    """With its subresource."""
    namespace: str
    name: str
    path: str


@dataclass(slots=True)
class Oracle:
    """Upstream's rules in a few lines: any rule of any role bound to the user or one of the groups."""

    cluster_roles: Mapping[str, Any]
    roles: Mapping[tuple[str, str], Any]
    cluster_bindings: Sequence[Any]
    bindings: Sequence[Any]
    rules: dict[tuple[Who, str], list[Any]] = field(default_factory=dict)

    def rules_of(self, who: Who, namespace: str) -> list[Any]:
        if (who, namespace) not in self.rules:
            found = []
            for binding in self.cluster_bindings:
                if bound(binding, who):
                    found += (self.cluster_roles.get(binding["roleRef"]["name"]) or {}).get("rules") or []
            for binding in self.bindings:
                if namespace and binding["metadata"]["namespace"] == namespace and bound(binding, who):
                    ref = binding["roleRef"]
                    role = (
                        self.cluster_roles.get(ref["name"])
                        if ref["kind"] == "ClusterRole"
                        else self.roles.get((namespace, ref["name"]))
                    )
                    found += (role or {}).get("rules") or []
            self.rules[who, namespace] = found
        return self.rules[who, namespace]

    def allows(self, who: Who, asked: Question) -> bool:
        if "system:masters" in who.groups:
            return True
        return any(self._covers(rule, asked) for rule in self.rules_of(who, asked.namespace))

    def allows_path(self, who: Who, path: str) -> bool:
        for rule in self.rules_of(who, ""):
            if {"get", "*"} & set(rule["verbs"]):
                for url in rule.get("nonResourceURLs") or ():
                    if url in ("*", path) or (url.endswith("*") and path.startswith(url[:-1])):
                        return True
        return False

    @staticmethod
    def _covers(rule: Any, asked: Question) -> bool:
        wanted = {asked.resource, "*"}
        if "/" in asked.resource:
            wanted.add("*/" + asked.resource.partition("/")[2])
        return (
            bool({asked.verb, "*"} & set(rule["verbs"]))
            and bool({asked.group, "*"} & set(rule.get("apiGroups") or ()))
            and bool(wanted & set(rule.get("resources") or ()))
            and (not rule.get("resourceNames") or asked.name in rule["resourceNames"])
        )


def bound(binding: Any, who: Who) -> bool:
    for subject in binding.get("subjects") or ():
        match subject["kind"]:
            case "User":
                matches = subject["name"] == who.user
            case "Group":
                matches = subject["name"] in who.groups
            case _:
                matches = who.user == f"system:serviceaccount:{subject['namespace']}:{subject['name']}"
        if matches:
            return True
    return False


class Client:
    """One connection for all questions."""

    def __init__(self, connection: http.client.HTTPSConnection) -> None:
        self._connection = connection

    def ask(self, method: str, path: str, headers: Mapping[str, str], who: Who, body: bytes | None) -> tuple[int, str]:
        self._connection.putrequest(method, path)
        self._connection.putheader("Impersonate-User", who.user)
        for group in who.asked:
            self._connection.putheader("Impersonate-Group", group)
        for name, value in headers.items():
            self._connection.putheader(name, value)
        if body is not None:
            self._connection.putheader("Content-Length", str(len(body)))
        self._connection.endheaders(body)
        reply = self._connection.getresponse()
        content = reply.read()
        return reply.status, content.decode("utf-8", "replace")


@pytest.fixture(scope="module")
def namespaces(server: Server) -> tuple[str, str]:
    """Two namespaces; in the first, people and an account have roles."""
    first, second = "matrix", "matrix-other"
    for name in (first, second):
        assert server.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}}).status == 201
    cluster_role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole"}
    for person in ("view", "edit", "admin"):
        made = {
            "metadata": {"name": person},
            "roleRef": {**cluster_role, "name": person},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": f"{person}er"}],
        }
        assert server.request("POST", f"{RBAC}/namespaces/{first}/rolebindings", made).status == 201
    rules = [
        {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]},
        {"apiGroups": ["apps"], "resources": ["*/scale"], "verbs": ["update"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["*"], "resourceNames": ["x"]},
    ]
    role = {"metadata": {"name": "bot"}, "rules": rules}
    assert server.request("POST", f"{RBAC}/namespaces/{first}/roles", role).status == 201
    for kind, name in (("rolebindings", "bot"),):
        made = {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "bot"},
            "subjects": [{"kind": "ServiceAccount", "name": "bot", "namespace": first}],
        }
        assert server.request("POST", f"{RBAC}/namespaces/{first}/{kind}", made).status == 201
    watcher = {
        "metadata": {"name": "matrix-viewers"},
        "roleRef": {**cluster_role, "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "viewers"}],
    }
    assert server.request("POST", f"{RBAC}/clusterrolebindings", watcher).status == 201
    return first, second


def identities(namespace: str) -> list[Who]:
    known = ("system:authenticated",)
    accounts = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", *known)
    return [
        Who("system:anonymous", ("system:unauthenticated",)),
        Who("somebody", known),
        Who("viewer", known),
        Who("editer", known),
        Who("adminer", known),
        Who("auditor", ("viewers", *known), ("viewers",)),
        Who(f"system:serviceaccount:{namespace}:bot", accounts),
        Who("root", ("system:masters", *known), ("system:masters",)),
    ]


def questions(server: Server, namespaces: Sequence[str]) -> Iterator[Question]:
    """Every verb of everything that discovery names."""
    versions = ["/api/v1"]
    for group in server.request("GET", "/apis").obj["groups"]:
        versions += [f"/apis/{version['groupVersion']}" for version in group["versions"]]
    for version in versions:
        served = server.request("GET", version).obj
        group = served["groupVersion"].rpartition("/")[0]
        for resource in served["resources"]:
            plural, _, subresource = resource["name"].partition("/")
            for namespace in namespaces if resource["namespaced"] else ("",):
                base = f"{version}/namespaces/{namespace}/{plural}" if namespace else f"{version}/{plural}"
                for verb in resource["verbs"]:
                    if subresource in SESSIONS and verb != "create":
                        continue
                    named = bool(subresource) or verb in ("get", "update", "patch", "delete")
                    path = f"{base}/x/{subresource}".rstrip("/") if named else base
                    if verb == "watch":
                        path += "?watch=true&resourceVersion=nonsense"
                    elif verb == "deletecollection":
                        path += "?labelSelector=no%3Dsuch&dryRun=All"
                    elif verb == "create" and not subresource:
                        path += "?dryRun=All"
                    # A namespace is an object of itself.
                    within = "x" if resource["name"].partition("/")[0] == "namespaces" and named else namespace
                    yield Question(verb, group, resource["name"], within, "x" if named else "", path)


def test_every_answer_is_the_oracles(server: Server, namespaces: tuple[str, str]) -> None:
    items = {
        kind: server.request("GET", f"{RBAC}/{kind}").obj["items"]
        for kind in ("clusterroles", "roles", "clusterrolebindings", "rolebindings")
    }
    oracle = Oracle(
        {role["metadata"]["name"]: role for role in items["clusterroles"]},
        {(role["metadata"]["namespace"], role["metadata"]["name"]): role for role in items["roles"]},
        items["clusterrolebindings"],
        items["rolebindings"],
    )
    wrong: list[str] = []
    allowed = 0
    asked = list(questions(server, namespaces))
    assert len({(question.group, question.resource) for question in asked}) > 100
    with server.connection() as connection:
        client = Client(connection)
        for who, question in itertools.product(identities(namespaces[0]), asked):
            method = METHODS[question.verb]
            body = None if method == "GET" else b"[]" if question.verb == "patch" else b"{}"
            media = "application/json-patch+json" if question.verb == "patch" else "application/json"
            headers = {} if body is None else {"Content-Type": media}
            status, said = client.ask(method, question.path, headers, who, body)
            # Admission refuses with 403 too, in other words.
            refused = (
                status == 403 and f'User "{who.user}" cannot {question.verb} resource' in json.loads(said)["message"]
            )
            expected = oracle.allows(who, question)
            allowed += expected
            if refused == expected or (status >= 500 and status != 503):
                wrong.append(f"{who.user} {question}: {status} {said[:200]}")
        for who, path in itertools.product(identities(namespaces[0])[:-1], PATHS):
            status, said = client.ask("GET", path, {}, who, None)
            if (status == 403) == oracle.allows_path(who, path):
                wrong.append(f"{who.user} {path}: {status} {said[:200]}")
    assert not wrong, f"{len(wrong)} of {len(asked)}:\n" + "\n".join(wrong[:20])
    assert allowed > 1_000
