"""Who may do what, through kubectl: tokens, roles, impersonation, and the words of a refusal."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.real.clients.served import Kubectl, until

pytestmark = pytest.mark.needs("kubectl")


class TokenKubectl(Kubectl):
    """kubectl with a bearer token and nothing else."""

    def __init__(self, admin: Kubectl, token: str) -> None:
        super().__init__(admin.server, admin.namespace, admin.home)
        config = yaml.safe_load(admin.server.kubeconfig.read_text())
        config["users"] = [{"name": "bot", "user": {"token": token}}]
        config["contexts"][0]["context"]["user"] = "bot"
        self.kubeconfig = admin.server.state / f"kubeconfig-{admin.namespace}"
        self.kubeconfig.write_text(yaml.safe_dump(config))

    def run(self, *arguments: str, **rest):  # type: ignore[no-untyped-def]
        return super().run("--kubeconfig", str(self.kubeconfig), *arguments, **rest)


@pytest.fixture
def bot(kubectl: Kubectl) -> TokenKubectl:
    """A ServiceAccount that may read pods and own config maps called `mine`, and nothing else."""
    namespace = kubectl.namespace
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    core = f"/api/v1/namespaces/{namespace}"
    rules = {
        "reader": {"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["pods"]},
        "owner": {
            "verbs": ["get", "update", "patch", "delete"],
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": ["mine"],
        },
    }
    made: list[tuple[str, Any]] = [(f"{core}/serviceaccounts", {"metadata": {"name": "bot"}})]
    for name, rule in rules.items():
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        subject = {"kind": "ServiceAccount", "name": "bot", "namespace": namespace}
        made.append((f"{rbac}/roles", {"metadata": {"name": name}, "rules": [rule]}))
        made.append((f"{rbac}/rolebindings", {"metadata": {"name": name}, "roleRef": role, "subjects": [subject]}))
    made += [(f"{core}/configmaps", {"metadata": {"name": name}}) for name in ("mine", "other")]
    for path, obj in made:
        assert kubectl.server.request("POST", path, obj).status == 201
    return TokenKubectl(kubectl, kubectl("create", "token", "bot").strip())


def test_a_role_gives_exactly_what_it_says(bot: TokenKubectl) -> None:
    namespace = bot.namespace
    user = f"system:serviceaccount:{namespace}:bot"
    assert bot("get", "pods") == ""
    assert bot("get", "configmap", "mine", "-o", "name") == "configmap/mine\n"
    assert bot("label", "configmap", "mine", "x=y") == "configmap/mine labeled\n"
    assert bot.refused("get", "configmaps") == (
        f'Error from server (Forbidden): configmaps is forbidden: User "{user}" cannot list resource "configmaps" '
        f'in API group "" in the namespace "{namespace}"\n'
    )
    assert bot.refused("get", "configmap", "other") == (
        f'Error from server (Forbidden): configmaps "other" is forbidden: User "{user}" cannot get resource "configmaps" '
        f'in API group "" in the namespace "{namespace}"\n'
    )
    assert "at the cluster scope" in bot.refused("get", "nodes")
    assert 'in the namespace "default"' in bot.refused("get", "pods", "-n", "default")
    assert "cannot create resource" in bot.refused("create", "configmap", "new")
    assert 'cannot get resource "secrets"' in bot.refused("get", "secret", "absent")
    assert "(Forbidden)" in bot.refused("get", "pods", "-A")
    bot.server.request(
        "POST",
        f"/api/v1/namespaces/{namespace}/pods",
        {
            "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        },
    )
    assert 'cannot create resource "pods/exec"' in bot.refused("exec", "p", "--", "true")
    assert 'cannot get resource "pods/log"' in bot.refused("logs", "p")


def test_what_one_may_do_can_be_asked(bot: TokenKubectl, kubectl: Kubectl) -> None:
    user = f"system:serviceaccount:{bot.namespace}:bot"
    assert bot("auth", "can-i", "list", "pods") == "yes\n"
    assert bot.run("auth", "can-i", "delete", "pods").out == "no\n"
    assert bot("auth", "can-i", "update", "configmap/mine") == "yes\n"
    assert bot.run("auth", "can-i", "update", "configmap/other").out == "no\n"
    assert kubectl("auth", "can-i", "list", "pods", f"--as={user}") == "yes\n"
    assert kubectl("auth", "can-i", "*", "*") == "yes\n"
    assert user in bot("auth", "whoami")
    assert f"system:serviceaccounts:{bot.namespace}" in bot("auth", "whoami", "-o", "yaml")
    rules = bot("auth", "can-i", "--list")
    assert "pods" in rules
    assert "[mine]" in rules


def test_a_role_gives_away_only_what_its_writer_has(bot: TokenKubectl, kubectl: Kubectl) -> None:
    # Not "*": that includes the verbs escalate and bind, which waive the check.
    kubectl("create", "role", "granter", "--verb=get,create,update,patch", "--resource=roles,rolebindings")
    kubectl("create", "rolebinding", "granter", "--role=granter", f"--serviceaccount={bot.namespace}:bot")
    assert "created" in bot("create", "role", "less", "--verb=get", "--resource=pods")
    refused = bot.refused("create", "role", "more", "--verb=get", "--resource=secrets")
    assert "is attempting to grant RBAC permissions not currently held" in refused
    bound = bot.refused("create", "rolebinding", "all", "--clusterrole=cluster-admin", "--user=me")
    assert "is attempting to grant RBAC permissions not currently held" in bound
    widened = bot.refused(
        "patch", "role", "less", "--type=json", "-p", '[{"op":"add","path":"/rules/0/verbs/-","value":"*"}]'
    )
    assert "(Forbidden)" in widened


def test_acting_as_somebody_else_needs_the_right_to(bot: TokenKubectl, kubectl: Kubectl) -> None:
    assert 'cannot impersonate resource "users"' in bot.refused("get", "pods", "--as=jane")
    refused = kubectl.refused("get", "pods", "--as=jane")
    assert 'User "jane" cannot list resource "pods"' in refused
    kubectl("create", "rolebinding", "jane", "--clusterrole=view", "--user=jane")
    assert kubectl("get", "pods", "--as=jane") == ""
    assert "(Forbidden)" in kubectl.refused("get", "secrets", "--as=jane")
    assert kubectl("get", "secrets", "--as=jane", "--as-group=system:masters") == ""


def test_a_bad_token_is_nobody(kubectl: Kubectl, bot: TokenKubectl) -> None:
    forged = kubectl("create", "token", "bot").strip()[:-4] + "AAAA"
    for token in (forged, "a.b.c", "x"):
        assert "Unauthorized" in TokenKubectl(kubectl, token).refused("get", "pods")
    kubectl("delete", "serviceaccount", "bot")
    assert "Unauthorized" in bot.refused("get", "pods")


def test_a_token_is_made_to_measure(kubectl: Kubectl) -> None:
    kubectl("create", "serviceaccount", "bot")
    token = kubectl("create", "token", "bot", "--duration=1h").strip()
    assert token.count(".") == 2
    assert "may not specify a duration less than 10 minutes" in kubectl.refused(
        "create", "token", "bot", "--duration=1m"
    )
    assert 'serviceaccounts "nope" not found' in kubectl.refused("create", "token", "nope")
    foreign = kubectl("create", "token", "bot", "--audience=elsewhere").strip()
    assert "Unauthorized" in TokenKubectl(kubectl, foreign).refused("get", "pods")


def test_view_edit_and_admin_are_what_they_are_elsewhere(kubectl: Kubectl) -> None:
    for role in ("view", "edit", "admin"):
        kubectl("create", "rolebinding", role, f"--clusterrole={role}", f"--user=a-{role}")

    def can(role: str, *what: str) -> bool:
        return kubectl.run("auth", "can-i", *what, f"--as=a-{role}").out == "yes\n"

    assert can("view", "list", "deployments.apps")
    assert not can("view", "get", "secrets")
    assert not can("view", "create", "pods")
    assert can("edit", "create", "pods/exec")
    assert not can("edit", "create", "roles.rbac.authorization.k8s.io")
    assert can("admin", "create", "rolebindings.rbac.authorization.k8s.io")
    assert not can("admin", "delete", "nodes")


def test_what_lies_on_the_disk_tells_no_secret_and_who_wrote_it_is_recorded(kubectl: Kubectl) -> None:
    kubectl("create", "secret", "generic", "s", "--from-literal=k=correct-horse-battery")
    kubectl("create", "configmap", "c", "--from-literal=k=plain-horse-battery")
    assert kubectl("get", "secret", "s", "-o", "jsonpath={.data.k}") == "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5"
    state = kubectl.server.state
    stored = b"".join((state / name).read_bytes() for name in ("store.db", "store.db-wal"))
    assert b"plain-horse-battery" in stored
    assert b"Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5" not in stored
    assert (state / "encryption.keys").stat().st_mode & 0o777 == 0o600

    def recorded() -> list[str]:
        lines = (state / "audit.log").read_text().splitlines()
        return [
            line for line in lines if f'"namespace":"{kubectl.namespace}"' in line and '"resource":"secrets"' in line
        ]

    (line,) = until(recorded, what="the write is in the audit log")
    assert '"verb":"create"' in line
    assert "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5" not in line
