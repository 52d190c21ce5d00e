"""Kustomizations that are refused, each with its place, and a suffix that follows the content."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from reconciler.model import Manifests
from reconciler.render.kustomize.build import VISITS_MAX
from reconciler.render.kustomize.merge import merged
from reconciler.render.parsed import ParsedFiles
from reconciler.render.parser import Parser
from reconciler.render.plain import PlainRenderer
from tests.unit.reconciler.test_render import GOOD, Files

CONFIG = GOOD.replace("NAME", "a")


async def built(files: Mapping[str, str], path: str) -> Manifests:
    source = Files(files)
    return await PlainRenderer(ParsedFiles(None), Parser()).render(source, await source.head(), path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("resources:\n- ../../x\n", "o/kustomization.yaml:2: '../../x' leads out of the repository"),
        ("resources: [/etc/passwd]\n", "o/kustomization.yaml:1: '/etc/passwd' leads out of the repository"),
        ("resources: [a.yaml, ../b.yaml]\n", "o/kustomization.yaml:1: '../b.yaml' is not in or below the directory"),
        (
            "\nresources: ['https://example.com/x?ref=v1']\n",
            "o/kustomization.yaml:2: 'https://example.com/x?ref=v1' is not",
        ),
        ("resources: [../o]\n", "o/kustomization.yaml: a cycle: o -> o"),
        ("namePrefx: a-\n", "o/kustomization.yaml:1: a kustomization has no field 'namePrefx'"),
        ("a: b\ngenerators: [x.yaml]\n", "o/kustomization.yaml:1: a kustomization has no field 'a'"),
        ("transformers: [x.yaml]\n", "o/kustomization.yaml:1: transformers is not supported"),
        ("resources: [a.yaml, a.yaml]\n", "o/kustomization.yaml:1: ConfigMap a is there twice"),
        ("resources: [link.yaml]\n", "o/kustomization.yaml:1: 'link.yaml' is not in the repository"),
        ("replicas: [{name: a, count: 1}]\n", "o/kustomization.yaml:1: there is nothing called 'a'"),
        ("patches: [{patch: 'kind: X'}]\n", "o/kustomization.yaml:1: a patch without target must name its object"),
    ],
)
async def test_what_cannot_be_built_is_refused_with_its_place(text: str, problem: str) -> None:
    made = await built({"o/kustomization.yaml": text, "o/a.yaml": CONFIG, "b.yaml": CONFIG}, "o")
    assert not made.items
    assert [str(one)[: len(problem)] for one in made.problems] == [problem]


async def test_bases_that_name_bases_twice_do_not_multiply_for_ever() -> None:
    files = {
        f"d{n}/kustomization.yaml": f"resources: [../d{n + 1}]\ncomponents: [../c{n + 1}]\n" for n in range(14)
    } | {
        f"c{n}/kustomization.yaml": f"kind: Component\nresources: [../d{n + 1}]\ncomponents: [../c{n + 1}]\n"
        for n in range(14)
    }
    files |= {"d14/kustomization.yaml": "{kind: Kustomization}", "c14/kustomization.yaml": "kind: Component\n"}
    made = await built(files, "d0")
    assert [f"more than {VISITS_MAX} kustomizations" in one.message for one in made.problems] == [True]


async def test_a_change_beside_the_path_is_seen() -> None:
    files = {"o/kustomization.yaml": "resources: [../base]\n", "base/kustomization.yaml": "resources: [a.yaml]\n"}
    before = await built({**files, "base/a.yaml": CONFIG}, "o")
    after = await built({**files, "base/a.yaml": CONFIG + "data: {k: v}\n"}, "o")
    assert before.tree != after.tree
    assert [str(item.origin) for item in after.items] == ["base/a.yaml:1"]


async def test_a_generated_name_follows_its_content_alone() -> None:
    async def name(literal: str, prefix: str) -> str:
        text = f"namePrefix: {prefix}\nconfigMapGenerator: [{{name: c, literals: [{literal}]}}]\n"
        return (await built({"kustomization.yaml": text}, "")).items[0].ref.name

    assert (await name("a=b", "x-")).removeprefix("x-") == (await name("a=b", "z-")).removeprefix("z-")
    assert await name("a=b", "x-") != await name("a=c", "x-")


def test_a_merge_leaves_both_its_inputs_alone() -> None:
    obj = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "a", "image": "x"}]}}
    patch = {"spec": {"containers": [{"name": "b"}, {"name": "a", "image": "z"}]}}
    made = merged(obj, patch)
    assert made["spec"]["containers"] == [{"name": "b"}, {"name": "a", "image": "z"}]
    assert obj["spec"] == {"containers": [{"name": "a", "image": "x"}]}
