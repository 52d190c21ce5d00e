"""Our kustomize and kubectl's make the same objects in the same order."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cluster.machinery.yaml import load_documents
from reconciler.render.parsed import ParsedFiles
from reconciler.render.parser import Parser
from reconciler.render.plain import PlainRenderer
from reconciler.source.folder import Folder
from tests.real.gitops.kustomize_trees import TREES

pytestmark = pytest.mark.needs("kubectl")


@pytest.mark.parametrize("name", sorted(TREES))
async def test_a_tree_is_built_as_kubectl_builds_it(name: str, tmp_path: Path) -> None:
    files, directory = TREES[name]
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    kubectl = await asyncio.create_subprocess_exec(
        "kubectl", "kustomize", str(tmp_path / directory),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await kubectl.communicate()
    assert kubectl.returncode == 0, err.decode()
    source = Folder(tmp_path)
    made = await PlainRenderer(ParsedFiles(None), Parser()).render(source, await source.head(), directory)
    assert [str(problem) for problem in made.problems] == []
    assert [item.obj for item in made.items] == [document.obj for document in load_documents(out)]
