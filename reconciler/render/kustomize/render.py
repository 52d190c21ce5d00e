"""A kustomization as manifests: what cannot be built is one problem, and then nothing is declared.

Half an overlay is another overlay: unlike plain files, one fault stops the whole.
"""

from __future__ import annotations

from reconciler.content import Source, Tree
from reconciler.model import Manifest, Manifests, Problem, digest_of
from reconciler.render.kustomize.build import Builder, Parse
from reconciler.render.kustomize.resource import BuildError
from reconciler.render.kustomize.tree import NAMES, BuildTree


def is_kustomization(tree: Tree, path: str) -> bool:
    """Is `path` itself a directory that kustomize builds?"""
    wanted = {f"{path}/{name}".lstrip("/") for name in NAMES}
    return any(file.path in wanted for file in tree.files)


async def render(source: Source, whole: Tree, path: str, parse: Parse) -> Manifests:
    """`whole` is the source's root: a base may lie beside the path.  Raises StageError when the source cannot be read."""
    try:
        built = await Builder(BuildTree(source, whole), parse).build(path)
    except BuildError as error:
        return Manifests((), (Problem(error.message, error.origin),), whole.digest)
    manifests = tuple(Manifest(each.obj, each.origin, digest_of(each.obj)) for each in built)
    # The path's own files say nothing of its bases: the result is named by what was built.
    return Manifests(manifests, (), digest_of([manifest.digest for manifest in manifests]))
