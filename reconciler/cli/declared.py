"""Where a source that lies on this host declares an object: its file, the document in it, and who wrote each line."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster.machinery.objects import Obj, field_of
from cluster.machinery.yaml import Document, Marks, YamlError, load_documents
from reconciler.content import Source
from reconciler.history.fields import Span, span_of
from reconciler.model import Ref, ref_of
from reconciler.render.plain import SUFFIXES
from reconciler.source.address import checked_path
from reconciler.source.annotate import Line, annotate
from reconciler.source.command import Git
from reconciler.source.folder import Folder
from reconciler.source.git import GitRef, LocalRepository
from reconciler.source.refs import layout_of

BATCH = 64


@dataclass(frozen=True, slots=True)
class Declaration:
    """The object as `file` declares it.  `lines` are empty for a folder, which keeps no history."""

    file: str
    document: Document
    obj: Obj
    marks: Marks
    last_line: int
    lines: Sequence[Line]

    def span_of(self, words: Sequence[str]) -> Span:
        return span_of(self.document, self.obj, self.marks, words, last_line=self.last_line)

    def newest(self, span: Span) -> Line | None:
        """The commit that last changed one of the lines; blank lines and separators are nobody's."""
        said = [line for line in self.lines[span.start - 1 : span.end - 1] if line.text.strip() not in ("", "---")]
        return max(said, key=lambda line: line.authored_at, default=None)


def place_of(repository: Obj, given: Path | None) -> Path | None:
    """Where the source is on this host: what the user names, else where the Repository says; None when it is elsewhere."""
    named = given or Path(
        str(field_of(repository, "spec", "path", default="") or field_of(repository, "spec", "folder", default=""))
    )
    return named.resolve() if named != Path() and named.is_dir() else None


async def declaration_of(place: Path, application: Obj, revision: str, ref: Ref) -> Declaration | None:
    """None when that revision does not declare the object.  Raises StageError when it cannot be read."""
    path = checked_path(str(field_of(application, "spec", "path", default="")))
    target = str(field_of(application, "spec", "targetNamespace", default="") or application["metadata"]["namespace"])
    async with _opened(place, revision) as (source, git):
        head = await source.head()
        if head.id != revision:
            return None  # the folder has gone on since
        tree = await source.tree(head, path)
        names = {file.blob: file.path for file in tree.files if file.path.endswith(SUFFIXES)}
        blobs = list(names)
        for start in range(0, len(blobs), BATCH):
            for blob, data in (await source.read(blobs[start : start + BATCH])).items():
                if not isinstance(data, bytes) or ref.name.encode() not in data:
                    continue
                found = declared_in(names[blob], data, ref, target)
                if found is None:
                    continue
                lines = await annotate(git, layout_of(place).common_dir, revision, found.file) if git else ()
                return Declaration(found.file, found.document, found.obj, found.marks, found.last_line, lines)
    return None


@asynccontextmanager
async def _opened(place: Path, revision: str) -> AsyncIterator[tuple[Source, Git | None]]:
    if revision.startswith("sha256:"):
        yield Folder(place), None
        return
    with tempfile.TemporaryDirectory(prefix="reconciler-blame-") as home:
        git = Git.prepare(Path(home))
        repository = LocalRepository(git, place, GitRef(commit=revision))
        try:
            yield repository, git
        finally:
            await repository.close()


def declared_in(file: str, data: bytes, ref: Ref, target_namespace: str) -> Declaration | None:
    """The first document of the file, or item of a List, that is the object.  Never raises for what the file contains."""
    try:
        documents = load_documents(data)
    except YamlError:
        return None
    last_line = data.count(b"\n") + (not data.endswith(b"\n"))
    for number, document in enumerate(documents):
        end = documents[number + 1].line - 1 if number + 1 < len(documents) else last_line
        for obj, marks in _objects(document):
            if _names(obj, ref, target_namespace):
                return Declaration(file, document, obj, marks, end, ())
    return None


def _objects(document: Document) -> Sequence[tuple[Obj, Marks]]:
    items = document.obj.get("items")
    below = document.marks.below.get("items")
    if document.obj.get("kind") != "List" or not isinstance(items, list):
        return [(document.obj, document.marks)]
    marks = below.below if below is not None else {}
    return [(item, marks.get(index, document.marks)) for index, item in enumerate(items) if isinstance(item, Mapping)]


def _names(obj: Obj, ref: Ref, target_namespace: str) -> bool:
    if not isinstance(obj.get("metadata"), Mapping) or not all(
        isinstance(obj.get(f), str) for f in ("apiVersion", "kind")
    ):
        return False
    named = ref_of(obj)
    if (named.group, named.kind, named.name) != (ref.group, ref.kind, ref.name):
        return False
    return ref.namespace in ("", named.namespace) or (not named.namespace and ref.namespace == target_namespace)
