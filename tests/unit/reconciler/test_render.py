"""Plain manifests: everything wrong is named with its place, and nothing is read twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from reconciler.content import BLOB_MAX_BYTES, File, Source, TooLarge, Tree
from reconciler.model import Manifests, Revision
from reconciler.render.parsed import ParsedFiles
from reconciler.render.parser import Parser
from reconciler.render.plain import PlainRenderer

GOOD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME}\n"
SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: hunter2}\n"


class Files:
    """A source in memory that counts what is read."""

    def __init__(self, files: Mapping[str, str], skipped: Sequence[str] = ()) -> None:
        self.files = {path: text.encode() for path, text in files.items()}
        self.skipped = skipped
        self.reads: list[str] = []

    async def head(self) -> Revision:
        return Revision("r", str(sorted(self.files.items())))

    async def tree(self, revision: Revision, path: str) -> Tree:
        files = tuple(File(name, f"blob-{hash(data)}") for name, data in sorted(self.files.items()))
        return Tree(revision.tree, files, self.skipped)

    async def read(self, blobs: Sequence[str]) -> Mapping[str, bytes | TooLarge]:
        self.reads.extend(blobs)
        contents = {f"blob-{hash(data)}": data for data in self.files.values()}
        return {
            blob: contents[blob] if len(contents[blob]) < BLOB_MAX_BYTES else TooLarge(len(contents[blob]))
            for blob in blobs
        }

    async def follows(self, revision: Revision, earlier: str) -> bool:
        return True

    def fingerprint(self) -> str:
        return ""

    def watched(self) -> Sequence[Path]:
        return ()

    async def close(self) -> None:
        return None


async def rendered(source: Files, parsed: ParsedFiles | None = None) -> Manifests:
    typed: Source = source
    return await PlainRenderer(parsed or ParsedFiles(None), Parser()).render(typed, await source.head(), "")


async def test_documents_know_their_file_and_line() -> None:
    text = GOOD.replace("NAME", "a") + "---\n" + GOOD.replace("NAME", "b")
    manifests = await rendered(Files({"x.yaml": text, "README.md": "no", "y.json": '{"kind": 1}'}))
    assert [(item.ref.name, str(item.origin)) for item in manifests.items] == [("a", "x.yaml:1"), ("b", "x.yaml:5")]
    assert [str(problem) for problem in manifests.problems] == ["y.json:1: apiVersion is missing or not text"]


async def test_every_problem_is_reported_at_once() -> None:
    manifests = await rendered(
        Files(
            {
                "a.yaml": "a: [\n",
                "b.yaml": "apiVersion: v1\nkind: ConfigMap\n",
                "c.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {generateName: x-}\n",
                "d.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: 7}\n",
                "e.yaml": "x" * (BLOB_MAX_BYTES + 1),
                "f.yaml": GOOD,
            },
            skipped=("link.yaml",),
        )
    )
    assert [item.origin.file for item in manifests.items] == ["f.yaml"]
    assert sorted({problem.origin.file for problem in manifests.problems if problem.origin}) == [
        "a.yaml", "b.yaml", "c.yaml", "d.yaml", "e.yaml", "link.yaml",
    ]  # fmt: skip


async def test_what_another_tool_builds_below_the_path_is_refused_and_the_rest_is_rendered() -> None:
    files = {"app/kustomization.yaml": "resources: [a.yaml]\n", "app/a.yaml": GOOD, "plain/b.yaml": GOOD}
    manifests = await rendered(Files(files))
    assert [item.origin.file for item in manifests.items] == ["plain/b.yaml"]
    assert ["kustomization is built when it is the path" in problem.message for problem in manifests.problems] == [True]


async def test_the_items_of_a_list_stand_for_themselves() -> None:
    text = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n"
    assert [item.ref.name for item in (await rendered(Files({"l.yaml": text}))).items] == ["a"]


async def test_a_changed_file_is_the_only_one_read_again(tmp_path: Path) -> None:
    files = {f"{n}.yaml": GOOD.replace("NAME", f"n{n}") for n in range(10)}
    source = Files(files)
    await rendered(source, ParsedFiles(tmp_path))
    source.reads.clear()
    source.files["3.yaml"] = GOOD.replace("NAME", "other").encode()
    manifests = await rendered(source, ParsedFiles(tmp_path))
    assert len(source.reads) == 1
    assert "other" in {item.ref.name for item in manifests.items}


async def test_a_secret_is_never_written_to_the_cache(tmp_path: Path) -> None:
    source = Files(
        {"s.yaml": SECRET, "l.yaml": "apiVersion: v1\nkind: List\nitems:\n- {kind: Secret, apiVersion: v1}\n"}
    )
    await rendered(source, ParsedFiles(tmp_path))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_a_damaged_cache_costs_time_only(tmp_path: Path) -> None:
    source = Files({"a.yaml": GOOD})
    first = await rendered(source, ParsedFiles(tmp_path))
    for path in tmp_path.rglob("*"):
        if path.is_file():
            path.write_bytes(b"{broken")
    assert (await rendered(source, ParsedFiles(tmp_path))).items == first.items
