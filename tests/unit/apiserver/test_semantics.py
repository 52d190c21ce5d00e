"""What clients grep for: reasons, causes and words of refusals, option by option, as upstream gives them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.apiserver.plain_api import Api, content_of, plain_api

CORE = "/api/v1/namespaces/default"
MAPS, PODS = f"{CORE}/configmaps", f"{CORE}/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
MERGE, STRATEGIC, STEPS, APPLY = "merge-patch+json", "strategic-merge-patch+json", "json-patch+json", "apply-patch+yaml"


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with plain_api() as made:
        made("POST", MAPS, {"metadata": {"name": "a"}, "data": {"k": "v"}})
        made("POST", DEPLOYMENTS, deployment("d"))
        made("POST", MAPS, {"metadata": {"name": "dying", "finalizers": ["x.y/z"]}})
        made("DELETE", f"{MAPS}/dying")
        made("POST", "/api/v1/namespaces", {"metadata": {"name": "term"}})
        made("DELETE", "/api/v1/namespaces/term")
        made("POST", LEASES, {"metadata": {"name": "l"}})
        yield made


def deployment(name: str, **spec: Any) -> dict[str, Any]:
    pod = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": pod, **spec},
    }


def config_map(name: str, **meta: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **meta}}


TWICE = b'{"metadata":{"name":"x","foo":1},"spec":{"foo":1,"replicas":1,"replicas":2,"paused":true,"paused":false}}'
Case = tuple[str, str, Any, str, int, str, str]
REFUSED: dict[str, Case] = {
    # method, path, body, media, code, reason, words
    "an outdated version": (
        "PUT", f"{MAPS}/a", config_map("a", resourceVersion="1"), "json", 409, "Conflict",
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the '
        "latest version and try again",
    ),
    "no version where one must be": (
        "PUT", f"{LEASES}/l", {"metadata": {"name": "l"}}, "json", 422, "Invalid",
        'Lease.coordination.k8s.io "l" is invalid: metadata.resourceVersion: Invalid value: 0x0: must be specified for an '
        "update",
    ),
    "a version on create": (
        "POST", MAPS, config_map("b", resourceVersion="3"), "json", 400, "BadRequest",
        "resourceVersion should not be set on objects to be created",
    ),
    "what is there": ("POST", MAPS, config_map("a"), "json", 409, "AlreadyExists", 'configmaps "a" already exists'),
    "no name": (
        "POST", MAPS, {"metadata": {}}, "json", 422, "Invalid",
        'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required',
    ),
    "an absent namespace": (
        "POST", "/api/v1/namespaces/nope/configmaps", config_map("a"), "json", 404, "NotFound", 'namespaces "nope" not found',
    ),
    "a namespace that ends": (
        "POST", "/api/v1/namespaces/term/configmaps", config_map("a"), "json", 403, "Forbidden",
        'configmaps "a" is forbidden: unable to create new content in namespace term because it is being terminated',
    ),
    "another object's uid": (
        "DELETE", f"{MAPS}/a", {"preconditions": {"uid": "x"}}, "json", 409, "Conflict",
        "Precondition failed: UID in precondition: x, UID in object meta: ",
    ),
    "another object's version": (
        "DELETE", f"{MAPS}/a", {"preconditions": {"resourceVersion": "1"}}, "json", 409, "Conflict",
        "Precondition failed: ResourceVersion in precondition: 1, ResourceVersion in object meta: ",
    ),
    "two ways to propagate": (
        "DELETE", f"{MAPS}/a", {"propagationPolicy": "Orphan", "orphanDependents": True}, "json", 422, "Invalid",
        'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Invalid value: "Orphan": orphanDependents and '
        "deletionPropagation cannot be both set",
    ),
    "a policy that is none": (
        "DELETE", f"{MAPS}/a?propagationPolicy=Sideways", None, "json", 422, "Invalid",
        'propagationPolicy: Unsupported value: "Sideways": supported values: "Foreground", "Background", "Orphan"',
    ),
    "half a dry run": (
        "DELETE", f"{MAPS}/a?dryRun=Some", None, "json", 422, "Invalid",
        'DeleteOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: "Some": supported values: "All"',
    ),
    "a validation that is none": (
        "PUT", f"{MAPS}/a?fieldValidation=Hard", config_map("a"), "json", 422, "Invalid",
        'UpdateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "Hard": supported values: "Ignore", ',
    ),
    "a long manager": (
        "POST", f"{MAPS}?fieldManager={'x' * 129}", config_map("b"), "json", 422, "Invalid",
        'CreateOptions.meta.k8s.io "" is invalid: fieldManager: Too long: may not be more than 128 bytes',
    ),
    "a manager no one can read": (
        "POST", f"{MAPS}?fieldManager=%07", config_map("b"), "json", 422, "Invalid",
        r'fieldManager: Invalid value: "\u0007": should only contain printable characters',
    ),
    "force without apply": (
        "PATCH", f"{MAPS}/a?force=true", {"data": {}}, MERGE, 422, "Invalid",
        'PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch',
    ),
    "unknown and duplicate fields": (
        "POST", f"{DEPLOYMENTS}?fieldValidation=Strict", TWICE, "json", 400, "BadRequest",
        'strict decoding error: unknown field "metadata.foo", unknown field "spec.foo", duplicate field "spec.replicas", '
        'duplicate field "spec.paused"',
    ),
    "duplicate fields behind spaces": (
        "POST", f"{MAPS}?fieldValidation=Strict", b'{"metadata" : {"name" : "x"}, "data":{"a":"1","a":"2","b" :"3"}}', "json",
        400, "BadRequest", 'strict decoding error: duplicate field "data.a"',
    ),
    "a patch that says two things": (
        "PATCH", f"{DEPLOYMENTS}/d?fieldValidation=Strict", b'{"spec":{"replicas":1,"replicas":2}}', MERGE, 400, "BadRequest",
        'strict decoding error: duplicate field "spec.replicas"',
    ),
    "a patch of an unknown field": (
        "PATCH", f"{DEPLOYMENTS}/d?fieldValidation=Strict", {"spec": {"foo": 1}}, STRATEGIC, 400, "BadRequest",
        'strict decoding error: unknown field "spec.foo"',
    ),
    "steps to an unknown field": (
        "PATCH", f"{DEPLOYMENTS}/d?fieldValidation=Strict", [{"op": "add", "path": "/spec/foo", "value": 1}], STEPS, 400,
        "BadRequest", 'strict decoding error: unknown field "spec.foo"',
    ),
    "applying what no schema declares": (
        "PATCH", f"{DEPLOYMENTS}/d?fieldManager=m", deployment("d", foo=1), APPLY, 400, "BadRequest",
        "failed to create typed patch object (default/d; apps/v1, Kind=Deployment): .spec.foo: field not declared in schema",
    ),
    "applying as nobody": (
        "PATCH", f"{DEPLOYMENTS}/d", deployment("d"), APPLY, 422, "Invalid",
        'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
    ),
    "applying ownership": (
        "PATCH", f"{MAPS}/a?fieldManager=m", config_map("a", managedFields=[{"manager": "x"}]), APPLY, 400, "BadRequest",
        "metadata.managedFields must be nil",
    ),
    "applying against another": (
        "PATCH", f"{DEPLOYMENTS}/d?fieldManager=m", deployment("d", replicas=5), APPLY, 409, "Conflict",
        'Apply failed with 1 conflict: conflict with "law" using apps/v1: .spec.replicas',
    ),
    "applying to one that is gone": (
        "PATCH", f"{MAPS}/new?fieldManager=m", config_map("new", uid="u"), APPLY, 409, "Conflict",
        "uid mismatch: the provided object specified uid u, and no existing object was found",
    ),
    "what is immutable": (
        "PATCH", f"{DEPLOYMENTS}/d", {"spec": {"selector": {"matchLabels": {"x": "y"}}, "template": {"metadata": {"labels":
        {"x": "y"}}}}}, MERGE, 422, "Invalid", "field is immutable",
    ),
    "a value of another type": (
        "POST", PODS, {"metadata": {"name": "p"}, "spec": {"containers": "x"}}, "json", 400, "BadRequest",
        'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal string into Go struct field '
        "PodSpec.spec.containers of type []v1.Container",
    ),
    "another kind": (
        "POST", MAPS, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "b"}}, "json", 400, "BadRequest",
        "the kind of the object (Secret) does not match the expected kind (ConfigMap)",
    ),
    "another name": (
        "PUT", f"{MAPS}/a", config_map("b"), "json", 400, "BadRequest",
        "the name of the object (b) does not match the name on the URL (a)",
    ),
    "a new finalizer of what dies": (
        "PATCH", f"{MAPS}/dying", {"metadata": {"finalizers": ["x.y/z", "q.r/s"]}}, MERGE, 422, "Invalid",
        'ConfigMap "dying" is invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the object is being '
        'deleted, found new finalizers []string{"q.r/s"}',
    ),
    "a match without a version": (
        "GET", f"{MAPS}?resourceVersionMatch=Exact", None, "json", 422, "Invalid",
        "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
    ),
    "exactly any version": (
        "GET", f"{MAPS}?resourceVersionMatch=Exact&resourceVersion=0", None, "json", 422, "Invalid",
        'resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
    ),
    "a version beside a token": (
        "GET", f"{MAPS}?continue=abc&resourceVersion=5", None, "json", 400, "BadRequest",
        "specifying resource version is not allowed when using continue",
    ),
    "a token that is none": ("GET", f"{MAPS}?continue=abc", None, "json", 400, "BadRequest", "continue key is not valid"),
    "a field that is not indexed": (
        "GET", f"{MAPS}?fieldSelector=data.k%3Dv", None, "json", 400, "BadRequest", '"data.k" is not a known field selector',
    ),
    "initial events without a match": (
        "GET", f"{MAPS}?watch=1&sendInitialEvents=true", None, "json", 422, "Invalid", "sendInitialEvents",
    ),
    "a media type that is none": (
        "POST", MAPS, b"x", "cbor", 415, "UnsupportedMediaType", "the body of the request was in an unknown format - accepted",
    ),
    "a method that is none": (
        "POST", f"{MAPS}/a", {}, "json", 405, "MethodNotAllowed", "the server does not allow this method on the requested",
    ),
    "a path that is none": (
        "GET", "/apis/apps/v1/nope", None, "json", 404, "NotFound", "the server could not find the requested resource",
    ),
    "a negative scale": (
        "PUT", f"{DEPLOYMENTS}/d/scale", {"metadata": {"name": "d"}, "spec": {"replicas": -1}}, "json", 422, "Invalid",
        'Scale.autoscaling "d" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0',
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_has_upstreams_code_reason_and_words(api: Api, case: str) -> None:
    method, path, body, media, code, reason, words = REFUSED[case]
    status = api.refused(method, path, body, media)
    assert (status["code"], status["reason"]) == (code, reason), status
    assert words in status["message"]
    if reason == "Invalid":
        assert all(cause["reason"] and cause["message"] and cause["field"] for cause in status["details"]["causes"])


@pytest.mark.parametrize(
    ("spec", "field", "reason", "words"),
    [
        (
            {"restartPolicy": "Sometimes"},
            "spec.restartPolicy",
            "FieldValueNotSupported",
            'Unsupported value: "Sometimes"',
        ),
        ({"containers": []}, "spec.containers", "FieldValueRequired", "Required value"),
        (
            {"containers": [{"name": "c", "image": "i"}] * 2},
            "spec.containers[1].name",
            "FieldValueDuplicate",
            'Duplicate value: "c"',
        ),
    ],
)
def test_a_cause_names_the_field_and_the_rule(
    api: Api, spec: dict[str, Any], field: str, reason: str, words: str
) -> None:
    given = {"containers": [{"name": "c", "image": "i"}], **spec}
    status = api.refused("POST", PODS, {"metadata": {"name": "p"}, "spec": given})
    (cause,) = status["details"]["causes"]
    assert (cause["field"], cause["reason"]) == (field, reason)
    assert cause["message"].startswith(words)
    assert status["message"] == f'Pod "p" is invalid: {field}: {cause["message"]}'


def test_unknown_and_duplicate_fields_are_warned_of_where_nothing_else_is_asked(api: Api) -> None:
    body = b'{"metadata":{"name":"warned"},"data":{"a":"1","a":"2"},"foo":1}'
    reply = api.reply("POST", MAPS, body)
    assert reply.status == 201
    assert list(reply.warnings) == ['unknown field "foo"', 'duplicate field "data.a"']
    assert content_of(reply)["data"] == {"a": "2"}
    ignored = api.reply("POST", f"{MAPS}?fieldValidation=Ignore", body.replace(b"warned", b"ignored"))
    assert (ignored.status, list(ignored.warnings)) == (201, [])


@pytest.mark.parametrize("value", ["true", "True", "T", "1", "yes"])
def test_a_boolean_parameter_is_set_by_anything_but_false(api: Api, value: str) -> None:
    watch = api.reply("GET", f"{MAPS}?watch={value}")
    assert watch.stream is not None
    watch.stream.close()


@pytest.mark.parametrize("value", ["false", "False", "0", ""])
def test_a_boolean_parameter_is_not_set_by_false(api: Api, value: str) -> None:
    assert api("GET", f"{MAPS}?watch={value}")["kind"] == "ConfigMapList"


@pytest.mark.parametrize("path", ["/version/", "/api/", "/apis/", "/apis/apps/", "/apis/apps/v1/"])
def test_a_trailing_slash_is_forgiven_where_clients_send_one(api: Api, path: str) -> None:
    assert content_of(api.reply("GET", path)) == content_of(api.reply("GET", path.rstrip("/")))


def test_a_review_has_no_table(api: Api) -> None:
    review = {"spec": {"resourceAttributes": {"verb": "get"}}}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    assert api.reply("POST", path, review, accept=TABLE).status == 406
    assert api.reply("POST", path, review, accept=f"{TABLE},application/json").status == 201


@pytest.mark.parametrize(
    ("include", "kind"), [("None", None), ("Metadata", "PartialObjectMetadata"), ("Object", "ConfigMap")]
)
def test_rows_hold_as_much_of_the_object_as_is_asked(api: Api, include: str, kind: str | None) -> None:
    table = content_of(api.reply("GET", f"{MAPS}?includeObject={include}", accept=TABLE))
    assert table["kind"] == "Table"
    assert {(row.get("object") or {}).get("kind") for row in table["rows"]} == {kind}


def test_the_main_endpoint_leaves_the_status_alone_and_the_status_endpoint_the_spec(api: Api) -> None:
    path = f"{DEPLOYMENTS}/parts"
    made = api("POST", DEPLOYMENTS, {**deployment("parts"), "status": {"replicas": 9}})
    assert made["status"].get("replicas") is None
    changed = api("PUT", f"{path}/status", {**made, "spec": {**made["spec"], "replicas": 7}, "status": {"replicas": 3}})
    assert (changed["spec"]["replicas"], changed["status"]["replicas"]) == (1, 3)
    assert changed["metadata"]["generation"] == 1
    again = api("PUT", path, {**changed, "spec": {**made["spec"], "replicas": 2}, "status": {}})
    assert (again["spec"]["replicas"], again["status"]["replicas"], again["metadata"]["generation"]) == (2, 3, 2)
    labelled = api("PATCH", path, {"metadata": {"labels": {"x": "y"}}}, MERGE)
    assert labelled["metadata"]["generation"] == 2
    assert api("DELETE", path, {"propagationPolicy": "Foreground"})["metadata"]["generation"] == 3


def test_a_dry_run_answers_as_if_and_writes_nothing(api: Api) -> None:
    revision = api.server.state.revision
    made = api("POST", f"{DEPLOYMENTS}?dryRun=All", deployment("pretended"))
    assert made["metadata"]["uid"] and made["spec"]["revisionHistoryLimit"] == 10
    assert api("PATCH", f"{MAPS}/a?dryRun=All", {"data": {"k": "w"}}, MERGE)["data"] == {"k": "w"}
    api("DELETE", f"{MAPS}/a", {"dryRun": ["All"]})
    assert api("DELETE", f"{MAPS}?dryRun=All&fieldSelector=metadata.name%3Da")["items"]
    assert api.server.state.revision == revision
    assert api("GET", f"{MAPS}/a")["data"] == {"k": "v"}


def test_managers_are_capped_and_an_empty_entry_resets(api: Api) -> None:
    # An object of which nobody owns anything is not tracked, so it begins with a field.
    api("POST", MAPS, {**config_map("many"), "data": {"a": "b"}})
    for number in range(14):
        live = api("PATCH", f"{MAPS}/many?fieldManager=m{number}", {"data": {f"k{number}": "v"}}, MERGE)
    managers = [entry["manager"] for entry in live["metadata"]["managedFields"]]
    assert len(managers) <= 11
    assert "ancient-changes" in managers
    reset = api("PATCH", f"{MAPS}/many", {"metadata": {"managedFields": [{}]}}, MERGE)
    assert not reset["metadata"].get("managedFields")
    applied = api("PATCH", f"{MAPS}/many?fieldManager=late", {**config_map("many"), "data": {"k0": "v"}}, APPLY)
    managers = [entry["manager"] for entry in applied["metadata"]["managedFields"]]
    assert sorted(managers) == ["before-first-apply", "late"]
