"""Admission webhooks: who is asked about what, in which order, and what becomes of the answers."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from cluster.apiserver.apiserver import ApiServer
from cluster.apiserver.audit import DEFAULT_POLICY
from cluster.apiserver.audit_log import AuditLog
from cluster.apiserver.http import ApiRequest, Reply
from cluster.base.entropy import SeededEntropy
from cluster.machinery.objects import Obj
from tests.apiservers import ADMIN, running
from tests.clocks import SteppedClock
from tests.contract.transport_suite import pod
from tests.https_servers import Answered, HttpsPeer, Received, https_peer
from tests.unit.apiserver.test_streams import EchoNode

PATHS = {"Mutating": "mutatingwebhookconfigurations", "Validating": "validatingwebhookconfigurations"}
Say = Callable[[Obj], Obj]
"""What a webhook says to an AdmissionRequest: its response without the uid."""


def allow(request: Obj) -> Obj:
    return {"allowed": True}


def deny(**status: Any) -> Say:
    return lambda request: {"allowed": False, "status": status} if status else {"allowed": False}


def patch(*operations: Obj) -> Say:
    encoded = base64.b64encode(orjson.dumps(list(operations))).decode()
    return lambda request: {"allowed": True, "patchType": "JSONPatch", "patch": encoded}


def label(name: str, value: str = "x") -> Say:
    """Adds a label; nothing when it is there."""

    def say(request: Obj) -> Obj:
        labels = request["object"]["metadata"].get("labels") or {}
        if name in labels:
            return {"allowed": True}
        return patch({"op": "add", "path": "/metadata/labels", "value": {**labels, name: value}})(request)

    return say


@dataclass
class World:
    api: ApiServer
    peer: HttpsPeer
    says: dict[str, Say] = field(default_factory=dict)
    asked: list[tuple[str, Obj]] = field(default_factory=list)

    async def answer(self, request: Received) -> Answered:
        name = request.target.partition("?")[0].removeprefix("/")
        review = orjson.loads(request.body)
        self.asked.append((name, review["request"]))
        said = self.says[name](review["request"])
        if "raw" in said:
            return Answered(body=said["raw"])
        response = {"uid": review["request"]["uid"], **said}
        return Answered(body=orjson.dumps({**review, "request": None, "response": response}))

    async def hook(self, kind: str, name: str, say: Say, **more: Any) -> None:
        """Configure one webhook that is asked about every ConfigMap that is written, unless `more` says otherwise."""
        self.says[name] = say
        url = f"https://127.0.0.1:{self.peer.port}/{name}"
        webhook = {
            "name": f"{name}.example.com",
            "clientConfig": {"url": url, "caBundle": base64.b64encode(self.peer.ca_pem.encode()).decode()},
            "rules": [rule()],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            **more,
        }
        path = f"/apis/admissionregistration.k8s.io/v1/{PATHS[kind]}"
        made = await self.request("POST", path, {"metadata": {"name": name}, "webhooks": [webhook]})
        assert made.status == 201, made.obj

    async def request(
        self, method: str, path: str, obj: Any = None, query: Mapping[str, list[str]] | None = None, **headers: str
    ) -> Reply:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.api(ApiRequest(method, path, ADMIN, query or {}, given, b"", obj))

    async def create(self, name: str, query: Mapping[str, list[str]] | None = None, **fields: Any) -> Reply:
        obj = {"metadata": {"name": name, **fields.pop("metadata", {})}, **fields}
        return await self.request("POST", "/api/v1/namespaces/default/configmaps", obj, query)


def rule(resource: str = "configmaps", *operations: str, group: str = "", version: str = "v1", **more: str) -> Obj:
    return {
        "operations": list(operations or ("CREATE", "UPDATE")),
        "apiGroups": [group],
        "apiVersions": [version],
        "resources": [resource],
        **more,
    }


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with _world(tmp_path) as made:
        yield made


@asynccontextmanager
async def _world(tmp_path: Path, *, audit: AuditLog | None = None) -> AsyncIterator[World]:
    answer: list[Callable[[Received], Awaitable[Answered]]] = []

    async def forward(request: Received) -> Answered:
        return await answer[0](request)

    async with (
        https_peer(tmp_path, forward, "127.0.0.1") as peer,
        running(node_channels=EchoNode(), audit=audit) as api,
    ):
        made = World(api, peer)
        answer.append(made.answer)
        yield made


def body_of(reply: Reply) -> Obj:
    obj: Obj = reply.obj if reply.body is None else orjson.loads(reply.body)
    return obj


async def test_a_review_tells_all_of_the_request(world: World) -> None:
    await world.hook("Validating", "look", allow)
    query = {"fieldManager": ["me"], "dryRun": ["All"]}
    assert (await world.create("a", query, data={"k": "v"})).status == 201
    ((_, request),) = world.asked
    assert {name: request[name] for name in ("kind", "resource", "name", "namespace", "operation", "dryRun")} == {
        "kind": {"group": "", "version": "v1", "kind": "ConfigMap"},
        "resource": {"group": "", "version": "v1", "resource": "configmaps"},
        "name": "a",
        "namespace": "default",
        "operation": "CREATE",
        "dryRun": True,
    }
    assert request["object"]["data"] == {"k": "v"}
    assert request["oldObject"] is None
    assert request["userInfo"] == {"username": ADMIN.name, "groups": list(ADMIN.groups)}
    assert request["options"] == {
        "kind": "CreateOptions",
        "apiVersion": "meta.k8s.io/v1",
        "fieldManager": "me",
        "dryRun": ["All"],
    }


@pytest.mark.parametrize(
    ("say", "code", "reason", "message"),
    [
        (deny(message="no", code=403, reason="Forbidden"), 403, "Forbidden", "denied the request: no"),
        (deny(reason="Because"), 400, "Because", "denied the request: Because"),
        (deny(), 400, "", "denied the request without explanation"),
        (deny(code=200, message="m"), 400, "", "denied the request: m"),
        (deny(code="x", details=[1], message="m"), 400, "", "denied the request: m"),
    ],
)
async def test_a_refusal_is_the_webhooks_status(world: World, say: Say, code: int, reason: str, message: str) -> None:
    await world.hook("Validating", "never", say)
    refused = await world.create("a")
    assert refused.status == code
    assert body_of(refused)["reason"] == reason
    assert body_of(refused)["message"] == f'admission webhook "never.example.com" {message}'
    assert (await world.request("GET", "/api/v1/namespaces/default/configmaps/a")).status == 404


async def test_mutating_webhooks_go_by_name_and_see_what_those_before_left(world: World) -> None:
    await world.hook("Mutating", "b-second", label("second"))
    await world.hook("Mutating", "a-first", label("first"))
    made = await world.create("a")
    assert body_of(made)["metadata"]["labels"] == {"first": "x", "second": "x"}
    assert [name for name, _ in world.asked] == ["a-first", "b-second"]
    assert world.asked[1][1]["object"]["metadata"]["labels"] == {"first": "x"}


async def test_one_that_wants_to_is_asked_again_once_after_a_later_change(world: World) -> None:
    await world.hook("Mutating", "a", label("a"), reinvocationPolicy="IfNeeded")
    await world.hook("Mutating", "b", label("b"))
    await world.hook("Mutating", "c", label("c"), reinvocationPolicy="IfNeeded")
    await world.create("a")
    assert [name for name, _ in world.asked] == ["a", "b", "c", "a"]


async def test_validating_webhooks_see_the_final_object_and_the_first_refusal_counts(world: World) -> None:
    await world.hook("Mutating", "m", label("m"))
    await world.hook("Validating", "a", allow)
    await world.hook("Validating", "b", deny(message="b"))
    await world.hook("Validating", "c", deny(message="c"))
    refused = await world.create("a")
    assert body_of(refused)["message"].endswith("denied the request: b")
    assert all(request["object"]["metadata"]["labels"] == {"m": "x"} for name, request in world.asked if name != "m")


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense",
        b"[]",
        b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}',
        b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1beta1", "response": {"allowed": true}}',
        b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": {"uid": "x", "allowed": true}}',
    ],
)
@pytest.mark.parametrize("policy", ["Fail", "Ignore"])
async def test_an_answer_that_is_none_is_a_failure(world: World, raw: bytes, policy: str) -> None:
    await world.hook("Validating", "bad", lambda request: {"raw": raw}, failurePolicy=policy)
    answered = await world.create("a")
    assert answered.status == (201 if policy == "Ignore" else 500)
    if policy == "Fail":
        start = 'Internal error occurred: failed calling webhook "bad.example.com": received invalid webhook response'
        assert body_of(answered)["message"].startswith(start)


async def test_one_that_cannot_be_reached_fails_the_request_unless_it_is_ignored(world: World) -> None:
    gone = {"service": {"namespace": "default", "name": "gone", "path": "/x"}}
    await world.hook("Validating", "a", allow, failurePolicy="Ignore", clientConfig=gone)
    assert (await world.create("a")).status == 201
    await world.hook("Validating", "b", allow, clientConfig=gone)
    refused = await world.create("b")
    assert refused.status == 500
    assert body_of(refused)["message"] == (
        'Internal error occurred: failed calling webhook "b.example.com": failed to call webhook: '
        'Post "https://gone.default.svc:443/x?timeout=10s": service "gone" not found'
    )


@pytest.mark.parametrize(
    ("say", "why"),
    [
        (patch({"op": "replace", "path": "/metadata/name", "value": "other"}), "name, namespace or uid"),
        (patch({"op": "replace", "path": "/kind", "value": "Secret"}), "may not change apiVersion or kind"),
        (patch({"op": "remove", "path": "/nothing/here"}), "returned a patch that does not fit"),
        (patch({"op": "add", "path": "/data", "value": 3}), "left an object that cannot be read"),
        (patch({"op": "remove", "path": "/metadata"}), "name, namespace or uid"),
        (lambda request: {"allowed": True, "patchType": "JSONPatch", "patch": "e"}, "not a JSON patch in base64"),
        (lambda request: {"allowed": True, "patch": "W10="}, 'invalid response.patchType of "None"'),
    ],
)
async def test_a_patch_that_does_not_fit_fails_the_request(world: World, say: Say, why: str) -> None:
    await world.hook("Mutating", "m", say)
    refused = await world.create("a")
    assert refused.status == 500
    assert why in body_of(refused)["message"]


async def test_what_only_the_server_sets_stays_its_own(world: World) -> None:
    uid = "11111111-2222-3333-4444-555555555555"
    meta = {"name": "a", "namespace": "default", "generation": 7, "managedFields": [{"manager": "forged"}]}
    whole = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"k": "v"}, "unknown": 1}

    def everything(request: Obj) -> Obj:
        value = {**whole, "metadata": {**meta, "uid": request["object"]["metadata"]["uid"]}}
        return patch({"op": "replace", "path": "", "value": value})(request)

    await world.hook("Mutating", "m", everything)
    made = body_of(await world.create("a", {"fieldManager": ["me"]}, metadata={"uid": uid}))
    assert made["data"] == {"k": "v"}
    assert "unknown" not in made
    assert [entry["manager"] for entry in made["metadata"]["managedFields"]] == ["me"]
    assert made["metadata"]["uid"] != uid


async def test_warnings_reach_the_client(world: World) -> None:
    await world.hook("Validating", "w", lambda request: {"allowed": True, "warnings": ["careful", "y" * 1000]})
    assert list((await world.create("a")).warnings) == ["careful", "y" * 256]


async def test_side_effects_and_dry_run(world: World) -> None:
    await world.hook("Validating", "n", allow, sideEffects="NoneOnDryRun")
    assert (await world.create("a", {"dryRun": ["All"]})).status == 201


@pytest.mark.parametrize(
    ("more", "asked"),
    [
        ({"rules": [rule(group="apps")]}, False),
        ({"rules": [rule("*")]}, True),
        ({"rules": [rule("*/*")]}, True),
        ({"rules": [rule("configmaps/status")]}, False),
        ({"rules": [rule("configmaps", "DELETE")]}, False),
        ({"rules": [rule("configmaps", "*")]}, True),
        ({"rules": [rule(scope="Cluster")]}, False),
        ({"rules": [rule(scope="Namespaced")]}, True),
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}, True),
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "other"}}}, False),
        ({"objectSelector": {"matchLabels": {"app": "x"}}}, True),
        ({"objectSelector": {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}}, False),
    ],
)
async def test_rules_and_selectors_say_who_is_asked(world: World, more: dict[str, Any], asked: bool) -> None:
    await world.hook("Validating", "v", allow, **more)
    await world.create("a", metadata={"labels": {"app": "x"}})
    assert bool(world.asked) is asked


@pytest.mark.parametrize(("policy", "asked"), [("Equivalent", True), ("Exact", False)])
async def test_another_version_of_the_same_objects_is_equivalent(world: World, policy: str, asked: bool) -> None:
    await world.hook("Validating", "e", allow, rules=[rule("events")], matchPolicy=policy)
    event = {
        "metadata": {"name": "e"},
        "eventTime": "2025-01-01T00:00:00.000000Z",
        "reportingController": "example.com/c",
        "reportingInstance": "c-1",
        "action": "Look",
        "reason": "R",
        "type": "Normal",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "p"},
    }
    made = await world.request("POST", "/apis/events.k8s.io/v1/namespaces/default/events", event)
    assert made.status == 201, made.obj
    assert bool(world.asked) is asked
    if asked:
        ((_, request),) = world.asked
        assert request["resource"] == {"group": "", "version": "v1", "resource": "events"}
        assert request["requestResource"] == {"group": "events.k8s.io", "version": "v1", "resource": "events"}
        assert request["object"]["apiVersion"] == "v1"
        assert request["object"]["involvedObject"]["name"] == "p"


async def test_updates_and_deletions_carry_the_old_object(world: World) -> None:
    await world.create("a", data={"k": "1"})
    await world.hook("Validating", "v", allow, rules=[rule("configmaps", "UPDATE", "DELETE")])
    path = "/api/v1/namespaces/default/configmaps/a"
    merge = "application/merge-patch+json"
    assert (await world.request("PATCH", path, {"data": {"k": "2"}}, content_type=merge)).status == 200
    assert (await world.request("DELETE", path)).status == 200
    update, deletion = (request for _, request in world.asked)
    assert (update["oldObject"]["data"], update["object"]["data"]) == ({"k": "1"}, {"k": "2"})
    assert update["options"]["kind"] == "PatchOptions"
    assert (deletion["oldObject"]["data"], deletion["object"]) == ({"k": "2"}, None)
    assert deletion["options"]["kind"] == "DeleteOptions"


async def test_a_refused_deletion_leaves_the_object(world: World) -> None:
    await world.create("a")
    await world.hook("Validating", "v", deny(message="stay"), rules=[rule("configmaps", "DELETE")])
    path = "/api/v1/namespaces/default/configmaps/a"
    assert (await world.request("DELETE", path)).status == 400
    assert (await world.request("GET", path)).status == 200


async def test_configurations_themselves_are_never_asked_about(world: World) -> None:
    group = "admissionregistration.k8s.io"
    await world.hook("Validating", "all", deny(message="no"), rules=[rule("*", "*", group="*", version="*")])
    assert (await world.create("a")).status == 400
    path = f"/apis/{group}/v1/validatingwebhookconfigurations/all"
    assert (await world.request("DELETE", path)).status == 200
    assert (await world.create("a")).status == 201


async def test_a_scale_is_shown_as_a_scale(world: World) -> None:
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "c:1"}]}},
    }
    deployments = "/apis/apps/v1/namespaces/default/deployments"
    await world.request("POST", deployments, {"metadata": {"name": "d"}, "spec": spec})
    await world.hook("Validating", "s", deny(message="small"), rules=[rule("deployments/scale", group="apps")])
    merge = "application/merge-patch+json"
    refused = await world.request("PATCH", f"{deployments}/d/scale", {"spec": {"replicas": 9}}, content_type=merge)
    assert refused.status == 400
    ((_, request),) = world.asked
    assert (request["kind"]["kind"], request["object"]["spec"], request["oldObject"]["spec"]) == (
        "Scale",
        {"replicas": 9},
        {"replicas": 1},
    )


async def test_a_connection_is_asked_about_by_its_options(world: World) -> None:
    made = {**pod("p"), "spec": {**pod("p")["spec"], "nodeName": "n"}}
    assert (await world.request("POST", "/api/v1/namespaces/default/pods", made)).status == 201
    await world.hook("Validating", "x", deny(message="no shells"), rules=[rule("pods/exec", "CONNECT")])
    query = {"command": ["sh", "-c", "x"], "stdin": ["true"], "container": ["c"]}
    refused = await world.request("GET", "/api/v1/namespaces/default/pods/p/exec", query=query)
    assert (refused.status, "no shells" in body_of(refused)["message"]) == (400, True)
    ((_, request),) = world.asked
    assert (request["operation"], request["subResource"], request["name"]) == ("CONNECT", "exec", "p")
    assert request["object"] == {
        "apiVersion": "v1",
        "kind": "PodExecOptions",
        "stdin": True,
        "container": "c",
        "command": ["sh", "-c", "x"],
    }


async def test_an_eviction_and_a_binding_are_created(world: World) -> None:
    assert (await world.request("POST", "/api/v1/namespaces/default/pods", pod("p"))).status == 201
    both = [rule("pods/binding", "CREATE"), rule("pods/eviction", "CREATE")]
    await world.hook("Validating", "x", deny(message="stay"), rules=both)
    path = "/api/v1/namespaces/default/pods/p"
    assert (await world.request("POST", f"{path}/binding", {"target": {"kind": "Node", "name": "n"}})).status == 400
    assert (await world.request("POST", f"{path}/eviction", {"metadata": {"name": "p"}})).status == 400
    assert [request["kind"]["kind"] for _, request in world.asked] == ["Binding", "Eviction"]


def webhook(**changes: Any) -> Obj:
    made = {
        "name": "a.example.com",
        "clientConfig": {"url": "https://a.example.com/x"},
        "rules": [rule()],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        **changes,
    }
    return {name: value for name, value in made.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"name": "a"}, "name", "at least three segments"),
        ({"sideEffects": None}, "sideEffects", "must specify one of None, NoneOnDryRun"),
        ({"sideEffects": "Some"}, "sideEffects", "Unsupported value"),
        ({"timeoutSeconds": 31}, "timeoutSeconds", "between 1 and 30 seconds"),
        ({"admissionReviewVersions": ["v1beta1"]}, "admissionReviewVersions", "must include at least one of v1"),
        ({"clientConfig": {}}, "clientConfig", "exactly one of url or service is required"),
        ({"clientConfig": {"url": "http://a.b/"}}, "clientConfig.url", "only allowed URL scheme"),
        ({"clientConfig": {"url": "https://u:p@a.b/"}}, "clientConfig.url", "user information is not permitted"),
        ({"clientConfig": {"url": "https://a.b/?c"}}, "clientConfig.url", "query parameters are not permitted"),
        ({"clientConfig": {"url": "https://a.b:x/"}}, "clientConfig.url", "must be a valid URL"),
        ({"clientConfig": {"service": {"name": "s"}}}, "clientConfig.service.namespace", "Required value"),
        (
            {"clientConfig": {"service": {"name": "s", "namespace": "n", "path": "x"}}},
            "clientConfig.service.path",
            "must start with a '/'",
        ),
        ({"rules": [{**rule(), "operations": []}]}, "rules[0].operations", "Required value"),
        ({"rules": [rule("a", "*", "CREATE")]}, "rules[0].operations", "must not specify other operations"),
        ({"rules": [rule(scope="Some")]}, "rules[0].scope", "Unsupported value"),
        ({"failurePolicy": "Hope"}, "failurePolicy", "Unsupported value"),
        (
            {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}},
            "namespaceSelector.matchExpressions[0].operator",
            "selector operator",
        ),
    ],
)
async def test_a_configuration_that_makes_no_sense_is_refused(
    world: World, changes: dict[str, Any], field: str, says: str
) -> None:
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    refused = await world.request("POST", path, {"metadata": {"name": "c"}, "webhooks": [webhook(**changes)]})
    assert refused.status == 422, refused.obj
    causes = {cause["field"]: cause["message"] for cause in body_of(refused)["details"]["causes"]}
    assert says in causes[f"webhooks[0].{field}"]


async def test_what_is_left_out_is_filled_in(world: World) -> None:
    service = {"clientConfig": {"service": {"name": "s", "namespace": "n"}}}
    path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
    made = await world.request("POST", path, {"metadata": {"name": "c"}, "webhooks": [webhook(**service)]})
    (stored,) = body_of(made)["webhooks"]
    assert (stored["failurePolicy"], stored["matchPolicy"], stored["timeoutSeconds"]) == ("Fail", "Equivalent", 10)
    assert (stored["reinvocationPolicy"], stored["rules"][0]["scope"]) == ("Never", "*")
    assert stored["clientConfig"]["service"]["port"] == 443
    assert body_of(made)["metadata"]["generation"] == 1


async def test_match_conditions_decide_who_is_asked(world: World) -> None:
    conditions = [
        {"name": "not-nodes", "expression": "!('system:nodes' in request.userInfo.groups)"},
        {"name": "named", "expression": "object.metadata.name.startsWith('asked')"},
    ]
    await world.hook("Validating", "narrow", deny(message="no"), matchConditions=conditions)
    assert (await world.create("other")).status == 201
    assert (await world.create("asked")).status == 400
    assert [name for name, _ in world.asked] == ["narrow"]


async def test_a_condition_that_fails_is_decided_by_the_failure_policy(world: World) -> None:
    broken = [{"name": "broken", "expression": "object.nope.x == 1"}]
    await world.hook("Validating", "fails", deny(message="no"), matchConditions=broken, failurePolicy="Ignore")
    assert (await world.create("a")).status == 201
    await world.hook("Validating", "strict", deny(message="no"), matchConditions=broken)
    refused = await world.create("b")
    assert refused.status == 500
    assert b"expression 'object.nope.x == 1' resulted in error: no such key: nope" in (refused.body or b"")
    assert world.asked == []


async def test_what_a_webhook_notes_for_the_audit_reaches_the_record(tmp_path: Path) -> None:
    log = AuditLog(
        DEFAULT_POLICY,
        tmp_path / "audit.log",
        size_max_bytes=1 << 20,
        files_max=1,
        clock=SteppedClock(),
        entropy=SeededEntropy(1),
    )
    async with _world(tmp_path, audit=log) as world:
        for kind in PATHS:
            await world.hook(kind, kind.lower(), lambda request: {"allowed": True, "auditAnnotations": {"k": "v"}})
        await world.create("a")
    annotations = orjson.loads((tmp_path / "audit.log").read_bytes().splitlines()[-1])["annotations"]
    noted = {key: text for key, text in annotations.items() if key.endswith("/k")}
    assert noted == {"mutating.example.com/k": "v", "validating.example.com/k": "v"}
