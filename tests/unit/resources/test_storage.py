"""Storage classes, attachments and what drivers say of themselves: defaults, rules, rows."""

from __future__ import annotations

import pytest

from tests.unit.resources.kinds import CONTEXT, cells, complaints, kind_of, named

GROUP = "storage.k8s.io"
CLASS, ATTACHMENT, DRIVER, NODE, CAPACITY = (
    kind_of(GROUP, kind) for kind in ("StorageClass", "VolumeAttachment", "CSIDriver", "CSINode", "CSIStorageCapacity")
)


def test_a_class_deletes_and_binds_at_once():
    made = CLASS.strategy.prepare_create(named("c", provisioner="a.io/b"), CONTEXT)
    assert (made["reclaimPolicy"], made["volumeBindingMode"]) == ("Delete", "Immediate")
    assert complaints(CLASS, named("c", provisioner="a.io/b")) == []


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "provisioner: Required value"),
        ({"provisioner": "a b"}, 'provisioner: Invalid value: "a b": name part must consist of'),
        ({"provisioner": "p", "reclaimPolicy": "Recycle"},
         'reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"'),
        ({"provisioner": "p", "volumeBindingMode": "Later"}, 'volumeBindingMode: Unsupported value: "Later": supported'),
        ({"provisioner": "p", "parameters": {str(i): "" for i in range(513)}}, "parameters: Too long"),
        ({"provisioner": "p", "parameters": {"": "x"}}, 'parameters: Invalid value: "": field can not be empty.'),
        ({"provisioner": "p", "allowedTopologies": [{"matchLabelExpressions": [{"key": "a", "values": []}]}]},
         "allowedTopologies[0].matchLabelExpressions[0].values: Required value"),
    ],
)  # fmt: skip
def test_a_class_that_cannot_work_is_refused(fields, text):
    assert [line[: len(text)] for line in complaints(CLASS, named("c", **fields))] == [text]


def test_what_a_class_provisions_stays():
    old = named("c", provisioner="p")
    new = named(
        "c", provisioner="q", parameters={"a": "b"}, reclaimPolicy="Retain", volumeBindingMode="WaitForFirstConsumer"
    )
    assert complaints(CLASS, new, old) == [
        "parameters: Forbidden: updates to parameters are forbidden.",
        "provisioner: Forbidden: updates to provisioner are forbidden.",
        "reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden.",
        'volumeBindingMode: Invalid value: "WaitForFirstConsumer": field is immutable',
    ]
    assert complaints(CLASS, named("c", provisioner="p", allowVolumeExpansion=True), old) == []


def test_the_default_class_is_marked_in_tables():
    obj = CLASS.strategy.default(named("c", provisioner="p"))
    assert cells(CLASS, obj) == ["c", "p", "Delete", "Immediate", False, "60s"]
    obj["metadata"]["annotations"] = {"storageclass.kubernetes.io/is-default-class": "true"}
    assert cells(CLASS, obj)[0] == "c (default)"


def _attachment(**spec):
    return named("a", spec={"attacher": "d.io", "nodeName": "n", "source": {"persistentVolumeName": "pv"}, **spec})


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"attacher": ""}, "spec.attacher: Required value"),
        ({"source": {}}, "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"),
        ({"source": {"persistentVolumeName": ""}}, "spec.source.persistentVolumeName: Required value: must specify non empty"),
        ({"nodeName": ""}, 'spec.nodeName: Invalid value: "": a lowercase'),
    ],
)  # fmt: skip
def test_an_attachment_says_what_where_and_by_whom(spec, text):
    assert [line[: len(text)] for line in complaints(ATTACHMENT, _attachment(**spec))] == [text]


def test_an_attachment_changes_by_its_status_only():
    made = ATTACHMENT.strategy.prepare_create({**_attachment(), "status": {"attached": True}}, CONTEXT)
    assert made["status"] == {"attached": False}
    assert "field is immutable" in complaints(ATTACHMENT, _attachment(nodeName="m"), _attachment())[0]
    assert ATTACHMENT.strategy.prepare_status({**made, "status": {"attached": True}}, made)["status"] == {
        "attached": True
    }
    assert cells(ATTACHMENT, made) == ["a", "d.io", "pv", "n", False, "60s"]


def test_a_driver_attaches_and_knows_no_pods_unless_it_says_so():
    made = DRIVER.strategy.default(named("d.io", spec={"attachRequired": False}))
    assert made["spec"] == {
        "attachRequired": False, "podInfoOnMount": False, "storageCapacity": False, "requiresRepublish": False,
        "fsGroupPolicy": "ReadWriteOnceWithFSType", "seLinuxMount": False, "volumeLifecycleModes": ["Persistent"],
    }  # fmt: skip
    assert complaints(DRIVER, made) == []
    assert complaints(DRIVER, named("d.io", spec={}), made) == [
        "spec.attachRequired: Invalid value: true: field is immutable"
    ]
    assert cells(DRIVER, made) == ["d.io", False, False, False, "<unset>", False, "Persistent", "60s"]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"fsGroupPolicy": "x"}, 'spec.fsGroupPolicy: Unsupported value: "x"'),
        ({"volumeLifecycleModes": ["x"]}, 'spec.volumeLifecycleModes: Unsupported value: "x"'),
        ({"tokenRequests": [{"audience": "a"}, {"audience": "a"}]}, 'spec.tokenRequests[1].audience: Duplicate value: "a"'),
        ({"tokenRequests": [{"audience": "a", "expirationSeconds": 1}]},
         "spec.tokenRequests[0].expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes"),
    ],
)  # fmt: skip
def test_a_driver_that_asks_for_nonsense_is_refused(spec, text):
    assert [line[: len(text)] for line in complaints(DRIVER, named("d", spec=spec))] == [text]


def test_a_nodes_drivers_are_added_and_removed_but_not_changed():
    one = {"name": "d.io", "nodeID": "x"}
    old = named("n", spec={"drivers": [one]})
    assert complaints(NODE, named("n", spec={"drivers": [one, {"name": "e.io", "nodeID": "y"}]}), old) == []
    assert "field is immutable" in complaints(NODE, named("n", spec={"drivers": [{**one, "nodeID": "z"}]}), old)[0]
    assert complaints(NODE, named("n", spec={"drivers": [one, one, {"name": "f.io"}]})) == [
        'spec.drivers[1].name: Duplicate value: "d.io"',
        "spec.drivers[2].nodeID: Required value",
    ]
    assert cells(NODE, old) == ["n", 1, "60s"]


def test_capacity_is_of_a_class_and_never_negative():
    old = named("c", "n", storageClassName="fast", capacity="1Gi")
    assert complaints(CAPACITY, old) == []
    assert complaints(CAPACITY, {**old, "capacity": "-1"}) == [
        'capacity: Invalid value: "-1": must be greater than or equal to 0'
    ]
    assert "storageClassName" in complaints(CAPACITY, {**old, "storageClassName": "slow"}, old)[0]
    assert cells(CAPACITY, old) == ["c", "fast", "1Gi"]
