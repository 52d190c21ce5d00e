"""docs/gitops.md has a row for every field of the kinds of this daemon, with the schema's default."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.machinery.objects import Obj
from reconciler.crds.application import APPLICATION_CRD
from reconciler.crds.inventory import INVENTORY_CRD
from reconciler.crds.repository import REPOSITORY_CRD
from reconciler.crds.run import RUN_CRD
from tests.tidy.tree import text_of

PAGE = text_of("docs/gitops.md")


def fields_of(crd: Obj) -> Iterator[tuple[str, dict[str, Any]]]:
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for part in ("spec", "status"):
        for name, field in schema["properties"].get(part, {}).get("properties", {}).items():
            yield f"{part}.{name}", field


@pytest.mark.parametrize(
    "crd", [REPOSITORY_CRD, APPLICATION_CRD, RUN_CRD], ids=lambda crd: crd["spec"]["names"]["kind"]
)
def test_every_field_has_its_row(crd: Obj) -> None:
    missing = [path for path, _ in fields_of(crd) if f"`{path}`" not in PAGE]
    assert not missing


@pytest.mark.parametrize("crd", [REPOSITORY_CRD, APPLICATION_CRD], ids=lambda crd: crd["spec"]["names"]["kind"])
def test_a_default_is_the_schemas(crd: Obj) -> None:
    section = PAGE.split(f"\n## {crd['spec']['names']['kind']}\n")[1].split("\n## ")[0]
    for path, field in fields_of(crd):
        if field.get("default"):
            shown = re.search(rf"^\| `{re.escape(path)}` \| `([^`]*)` \|", section, re.MULTILINE)
            assert shown, path
            assert shown[1] == str(field["default"]).replace("True", "true")


def test_every_choice_is_named() -> None:
    choices = [
        value for crd in (APPLICATION_CRD, RUN_CRD) for _, field in fields_of(crd) for value in field.get("enum", ())
    ]
    assert not [value for value in choices if f"`{value}`" not in PAGE]


def test_every_field_of_an_inventory_is_named() -> None:
    schema = INVENTORY_CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    names = [*schema, *schema["entries"]["items"]["properties"]]
    assert not [name for name in names if f"`{name}`" not in PAGE and name not in ("apiVersion", "kind", "metadata")]
