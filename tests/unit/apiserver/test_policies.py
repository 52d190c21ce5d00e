"""ValidatingAdmissionPolicies: whom they refuse, warn and let pass, and in which words."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from cluster.apiserver.apiserver import ApiServer
from cluster.apiserver.http import ApiRequest, Identity
from cluster.apiserver.policy_status import expression_warnings
from cluster.machinery.objects import Obj
from cluster.resources.catalog import builtin_catalog
from tests.apiservers import ADMIN, running

GROUP = "/apis/admissionregistration.k8s.io/v1"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


@dataclass(frozen=True)
class Answer:
    status: int
    obj: Any
    warnings: Sequence[str]


class World:
    def __init__(self, api: ApiServer) -> None:
        self.api = api

    async def request(self, method: str, path: str, obj: Any = None, user: Identity = ADMIN) -> Answer:
        reply = await self.api(ApiRequest(method, path, user, {}, {}, b"", obj))
        return Answer(reply.status, reply.obj or orjson.loads(reply.body or b"{}"), tuple(reply.warnings))

    async def policy(self, *validations: Obj, name: str = "p", resource: str = "configmaps", **more: Any) -> Answer:
        rule = {"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": [resource]}
        spec = {"matchConstraints": {"resourceRules": [rule]}, "validations": list(validations), **more}
        return await self.request(
            "POST", f"{GROUP}/validatingadmissionpolicies", {"metadata": {"name": name}, "spec": spec}
        )

    async def bind(self, *actions: str, name: str = "b", policy: str = "p", **more: Any) -> Answer:
        spec = {"policyName": policy, "validationActions": list(actions or ("Deny",)), **more}
        path = f"{GROUP}/validatingadmissionpolicybindings"
        return await self.request("POST", path, {"metadata": {"name": name}, "spec": spec})

    async def create(self, name: str = "c", data: Obj | None = None, **metadata: Any) -> Answer:
        return await self.request(
            "POST", CONFIG_MAPS, {"metadata": {"name": name, **metadata}, "data": dict(data or {})}
        )


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running() as api:
        yield World(api)


async def test_a_policy_without_a_binding_refuses_nothing(world: World) -> None:
    assert (await world.policy({"expression": "false"})).status == 201
    assert (await world.create()).status == 201


async def test_a_denied_request_names_policy_binding_and_expression(world: World) -> None:
    await world.policy({"expression": "object.data.size() < 2"})
    await world.bind()
    assert (await world.create("small", {"a": "1"})).status == 201
    denied = await world.create("c", {"a": "1", "b": "2"})
    why = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed expression: object.data.size() < 2"
    assert denied.status == 422
    assert denied.obj["reason"] == "Invalid"
    assert denied.obj["message"] == f'configmaps "c" is forbidden: {why}'
    assert denied.obj["details"]["causes"] == [{"message": why}]


@pytest.mark.parametrize(
    ("more", "status", "said"),
    [
        ({"message": "no"}, 422, "denied request: no"),
        ({"message": "no", "reason": "Forbidden"}, 403, "denied request: no"),
        ({"reason": "Unauthorized"}, 401, "failed expression: false"),
        ({"reason": "RequestEntityTooLarge"}, 413, "failed expression: false"),
        ({"messageExpression": "'not ' + object.metadata.name"}, 422, "denied request: not c"),
        ({"messageExpression": "object.nope", "message": "no"}, 422, "denied request: no"),
    ],
)
async def test_message_and_reason_are_the_validation_s(world: World, more: Obj, status: int, said: str) -> None:
    await world.policy({"expression": "false", **more})
    await world.bind()
    denied = await world.create()
    assert denied.status == status
    assert said in denied.obj["message"]


async def test_warn_warns_and_audit_only_records(world: World) -> None:
    await world.policy({"expression": "false", "message": "no"})
    await world.bind("Warn", "Audit")
    made = await world.create()
    assert made.status == 201
    assert "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': no" in " ".join(made.warnings)


async def test_an_expression_that_fails_is_decided_by_the_failure_policy(world: World) -> None:
    await world.policy({"expression": "object.spec.x == 1"})
    await world.bind()
    denied = await world.create()
    assert denied.status == 422
    assert "expression 'object.spec.x == 1' resulted in error: no such key: spec" in denied.obj["message"]
    await world.request("DELETE", f"{GROUP}/validatingadmissionpolicies/p")
    await world.policy({"expression": "object.spec.x == 1"}, failurePolicy="Ignore")
    assert (await world.create()).status == 201


async def test_match_conditions_narrow_and_variables_are_shared(world: World) -> None:
    await world.policy(
        {
            "expression": "variables.twice == 4 && variables.size == 2",
            "messageExpression": "'is ' + string(variables.twice)",
        },
        matchConditions=[{"name": "named", "expression": "object.metadata.name.startsWith('x')"}],
        variables=[
            {"name": "size", "expression": "object.data.size()"},
            {"name": "twice", "expression": "variables.size * 2"},
        ],
    )
    await world.bind()
    assert (await world.create("a", {})).status == 201
    assert (await world.create("xa", {"a": "", "b": ""})).status == 201
    denied = await world.create("xb", {"a": ""})
    assert denied.obj["message"].endswith("denied request: is 2")


async def test_expressions_see_request_old_object_namespace_and_rights(world: World) -> None:
    await world.policy(
        {"expression": "request.operation == 'CREATE' ? oldObject == null : oldObject.data.a == '1'"},
        {"expression": "request.userInfo.username == 'kubernetes-admin' && request.namespace == 'default'"},
        {
            "expression": "request.kind.kind == 'ConfigMap' && request.resource.resource == 'configmaps' && !request.dryRun"
        },
        {"expression": "namespaceObject.metadata.labels['kubernetes.io/metadata.name'] == 'default'"},
        {"expression": "authorizer.requestResource.check('delete').allowed()"},
        {
            "expression": "!authorizer.serviceAccount('default', 'x').group('').resource('secrets').check('get').allowed()"
        },
        {"expression": "authorizer.path('/healthz').check('get').allowed()"},
    )
    await world.bind()
    assert (await world.create("c", {"a": "1"})).obj.get("message") is None
    update = {"metadata": {"name": "c", "namespace": "default"}, "data": {"a": "2"}}
    assert (await world.request("PUT", f"{CONFIG_MAPS}/c", update)).status == 200
    refused = await world.request("PUT", f"{CONFIG_MAPS}/c", {**update, "data": {"a": "3"}})
    assert "oldObject.data.a == '1'" in refused.obj["message"]


async def test_parameters_are_looked_up_by_name_or_selector(world: World) -> None:
    await world.create("limits", {"max": "1"}, labels={"kind": "limits"})
    await world.policy(
        {"expression": "object.type == params.data.type"},
        resource="secrets",
        paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
    )
    await world.bind(paramRef={"name": "allowed", "parameterNotFoundAction": "Deny"})
    secrets = "/api/v1/namespaces/default/secrets"
    denied = await world.request("POST", secrets, {"metadata": {"name": "s"}, "type": "Opaque"})
    assert "failed to configure binding: no params found for policy binding with `Deny`" in denied.obj["message"]
    await world.create("allowed", {"type": "Opaque"})
    assert (await world.request("POST", secrets, {"metadata": {"name": "s"}, "type": "Opaque"})).status == 201
    assert (await world.request("POST", secrets, {"metadata": {"name": "t"}, "type": "example.com/x"})).status == 422
    await world.request("DELETE", f"{GROUP}/validatingadmissionpolicybindings/b")
    selector = {"selector": {"matchLabels": {"none": "such"}}, "parameterNotFoundAction": "Allow"}
    await world.bind(paramRef=selector)
    assert (await world.request("POST", secrets, {"metadata": {"name": "u"}, "type": "example.com/x"})).status == 201


async def test_a_binding_narrows_by_its_selectors(world: World) -> None:
    await world.policy({"expression": "false"})
    await world.bind(matchResources={"objectSelector": {"matchLabels": {"checked": "yes"}}})
    assert (await world.create("a")).status == 201
    assert (await world.create("b", labels={"checked": "yes"})).status == 422


async def test_policies_are_not_asked_about_policies(world: World) -> None:
    everything = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}
    await world.policy({"expression": "false"}, matchConstraints={"resourceRules": [everything]})
    await world.bind()
    assert (await world.create()).status == 422
    assert (await world.request("DELETE", f"{GROUP}/validatingadmissionpolicybindings/b")).status == 200
    assert (await world.create()).status == 201


@pytest.mark.parametrize(
    ("spec", "field", "why"),
    [
        ({"validations": [{"expression": "object.x >"}]}, "spec.validations[0].expression", "compilation failed: ERROR"),
        ({"validations": [{"expression": "1"}]}, "spec.validations[0].expression", "must evaluate to bool"),
        ({"validations": [{"expression": "nope"}]}, "spec.validations[0].expression", "undeclared reference to 'nope'"),
        ({"validations": [{"expression": "params.x"}]}, "spec.validations[0].expression", "undeclared reference to 'params'"),
        ({"validations": [{"expression": "request.nope == 1"}]}, "spec.validations[0].expression", "undefined field 'nope'"),
        ({"validations": []}, "spec.validations", "Required value"),
        ({"validations": [{"expression": "true", "reason": "Odd"}]}, "spec.validations[0].reason", "Unsupported value"),
        ({"validations": [{"expression": "true", "messageExpression": "1"}]}, "spec.validations[0].messageExpression",
         "must evaluate to string"),
        ({"variables": [{"name": "1x", "expression": "1"}]}, "spec.variables[0].name", "not a valid CEL identifier"),
        ({"variables": [{"name": "x", "expression": "variables.y"}]}, "spec.variables[0].expression", "undefined field 'y'"),
        ({"matchConditions": [{"name": "a", "expression": "1"}]}, "spec.matchConditions[0].expression", "to bool"),
        ({"matchConstraints": {}}, "spec.matchConstraints.resourceRules", "Required value"),
        ({"failurePolicy": "Maybe"}, "spec.failurePolicy", "Unsupported value"),
        ({"paramKind": {"apiVersion": "v1"}}, "spec.paramKind.kind", "Required value"),
        ({"auditAnnotations": [{"key": "a b", "valueExpression": "'x'"}]}, "spec.auditAnnotations[0].key", "Invalid value"),
    ],
)  # fmt: skip
async def test_unsound_policies_are_refused(world: World, spec: Obj, field: str, why: str) -> None:
    refused = await world.policy({"expression": "true"}, **spec)
    assert refused.status == 422
    [cause] = refused.obj["details"]["causes"]
    assert cause["field"] == field
    assert why in cause["message"]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"policyName": ""}, "spec.policyName"),
        ({"validationActions": []}, "spec.validationActions"),
        ({"validationActions": ["Deny", "Warn"]}, "spec.validationActions"),
        ({"validationActions": ["Shout"]}, "spec.validationActions[0]"),
        ({"paramRef": {"parameterNotFoundAction": "Deny"}}, "spec.paramRef.name"),
        ({"paramRef": {"name": "x"}}, "spec.paramRef.parameterNotFoundAction"),
    ],
)
async def test_unsound_bindings_are_refused(world: World, spec: Obj, field: str) -> None:
    refused = await world.bind(**spec)
    assert refused.status == 422
    assert [cause["field"] for cause in refused.obj["details"]["causes"]] == [field]


async def test_the_status_tells_what_does_not_fit_the_types_that_are_named(world: World) -> None:
    await world.policy(
        {"expression": "object.data.size() < 3", "messageExpression": "object.nope"},
        {"expression": "object.metadata.labels.size() > object.spec.x"},
    )
    async with asyncio.timeout(10):
        for _ in itertools.count():
            if status := (await world.request("GET", f"{GROUP}/validatingadmissionpolicies/p")).obj["status"]:
                break
            await asyncio.sleep(0)
    assert status["observedGeneration"] == 1
    first, second = status["typeChecking"]["expressionWarnings"]
    assert first["fieldRef"] == "spec.validations[0].messageExpression"
    assert first["warning"].startswith("v1, Kind=ConfigMap: ERROR: <input>:1:7: undefined field 'nope'")
    assert second["fieldRef"] == "spec.validations[1].expression"
    assert "undefined field 'spec'" in second["warning"]


async def test_expressions_that_fit_recursive_types_give_no_warnings(world: World) -> None:
    catalog = builtin_catalog()
    for resource, expression in (
        ("customresourcedefinitions", "object.spec.versions.all(v, v.schema.openAPIV3Schema.properties.size() < 100)"),
        ("pods", "object.spec.containers.all(c, has(c.resources) && c.resources.limits['cpu'] == '1')"),
    ):
        group = "apiextensions.k8s.io" if resource[0] == "c" else ""
        rule = {"operations": ["*"], "apiGroups": [group], "apiVersions": ["v1"], "resources": [resource]}
        spec = {"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": expression}]}
        assert list(expression_warnings(spec, catalog)) == []
