"""Plain manifests: every YAML or JSON file below a path, as it is.  A path that is a kustomization is built instead.

All that is wrong is reported at once, each with file and line; a bad file or document stops no other.  Only files that
changed are read and parsed: contents are known by id.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from cluster.machinery.objects import Obj
from reconciler.content import File, Source, TooLarge, Tree
from reconciler.model import Manifest, Manifests, Origin, Problem, Revision, digest_of
from reconciler.render.kustomize.render import is_kustomization
from reconciler.render.kustomize.render import render as kustomize
from reconciler.render.parsed import Parsed, ParsedFiles, Part
from reconciler.render.parser import Parser

SUFFIXES = (".yaml", ".yml", ".json")
OBJECTS_MAX = 20_000
"""Objects of one application; the rest is reported and not applied."""

BYTES_MAX = 64 * 1024 * 1024
"""Manifest bytes read for one revision."""

BATCH = 64
RENDERED_MAX = 32
"""Whole results remembered, by tree."""

_OVERLAY = "a kustomization is built when it is the path of an Application, not below one"
_BUILDERS = {
    "kustomization.yaml": _OVERLAY,
    "kustomization.yml": _OVERLAY,
    "Kustomization": _OVERLAY,
    "Chart.yaml": "Helm charts are not rendered by this version",
}


class PlainRenderer:
    """Deterministic and offline: the same tree gives the same manifests."""

    def __init__(self, files: ParsedFiles, parser: Parser) -> None:
        self._files = files
        self._parser = parser
        self._rendered: OrderedDict[tuple[str, str], Manifests] = OrderedDict()
        self._files_before: dict[str, dict[File, _FileManifests]] = {}

    async def render(self, source: Source, revision: Revision, path: str) -> Manifests:
        """All that `path` of the revision declares.  Raises StageError only when the source cannot be read."""
        if (known := self._rendered.get((revision.tree, path))) is not None:
            self._rendered.move_to_end((revision.tree, path))
            return known
        tree = await source.tree(revision, path)
        if is_kustomization(tree, path):
            whole = await source.tree(revision, "") if path else tree
            built = await kustomize(source, whole, path, self._parse)
            self._remember(revision.tree, path, built)
            return built
        if (known := self._rendered.get((tree.digest, path))) is not None:
            self._remember(revision.tree, path, known)
            return known
        problems: list[Problem] = [
            Problem("it is a symbolic link or a submodule, which are not followed", Origin(name, 0))
            for name in tree.skipped
            if name.endswith(SUFFIXES)
        ]
        files = list(_plain_files(tree, problems))
        before = self._files_before.pop(path, {})
        parsed = await self._parsed(source, [file for file in files if file not in before], problems)
        now: dict[File, _FileManifests] = {}
        manifests: list[Manifest] = []
        for file in files:
            found = before.get(file)
            if found is None and file.blob in parsed:
                found = _manifests(file.path, parsed[file.blob])
            if found is not None:
                now[file] = found
                manifests += found.items
                problems += found.problems
        self._files_before[path] = now
        if len(self._files_before) > RENDERED_MAX:
            del self._files_before[next(iter(self._files_before))]
        if len(manifests) > OBJECTS_MAX:
            problems.append(Problem(f"more than {OBJECTS_MAX} objects; {len(manifests) - OBJECTS_MAX} are left out"))
            del manifests[OBJECTS_MAX:]
        result = Manifests(tuple(manifests), tuple(problems), tree.digest)
        self._remember(tree.digest, path, result)
        self._remember(revision.tree, path, result)
        return result

    async def _parse(self, data: bytes) -> Parsed:
        return await self._parser.parse(data)

    def _remember(self, tree: str, path: str, result: Manifests) -> None:
        """By the path's own tree, and by the revision's: the latter is known without asking the source."""
        self._rendered[tree, path] = result
        self._rendered.move_to_end((tree, path))
        if len(self._rendered) > RENDERED_MAX:
            self._rendered.popitem(last=False)

    async def _parsed(self, source: Source, files: Iterable[File], problems: list[Problem]) -> Mapping[str, Parsed]:
        found: dict[str, Parsed] = {}
        missing: dict[str, str] = {}
        for path, blob in files:
            known = self._files.get(blob)
            if known is not None:
                found[blob] = known
            else:
                missing.setdefault(blob, path)
        blobs = list(missing)
        total = 0
        for start in range(0, len(blobs), BATCH):
            contents = await source.read(blobs[start : start + BATCH])
            for blob, data in contents.items():
                size = data.size_bytes if isinstance(data, TooLarge) else len(data)
                if isinstance(data, TooLarge):
                    problems.append(Problem(f"the file has {size} bytes, too many", Origin(missing[blob], 0)))
                    continue
                total += size
                if total > BYTES_MAX:
                    problems.append(Problem(f"more than {BYTES_MAX} bytes of manifests", Origin(missing[blob], 0)))
                    return found
                found[blob] = await self._parser.parse(data)
                self._files.put(blob, found[blob])
                await asyncio.sleep(0)  # parsing is slow: let probes and watches have their turn
        return found


def _plain_files(tree: Tree, problems: list[Problem]) -> Iterator[File]:
    """Manifest files, without the directories that some other tool is meant to build."""
    built: list[str] = []
    for file in tree.files:
        parent, slash, name = file.path.rpartition("/")
        if name in _BUILDERS:
            built.append(parent + slash)
            problems.append(Problem(_BUILDERS[name], Origin(file.path, 0)))
    elsewhere = tuple(built)
    for file in tree.files:
        if file.path.endswith(SUFFIXES) and not file.path.startswith(elsewhere):
            yield file


class _FileManifests(NamedTuple):
    """What one file declares.  Kept from one revision to the next: the manifests are then the very same values."""

    items: Sequence[Manifest]
    problems: Sequence[Problem]


def _manifests(path: str, parsed: Parsed) -> _FileManifests:
    items: list[Manifest] = []
    problems: list[Problem] = []
    if parsed.error:
        problems.append(Problem(parsed.error, Origin(path, parsed.error_line)))
    for part in parsed.parts:
        for piece in _expanded(part):
            origin = Origin(path, piece.line)
            if fault := _fault(piece.obj):
                problems.append(Problem(fault, origin))
            else:
                items.append(Manifest(piece.obj, origin, piece.digest))
    return _FileManifests(tuple(items), tuple(problems))


def _expanded(part: Part) -> Iterator[Part]:
    """The items of a List stand for themselves."""
    obj = part.obj
    if isinstance(obj, Mapping) and obj.get("kind") == "List" and isinstance(obj.get("items"), list):
        for item in obj["items"]:
            yield Part(item, part.line, digest_of(item))
    else:
        yield part


def _fault(obj: Any) -> str:
    """Why it is no object of a Kubernetes API; empty when it is one."""
    if not isinstance(obj, Mapping):
        return "the document is not an object"
    for field in ("apiVersion", "kind"):
        if not isinstance(obj.get(field), str) or not obj[field]:
            return f"{field} is missing or not text"
    return _metadata_fault(obj.get("metadata"))


def _metadata_fault(meta: Obj | None) -> str:
    if not isinstance(meta, Mapping):
        return "metadata is missing or not an object"
    if not isinstance(meta.get("name"), str) or not meta["name"]:
        if meta.get("generateName"):
            return "metadata.generateName would create another object each time: give it a name"
        return "metadata.name is missing or not text"
    if not isinstance(meta.get("namespace", ""), str):
        return "metadata.namespace is not text"
    for field in ("labels", "annotations"):
        if not isinstance(meta.get(field) or {}, Mapping):
            return f"metadata.{field} is not an object"
    return ""
