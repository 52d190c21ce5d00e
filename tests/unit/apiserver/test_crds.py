"""A CustomResourceDefinition becomes served resources, or says why not."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest

from cluster.apiserver.crds import plan_crd, served_by
from cluster.apiserver.openapi import v2_document, v3_document
from cluster.machinery.conditions import conditions_of, get_condition
from cluster.machinery.objects import GroupKind, with_field
from cluster.machinery.schema import prune, unknown_fields
from cluster.resources.builtin import CUSTOM_RESOURCE_DEFINITIONS
from cluster.resources.catalog import builtin_catalog
from cluster.resources.printing import table_of
from cluster.resources.strategy import WriteContext

NOW = "2025-01-01T12:00:00Z"
CONTEXT = WriteContext(user="tester")
CRDS = builtin_catalog().of(CUSTOM_RESOURCE_DEFINITIONS).strategy

SCHEMA = {
    "type": "object",
    "description": "A tab.",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["cron"],
            "properties": {
                "cron": {"type": "string", "pattern": "^[*0-9 ]+$"},
                "replicas": {"type": "integer", "minimum": 1, "default": 2},
                "color": {"type": "string", "enum": ["red", "blue"]},
            },
        },
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}},
    },
}


def _version(name="v1", **fields):
    return {"name": name, "served": True, "storage": True, "schema": {"openAPIV3Schema": SCHEMA}, **fields}


def _crd(*versions, group="stable.example.com", **names):
    named = {"plural": "crontabs", "kind": "CronTab", "shortNames": ["ct"], **names}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{named['plural']}.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": named, "versions": list(versions or (_version(),))},
    }
    return CRDS.prepare_create(crd, CONTEXT)


def _one(crd):
    (descriptor,) = plan_crd(crd, builtin_catalog(), NOW).descriptors
    return descriptor


def _tab(**spec):
    return {
        "apiVersion": "stable.example.com/v1",
        "kind": "CronTab",
        "metadata": {"name": "t", "namespace": "n"},
        "spec": {"cron": "* *", **spec},
    }


def test_a_definition_is_defaulted_accepted_and_served():
    crd = _crd()
    assert CRDS.validate(crd) == ()
    assert crd["spec"]["names"]["singular"] == "crontab"
    assert crd["spec"]["names"]["listKind"] == "CronTabList"
    plan = plan_crd(crd, builtin_catalog(), NOW)
    assert plan.status["acceptedNames"] == crd["spec"]["names"]
    assert plan.status["storedVersions"] == ["v1"]
    assert [(c["type"], c["status"]) for c in plan.status["conditions"]] == [
        ("NamesAccepted", "True"),
        ("Established", "True"),
    ]
    (descriptor,) = plan.descriptors
    assert descriptor.resource.path(namespace="n") == "/apis/stable.example.com/v1/namespaces/n/crontabs"
    assert descriptor.resource.short_names == ("ct",)
    assert descriptor.definition == "com.example.stable.v1.CronTab"


def test_planning_again_changes_nothing():
    crd = _crd()
    first = plan_crd(crd, builtin_catalog(), NOW)
    again = plan_crd({**crd, "status": first.status}, builtin_catalog(), "2026-01-01T00:00:00Z")
    assert again.status == first.status


def test_its_objects_are_pruned_defaulted_and_validated():
    descriptor = _one(_crd())
    given = _tab(extra=1)
    assert unknown_fields(descriptor.node, given) == ("spec.extra",)
    made = descriptor.strategy.prepare_create(prune(descriptor.node, given), CONTEXT)
    assert made["spec"] == {"cron": "* *", "replicas": 2}
    assert made["metadata"]["generation"] == 1
    assert descriptor.strategy.validate(made) == ()
    fields = [cause.field for cause in descriptor.strategy.validate(_tab(cron="x", color="green", replicas=0))]
    assert sorted(fields) == ["spec.color", "spec.cron", "spec.replicas"]


def test_rows_written_before_a_default_show_it_when_read():
    descriptor = _one(_crd())
    assert descriptor.from_storage(_tab())["spec"]["replicas"] == 2


def test_what_was_wrong_before_does_not_stop_other_changes():
    strategy = _one(_crd()).strategy
    old = _tab(color="green")
    assert strategy.validate_update(_tab(color="green", replicas=3), old) == ()
    assert [c.field for c in strategy.validate_update(_tab(color="grey"), old)] == ["spec.color"]


def test_status_and_scale_are_subresources_when_declared():
    scale = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    descriptor = _one(_crd(_version(subresources={"status": {}, "scale": scale})))
    assert descriptor.resource.subresources == ("status", "scale")
    assert descriptor.strategy.scale.spec_replicas == ("spec", "replicas")
    made = descriptor.strategy.prepare_create({**_tab(), "status": {"replicas": 1}}, CONTEXT)
    assert "status" not in made
    told = descriptor.strategy.prepare_status({**made, "spec": {}, "status": {"replicas": 1}}, made)
    assert told["spec"] == made["spec"]
    assert told["status"] == {"replicas": 1}
    assert told["metadata"]["generation"] == 1


def test_without_a_status_endpoint_status_is_a_field():
    strategy = _one(_crd()).strategy
    old = strategy.prepare_create(_tab(), CONTEXT)
    new = strategy.prepare_update({**old, "status": {"replicas": 1}}, old)
    assert new["status"] == {"replicas": 1}
    assert new["metadata"]["generation"] == 2


def test_columns_and_selectable_fields_are_read_from_paths():
    columns = [
        {"name": "Cron", "type": "string", "jsonPath": ".spec.cron"},
        {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status', "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    descriptor = _one(_crd(_version(additionalPrinterColumns=columns, selectableFields=[{"jsonPath": ".spec.color"}])))
    tab = with_field(_tab(color="red", replicas=3), ("metadata", "creationTimestamp"), "2025-01-01T11:59:00Z")
    tab["status"] = {"conditions": [{"type": "Other", "status": "x"}, {"type": "Ready", "status": "True"}]}
    table = table_of(descriptor.columns, [tab, _tab()], datetime(2025, 1, 1, 12, tzinfo=UTC))
    assert [column["priority"] for column in table["columnDefinitions"]] == [0, 0, 0, 1, 0]
    assert [row["cells"] for row in table["rows"]] == [["t", "* *", 3, "True", "60s"], ["t", "* *", None, None, None]]
    assert descriptor.selectable["spec.color"](tab) == "red"
    assert descriptor.selectable["spec.color"](_tab()) == ""


def test_versions_share_rows():
    crd = _crd(_version("v1"), _version("v2", storage=False), _version("v1beta1", storage=False, served=False))
    first, second = plan_crd(crd, builtin_catalog(), NOW).descriptors
    assert first.storage == second.storage == first.resource
    assert second.to_storage({**_tab(), "apiVersion": "stable.example.com/v2"})["apiVersion"] == "stable.example.com/v1"
    assert second.from_storage(_tab())["apiVersion"] == "stable.example.com/v2"


def test_the_first_to_use_a_name_keeps_it():
    catalog = builtin_catalog()
    for descriptor in plan_crd(_crd(), catalog, NOW).descriptors:
        catalog.add(descriptor)
    late = _crd(plural="calltabs", kind="CallTab", shortNames=["ct"])
    plan = plan_crd(late, catalog, NOW)
    assert plan.descriptors == ()
    refused = get_condition(plan.status["conditions"], "NamesAccepted")
    assert (refused["status"], refused["reason"], refused["message"]) == (
        "False",
        "ShortNamesConflict",
        '"ct" is already in use',
    )
    assert get_condition(plan.status["conditions"], "Established")["status"] == "False"
    assert len(plan_crd(_crd(), catalog, NOW).descriptors) == 1


def test_what_is_established_stays_served_under_its_names():
    catalog = builtin_catalog()
    other = _crd(plural="othertabs", kind="OtherTab", shortNames=["ot"])
    for descriptor in plan_crd(other, catalog, NOW).descriptors:
        catalog.add(descriptor)
    crd = _crd()
    crd = {**crd, "status": plan_crd(crd, catalog, NOW).status}
    plan = plan_crd(with_field(crd, ("spec", "names", "shortNames"), ["ot"]), catalog, NOW)
    assert get_condition(plan.status["conditions"], "Established")["status"] == "True"
    assert plan.descriptors[0].resource.short_names == ("ct",)


def test_what_a_definition_serves_is_known_for_removal():
    catalog, crd = builtin_catalog(), _crd(_version("v1"), _version("v2", storage=False))
    for descriptor in plan_crd(crd, catalog, NOW).descriptors:
        catalog.add(descriptor)
    assert [resource.version for resource in served_by(crd, catalog)] == ["v1", "v2"]
    for resource in served_by(crd, catalog):
        catalog.remove(resource)
    assert catalog.of_kind(GroupKind("stable.example.com", "CronTab")) is None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda crd: with_field(crd, ("metadata", "name"), "other.stable.example.com"), "metadata.name"),
        (lambda crd: with_field(crd, ("spec", "scope"), "Global"), "spec.scope"),
        (lambda crd: with_field(crd, ("spec", "names", "kind"), "Not A Kind"), "spec.names.kind"),
        (lambda crd: with_field(crd, ("spec", "versions"), [_version(), _version("v2")]), "spec.versions"),
        (lambda crd: with_field(crd, ("spec", "versions"), [_version(schema={})]), "spec.versions[0].schema.openAPIV3Schema"),
        (lambda crd: with_field(crd, ("spec", "versions"), [_version(schema={"openAPIV3Schema": {"type": "array"}})]),
         "spec.versions[0].schema.openAPIV3Schema.type"),
        (lambda crd: with_field(crd, ("spec", "conversion"), {"strategy": "Webhook"}), "spec.conversion.webhook.clientConfig"),
        (lambda crd: with_field(crd, ("spec", "versions"), [_version(selectableFields=[{"jsonPath": ".a[0]"}])]),
         "spec.versions[0].selectableFields[0].jsonPath"),
        (lambda crd: with_field(crd, ("spec", "versions"),
                                [_version(additionalPrinterColumns=[{"name": "a", "type": "string", "jsonPath": "{range}"}])]),
         "spec.versions[0].additionalPrinterColumns[0].jsonPath"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_definition_is_said(change, field):
    crd = change(_crd())
    assert field in [cause.field for cause in CRDS.validate(crd)]
    plan = plan_crd(crd, builtin_catalog(), NOW)
    assert plan.descriptors == ()
    assert get_condition(conditions_of({"status": plan.status}), "NamesAccepted")["reason"] == "Invalid"


def test_protected_groups_need_an_approval():
    assert "metadata.annotations[api-approved.kubernetes.io]" in [
        cause.field for cause in CRDS.validate(_crd(group="mine.k8s.io"))
    ]


def test_a_stored_version_must_stay():
    old = _crd(_version("v1"))
    new = CRDS.prepare_update(_crd(_version("v2")), old)
    assert new["status"]["storedVersions"] == ["v1", "v2"]
    assert [cause.field for cause in CRDS.validate_update(new, old)] == ["status.storedVersions[0]"]


def test_its_schema_is_published():
    descriptor = _one(_crd())
    document = v3_document([descriptor])
    schema = document["components"]["schemas"]["com.example.stable.v1.CronTab"]
    assert schema["properties"]["spec"]["properties"]["replicas"]["default"] == 2
    assert schema["x-kubernetes-group-version-kind"] == [
        {"group": "stable.example.com", "version": "v1", "kind": "CronTab"}
    ]
    patch = document["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}"]["patch"]
    assert "application/strategic-merge-patch+json" not in patch["requestBody"]["content"]
    published = v2_document([descriptor])["definitions"]["com.example.stable.v1.CronTab"]
    assert "default" not in published["properties"]["spec"]["properties"]["replicas"]
    assert b"CronTabList" in orjson.dumps(document)


def test_a_custom_resource_never_hides_a_built_in_one():
    crd = _crd(group="rbac.authorization.k8s.io", plural="roles", kind="Role", shortNames=[])
    crd = with_field(crd, ("metadata", "annotations"), {"api-approved.kubernetes.io": "yes"})
    plan = plan_crd(crd, builtin_catalog(), NOW)
    assert plan.descriptors == ()
    assert get_condition(plan.status["conditions"], "NamesAccepted")["reason"] == "PluralConflict"


def _narrow(*names):
    return {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {n: {"type": "string"} for n in names}}},
    }


def test_each_version_has_only_the_fields_of_its_schema():
    old = _version("v1", schema={"openAPIV3Schema": _narrow("a", "b")})
    crd = _crd(old, _version("v2", storage=False, schema={"openAPIV3Schema": _narrow("b", "c")}))
    _, second = plan_crd(crd, builtin_catalog(), NOW).descriptors
    stored = {**_tab(), "spec": {"a": "1", "b": "2"}}
    assert second.from_storage(stored)["spec"] == {"b": "2"}
    written = {**stored, "apiVersion": "stable.example.com/v2", "spec": {"b": "2", "c": "3"}}
    assert second.to_storage(written) == {**stored, "spec": {"b": "2"}}


def test_rows_of_an_earlier_storage_version_are_read_in_the_new_one():
    plain = _version("v1", schema={"openAPIV3Schema": _narrow("a")})
    moved = _crd({**plain, "storage": False}, {**plain, "name": "v2"})
    moved = {**moved, "status": {**moved["status"], "storedVersions": ["v1", "v2"]}}
    first, second = plan_crd(moved, builtin_catalog(), NOW).descriptors
    row = {**_tab(), "spec": {"a": "1"}}
    assert second.from_storage(row) == {**row, "apiVersion": "stable.example.com/v2"}
    assert first.from_storage(row) == row
    assert first.storage.version == "v2"


def test_a_deprecated_version_says_so():
    default = _one(_crd(_version(deprecated=True)))
    assert default.deprecation == "stable.example.com/v1 CronTab is deprecated"
    assert _one(_crd(_version(deprecated=True, deprecationWarning="use v2"))).deprecation == "use v2"
    fields = [cause.field for cause in CRDS.validate(_crd(_version(deprecationWarning="x" * 300)))]
    assert fields == ["spec.versions[0].deprecationWarning"] * 2


@pytest.mark.parametrize(
    ("paths", "why"),
    [
        ([".spec.replicas"], ""),
        ([".spec.absent"], "is an invalid path: does not refer to a valid field"),
        ([".spec"], "must point to a field of type string, boolean or integer"),
        ([".metadata.name"], "must not point to fields in metadata"),
        ([".spec.replicas", ".spec.replicas"], "Duplicate value"),
    ],
)
def test_what_is_selected_by_is_a_plain_field_of_the_schema(paths, why):
    crd = _crd(_version("v1", selectableFields=[{"jsonPath": path} for path in paths]))
    causes = [cause for cause in CRDS.validate(crd) if "selectableFields" in cause.field]
    assert [why in cause.message for cause in causes] == ([True] if why else [])


def test_an_embedded_resource_names_its_kind_and_keeps_what_every_object_has():
    template = {
        "type": "object",
        "x-kubernetes-embedded-resource": True,
        "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}},
    }
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"template": template}}}
    descriptor = _one(_crd(_version("v1", schema=schema)))
    whole = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "labels": {"x": "y"}, "other": 1},
        "spec": {"a": "1", "b": "2"},
    }
    made = prune(descriptor.node, {**_tab(), "template": whole})["template"]
    assert made == {**whole, "metadata": {"name": "p", "labels": {"x": "y"}}, "spec": {"a": "1"}}
    assert descriptor.strategy.validate({**_tab(), "template": made}) == ()
    causes = descriptor.strategy.validate({**_tab(), "template": {"metadata": {"name": "p"}, "apiVersion": ""}})
    assert [(cause.field, cause.message) for cause in causes] == [
        ("template.apiVersion", "Required value: must not be empty"),
        ("template.kind", "Required value: must not be empty"),
    ]
