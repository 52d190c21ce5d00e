"""The audit log: what is recorded of whom, what never is, and how much disk it takes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from cluster.apiserver.apiserver import ApiServer
from cluster.apiserver.audit import DEFAULT_POLICY, AuditPolicy, Level, PolicyError, parse_policy
from cluster.apiserver.audit_log import RECORDS_MAX, AuditLog, until_ended
from cluster.apiserver.connection import NOBODY
from cluster.apiserver.http import ApiRequest, Identity, RawConnection, Reply
from cluster.apiserver.routes import parse_route
from cluster.base.entropy import SeededEntropy
from cluster.client.transport import Query
from cluster.machinery.errors import Forbidden
from cluster.machinery.objects import Key
from cluster.resources.builtin import (
    CONFIG_MAPS,
    NAMESPACES,
    PODS,
    SECRETS,
)
from cluster.resources.builtin import (
    VALIDATING_ADMISSION_POLICIES as POLICIES,
)
from cluster.resources.builtin import (
    VALIDATING_ADMISSION_POLICY_BINDINGS as BINDINGS,
)
from tests.apiservers import ADMIN, running
from tests.clocks import SteppedClock
from tests.contract.transport_suite import config_map, pod

META = {"namespace": "default"}
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace"}


class Silent(RawConnection):
    async def read(self) -> bytes:
        return b""

    async def write(self, data: bytes) -> None:
        return None

    def close(self) -> None:
        return None


JANE = Identity("jane", ("system:authenticated",))
EVERYTHING = parse_policy(
    {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitManagedFields": True,
        "rules": [{"level": "RequestResponse"}],
    }
)


def log_of(path: Path, policy: AuditPolicy, *, size_max_bytes: int = 1 << 20, files_max: int = 3) -> AuditLog:
    return AuditLog(
        policy, path, size_max_bytes=size_max_bytes, files_max=files_max, clock=SteppedClock(), entropy=SeededEntropy(1)
    )


@asynccontextmanager
async def audited(path: Path, policy: AuditPolicy) -> AsyncIterator[tuple[ApiServer, AuditLog]]:
    log = log_of(path, policy)
    async with running(audit=log) as server:
        while log._records:
            log.flush()
        path.unlink(missing_ok=True)
        yield server, log


def records(log: AuditLog, path: Path) -> list[Any]:
    while log._records:
        log.flush()
    return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


async def test_a_write_is_recorded_without_its_body_and_a_read_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    async with audited(path, DEFAULT_POLICY) as (server, log):
        admin = server.transport(ADMIN)
        await admin.create(CONFIG_MAPS, config_map("c"))
        await admin.get(CONFIG_MAPS, Key("default", "c"))
        (record,) = records(log, path)
        assert path.stat().st_mode & 0o777 == 0o600
        assert (record["level"], record["stage"], record["verb"]) == ("Metadata", "ResponseComplete", "create")
        assert record["user"]["username"] == "kubernetes-admin"
        assert record["objectRef"] == {
            "resource": "configmaps",
            "namespace": "default",
            "name": "c",
            "apiVersion": "v1",
        }
        assert record["responseStatus"]["code"] == 201
        assert "requestObject" not in record


async def test_a_refused_read_is_recorded_with_whom_it_was_done_as(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    async with audited(path, DEFAULT_POLICY) as (server, log):
        with pytest.raises(Forbidden):
            await server.transport(JANE).list(SECRETS, Query("default"))
        with pytest.raises(Forbidden):
            await server.transport(ADMIN).raw("GET", "/api/v1/secrets", headers={"impersonate-user": "jane"})
        first, second = records(log, path)
        assert (first["user"]["username"], first["responseStatus"]["code"]) == ("jane", 403)
        assert first["annotations"]["authorization.k8s.io/decision"] == "forbid"
        assert second["user"]["username"] == "kubernetes-admin"
        assert second["impersonatedUser"]["username"] == "jane"


async def test_bodies_are_recorded_where_asked_for_and_never_those_of_secrets(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    async with audited(path, EVERYTHING) as (server, log):
        admin = server.transport(ADMIN)
        await admin.create(CONFIG_MAPS, {**config_map("c"), "data": {"a": "visible"}})
        hidden = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "default"}}
        await admin.create(SECRETS, {**hidden, "stringData": {"a": "hidden-value"}})
        await admin.list(SECRETS, Query("default"))
        body = b'{"spec": {"audiences": ["x"]}}'
        path_ = "/api/v1/namespaces/default/serviceaccounts/default/token"
        await admin.raw("POST", path_, headers={"content-type": "application/json"}, body=body)
        found = records(log, path)
        bodied = [record for record in found if "requestObject" in record or "responseObject" in record]
        assert [record["objectRef"]["resource"] for record in bodied] == ["configmaps"]
        assert bodied[0]["requestObject"]["data"] == bodied[0]["responseObject"]["data"] == {"a": "visible"}
        assert "managedFields" not in bodied[0]["responseObject"]["metadata"]
        assert "hidden-value" not in path.read_text()
        assert len(found) == 4


async def test_what_takes_long_is_recorded_as_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    async with audited(path, EVERYTHING) as (server, log):
        reply = await server(ApiRequest("GET", "/api/v1/pods", ADMIN, {"watch": ["true"]}, source="192.0.2.7"))
        assert [record["stage"] for record in records(log, path)] == ["RequestReceived", "ResponseStarted"]
        assert reply.stream is not None
        reply.stream.close()
        reply.stream.close()
        found = records(log, path)
        assert [record["stage"] for record in found] == ["RequestReceived", "ResponseStarted", "ResponseComplete"]
        assert len({record["auditID"] for record in found}) == 1
        assert found[2]["sourceIPs"] == ["192.0.2.7"]


async def test_a_session_is_recorded_until_it_ends() -> None:
    ended: list[str] = []

    async def session(connection: RawConnection) -> None:
        raise ConnectionResetError

    reply = until_ended(Reply(101, upgrade=session), lambda: ended.append("session"))
    assert ended == []
    assert reply.upgrade is not None
    with pytest.raises(ConnectionResetError):
        await reply.upgrade(Silent())
    until_ended(Reply(body=b""), lambda: ended.append("answer"))
    assert ended == ["session", "answer"]


async def test_bad_credentials_are_recorded_without_them(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    async with audited(path, DEFAULT_POLICY) as (server, log):
        headers = {"authorization": "Bearer not-a-token"}
        server.note_refused(ApiRequest("GET", "/api/v1/pods", NOBODY, headers=headers, source="192.0.2.7"))
        (record,) = records(log, path)
        assert record["responseStatus"]["code"] == 401
        assert (record["user"], record["sourceIPs"]) == ({}, ["192.0.2.7"])
        assert "authorization.k8s.io/decision" not in record["annotations"]
        assert "not-a-token" not in path.read_text()


async def test_the_audit_label_of_a_namespace_reaches_the_record(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    async with audited(path, DEFAULT_POLICY) as (server, log):
        admin = server.transport(ADMIN)
        labels = {"pod-security.kubernetes.io/audit": "restricted"}
        await admin.create(NAMESPACES, {**NAMESPACE, "metadata": {"name": "n", "labels": labels}})
        made = pod("p")
        await admin.create(PODS, {**made, "metadata": {**made["metadata"], "namespace": "n"}})
        annotations = records(log, path)[-1]["annotations"]
        found = annotations["pod-security.kubernetes.io/audit-violations"]
        assert found.startswith('would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false')


async def test_what_a_policy_audits_reaches_the_record(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    async with audited(path, DEFAULT_POLICY) as (server, log):
        admin = server.transport(ADMIN)
        rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
        spec = {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "true"}, {"expression": "has(object.data)", "message": "no data"}],
            "auditAnnotations": [{"key": "named", "valueExpression": "object.metadata.name"}],
        }
        group = "admissionregistration.k8s.io/v1"
        policy = {"apiVersion": group, "kind": POLICIES.kind, "metadata": {"name": "p"}, "spec": spec}
        await admin.create(POLICIES, policy)
        bound = {"policyName": "p", "validationActions": ["Warn", "Audit"]}
        await admin.create(
            BINDINGS, {"apiVersion": group, "kind": BINDINGS.kind, "metadata": {"name": "b"}, "spec": bound}
        )
        await admin.create(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**META, "name": "c"}})
        annotations = records(log, path)[-1]["annotations"]
        assert annotations["p/named"] == "c"
        assert orjson.loads(annotations["validation.policy.admission.k8s.io/validation_failure"]) == [
            {
                "message": "no data",
                "policy": "p",
                "binding": "b",
                "expressionIndex": "1",
                "validationActions": ["Audit", "Warn"],
            }
        ]


async def test_the_files_are_bounded_in_size_and_number(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    log = log_of(path, EVERYTHING, size_max_bytes=2000, files_max=2)
    for number in range(40):
        request = ApiRequest("DELETE", f"/api/v1/namespaces/n/pods/p{number}", JANE)
        route = parse_route(request.method, request.path, {})
        log.answered(request, route, log.now(), acting_as=JANE, code=200, error=None, call=None, result=None)
        log.flush()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["audit.log", "audit.log.1"]
    assert all(file.stat().st_size <= 2000 for file in tmp_path.iterdir())
    assert '"name":"p39"' in path.read_text()


async def test_a_buffer_that_is_full_drops_and_counts(tmp_path: Path) -> None:
    log = log_of(tmp_path / "audit.log", EVERYTHING)
    request = ApiRequest("DELETE", "/api/v1/namespaces/n/pods/p", JANE)
    route = parse_route(request.method, request.path, {})
    for _ in range(RECORDS_MAX + 3):
        log.answered(request, route, log.now(), acting_as=JANE, code=200, error=None, call=None, result=None)
    assert log.dropped == 3


def rule(**fields: Any) -> AuditPolicy:
    top = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy"}
    return parse_policy({**top, "rules": [{"level": "Request", **fields}]})


@pytest.mark.parametrize(
    ("fields", "method", "path", "matches"),
    [
        ({}, "GET", "/api/v1/pods", True),
        ({"users": ["jane"]}, "GET", "/api/v1/pods", True),
        ({"users": ["bob"]}, "GET", "/api/v1/pods", False),
        ({"userGroups": ["system:authenticated"]}, "GET", "/healthz", True),
        ({"verbs": ["delete"]}, "DELETE", "/api/v1/namespaces/n/pods/p", True),
        ({"verbs": ["delete"]}, "GET", "/api/v1/namespaces/n/pods/p", False),
        ({"resources": [{"group": "", "resources": ["pods"]}]}, "GET", "/api/v1/namespaces/n/pods/p/log", False),
        ({"resources": [{"group": "", "resources": ["pods/*"]}]}, "GET", "/api/v1/namespaces/n/pods/p/log", True),
        ({"resources": [{"group": "", "resources": ["*/log"]}]}, "GET", "/api/v1/namespaces/n/pods/p/log", True),
        ({"resources": [{"group": "apps"}]}, "GET", "/apis/apps/v1/deployments", True),
        ({"resources": [{"group": "apps"}]}, "GET", "/api/v1/pods", False),
        ({"resources": [{"resources": ["pods"], "resourceNames": ["p"]}]}, "GET", "/api/v1/namespaces/n/pods/q", False),
        ({"namespaces": ["n"]}, "GET", "/api/v1/namespaces/n/pods/q", True),
        ({"namespaces": [""]}, "GET", "/api/v1/nodes", True),
        ({"namespaces": ["n"]}, "GET", "/healthz", False),
        ({"nonResourceURLs": ["/health*"]}, "GET", "/healthz", True),
        ({"nonResourceURLs": ["/health*"]}, "GET", "/api/v1/pods", False),
    ],
)  # fmt: skip
def test_which_requests_a_rule_is_for(fields: dict[str, Any], method: str, path: str, matches: bool) -> None:
    route = parse_route(method, path, {})
    assert (rule(**fields).rule_for(JANE, route.verb, route) is not None) is matches


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ([], "not a mapping"),
        ({"apiVersion": "audit.k8s.io/v1beta1", "kind": "Policy"}, "apiVersion and kind"),
        ({"rules": []}, "at least one"),
        ({"rules": [{"level": "All"}]}, r"rules\[0\].level"),
        ({"rules": [{"level": "None", "user": ["x"]}]}, r"rules\[0\].user: unknown"),
        ({"rules": [{"level": "None", "users": "x"}]}, r"rules\[0\].users: not a list"),
        ({"rules": [{"level": "None"}], "omitStages": ["Never"]}, "omitStages"),
        ({"rules": [{"level": "None", "nonResourceURLs": ["/"], "namespaces": ["n"]}]}, "neither"),
    ],
)
def test_a_policy_that_would_not_be_followed_is_refused(document: Any, why: str) -> None:
    top = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy"}
    with pytest.raises(PolicyError, match=why):
        parse_policy({**top, **document} if isinstance(document, dict) else document)


def test_reads_cost_nothing_where_no_rule_wants_them() -> None:
    assert DEFAULT_POLICY.ignores_reads
    assert not EVERYTHING.ignores_reads
    assert not rule(level="None", verbs=["get"]).ignores_reads
    assert Level.METADATA < Level.REQUEST
