"""A kustomization directory to objects, in the order and with the names kustomize gives them.

Everything is read from one revision's tree; what would fetch, run or look elsewhere is refused by name.
Upstream: kustomize api/internal/target/kusttarget.go.
"""

from __future__ import annotations

import asyncio
import posixpath
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from cluster.machinery.yaml import Document, Limits, YamlError, load_documents
from reconciler.model import Origin
from reconciler.render.kustomize.fields import ANNOTATIONS, METADATA_LABELS, SELECTOR_LABELS, TEMPLATE_LABELS
from reconciler.render.kustomize.generate import add_hash, entries_of, literal_of, object_of
from reconciler.render.kustomize.order import FIRST, LAST, in_legacy_order
from reconciler.render.kustomize.patches import apply_operations, merge_by_name, patch_selected
from reconciler.render.kustomize.references import follow_names
from reconciler.render.kustomize.replace import replace
from reconciler.render.kustomize.resource import BuildError, Built, Id, copy_of, gvk_of, with_id
from reconciler.render.kustomize.select import selected
from reconciler.render.kustomize.transform import add_affixes, set_images, set_namespace, set_pairs, set_replicas
from reconciler.render.kustomize.tree import BuildTree
from reconciler.render.parsed import Parsed

DEPTH_MAX = 32
"""Kustomizations below each other."""

VISITS_MAX = 1_000
"""Directories one build may visit, the same ones again included: bases that name bases twice would multiply."""

OBJECTS_MAX = 10_000

_TEXT_LIMITS = Limits(size_max_bytes=1024 * 1024, nodes_max=50_000)

FIELDS: Mapping[str, type] = {
    "apiVersion": str, "kind": str, "metadata": dict, "resources": list, "bases": list, "components": list,
    "namePrefix": str, "nameSuffix": str, "namespace": str, "labels": list, "commonLabels": dict,
    "commonAnnotations": dict, "images": list, "replicas": list, "patches": list, "patchesStrategicMerge": list,
    "patchesJson6902": list, "configMapGenerator": list, "secretGenerator": list, "generatorOptions": dict,
    "replacements": list, "sortOptions": dict,
}  # fmt: skip
REFUSED = (
    "vars", "crds", "openapi", "configurations", "generators", "transformers", "validators", "helmCharts",
    "helmGlobals", "helmChartInflationGenerator", "inventory", "buildMetadata", "imageTags",
)  # fmt: skip

T = TypeVar("T")
Parse = Callable[[bytes], Awaitable[Parsed]]


class Builder:
    """One build; not used twice.  `parse` is what manifest files are parsed by."""

    def __init__(self, tree: BuildTree, parse: Parse) -> None:
        self._tree = tree
        self._parse = parse
        self._visits = 0

    async def build(self, directory: str) -> Sequence[Built]:
        """The finished objects.  Raises BuildError; StageError when the source cannot be read."""
        file = await self._kustomization(directory, Origin(directory, 0))
        built: list[Built] = []
        await self._accumulate(file, built, ())
        for each in built:
            if each.needs_hash:
                add_hash(each)
        follow_names(built)
        sort = file.value.get("sortOptions") or {"order": "legacy"}
        if sort.get("order") == "fifo":
            return built
        legacy = sort.get("legacySortOptions") or {}
        first, last = legacy.get("orderFirst"), legacy.get("orderLast")
        if first is None and last is None:
            return in_legacy_order(built, first=FIRST, last=LAST)
        return in_legacy_order(built, first=file.texts(first or ()), last=file.texts(last or ()))

    async def _kustomization(self, directory: str, origin: Origin) -> _File:
        path = self._tree.kustomization_of(directory)
        if not path:
            raise BuildError(f"{directory or '.'!r} has no kustomization file", origin)
        data = await self._tree.read(directory, posixpath.basename(path), Origin(path, 0))
        try:
            documents = load_documents(data, limits=_TEXT_LIMITS)
        except YamlError as error:
            raise BuildError(error.message, Origin(path, error.line)) from error
        if len(documents) != 1:
            raise BuildError("a kustomization is one document", Origin(path, 0))
        file = _File(path, directory, documents[0])
        file.check()
        return file

    async def _accumulate(self, file: _File, built: list[Built], above: Sequence[str]) -> None:
        """Add what the kustomization declares to `built`, and do to all of that what it says."""
        self._visits += 1
        if self._visits > VISITS_MAX:
            raise BuildError(f"more than {VISITS_MAX} kustomizations are built", file.origin())
        if file.directory in above:
            raise BuildError(f"a cycle: {' -> '.join((*above, file.directory))}", file.origin())
        if len(above) >= DEPTH_MAX:
            raise BuildError(f"more than {DEPTH_MAX} kustomizations below each other", file.origin())
        above = (*above, file.directory)
        for field in ("resources", "bases"):
            for entry, origin in file.entries(field, str):
                path = self._tree.resolve(file.directory, entry, origin)
                if self._tree.is_file(path):
                    _add(built, await self._resources(file, entry, path, origin), origin)
                    continue
                below = await self._kustomization(path, origin)
                if below.value.get("kind") == "Component":
                    raise BuildError(f"{entry!r} is a Component: name it in components", origin)
                part: list[Built] = []
                await self._accumulate(below, part, above)
                _add(built, part, origin)
        for entry, origin in file.entries("components", str):
            below = await self._kustomization(self._tree.resolve(file.directory, entry, origin), origin)
            if below.value.get("kind") != "Component":
                raise BuildError(f"{entry!r} is no Component", origin)
            await self._accumulate(below, built, above)
        for kind, field in (("ConfigMap", "configMapGenerator"), ("Secret", "secretGenerator")):
            for args, origin in file.entries(field, dict):
                await self._generate(file, kind, args, origin, built)
        await asyncio.sleep(0)  # a build is work: let probes and watches have their turn
        await self._transform(file, built)

    async def _resources(self, file: _File, entry: str, path: str, origin: Origin) -> list[Built]:
        parsed = await self._parse(await self._tree.read(file.directory, entry, origin))
        if parsed.error:
            raise BuildError(parsed.error, Origin(path, parsed.error_line))
        found: list[Built] = []
        for part in parsed.parts:
            obj = copy_of(part.obj)
            items = obj.get("items") if isinstance(obj, dict) and str(obj.get("kind", "")).endswith("List") else None
            for item in items if isinstance(items, list) else [obj]:
                where = Origin(path, part.line)
                if not isinstance(item, dict) or not item.get("kind") or not item.get("apiVersion"):
                    raise BuildError(
                        "the document is no object of a Kubernetes API: apiVersion or kind is missing", where
                    )
                built = Built(item, where)
                if not built.id.name:
                    raise BuildError("metadata.name is missing", where)
                found.append(built)
        return found

    async def _generate(
        self, file: _File, kind: str, args: Mapping[str, Any], origin: Origin, built: list[Built]
    ) -> None:
        if not isinstance(args.get("name"), str) or not args["name"]:
            raise BuildError("a generator needs a name", origin)
        contents: dict[str, bytes] = {}

        def put(key: str, value: bytes) -> None:
            if key in contents:
                raise BuildError(f"the key {key!r} is there twice", origin)
            contents[key] = value

        try:
            envs = [*file.texts(args.get("envs") or ()), *([args["env"]] if args.get("env") else [])]
            for path in envs:
                for key, value in entries_of(await self._tree.read(file.directory, path, origin)).items():
                    put(key, value)
            for text in file.texts(args.get("literals") or ()):
                put(*literal_of(text))
            for text in file.texts(args.get("files") or ()):
                key, equals, path = text.partition("=")
                name, path = (key, path) if equals else (posixpath.basename(text), text)
                put(name, await self._tree.read(file.directory, path, origin))
        except ValueError as error:
            raise BuildError(f"{kind} {args['name']}: {error}", origin) from error
        made = Built(object_of(kind, args, contents), origin)
        common, own = file.value.get("generatorOptions") or {}, args.get("options") or {}
        for field in ("labels", "annotations"):
            if pairs := {**(common.get(field) or {}), **(own.get(field) or {})}:
                made.meta[field] = pairs
        if own.get("immutable", common.get("immutable")):
            made.obj["immutable"] = True
        made.needs_hash = not (own.get("disableNameSuffixHash") or common.get("disableNameSuffixHash"))
        _absorb(built, made, str(args.get("behavior") or "create"), origin)

    async def _transform(self, file: _File, built: list[Built]) -> None:
        value = file.value
        for text, origin in file.entries("patchesStrategicMerge", str):
            inline = "\n" in text or (":" in text and not text.endswith((".yaml", ".yml", ".json")))
            data = text.encode() if inline else await self._tree.read(file.directory, text, origin)
            for patch in _patches(data, origin):
                _try(origin, partial(merge_by_name, built, patch))
        for args, origin in file.entries("patches", dict):
            await self._patch(file, args, origin, built)
        if value.get("namespace"):
            set_namespace(built, value["namespace"])
        for prefix, suffix in ((value.get("namePrefix"), None), (None, value.get("nameSuffix"))):
            if prefix or suffix:
                add_affixes(built, prefix=prefix or "", suffix=suffix or "")
        for args, origin in file.entries("labels", dict):
            pairs = file.pairs(args.get("pairs"), origin)
            if args.get("fields") or args.get("fieldSpecs"):
                raise BuildError("labels with fields of their own are not supported", origin)
            fields = TEMPLATE_LABELS if args.get("includeTemplates") else METADATA_LABELS
            set_pairs(built, pairs, SELECTOR_LABELS if args.get("includeSelectors") else fields)
        if value.get("commonLabels"):
            set_pairs(built, file.pairs(value["commonLabels"], file.origin("commonLabels")), SELECTOR_LABELS)
        if value.get("commonAnnotations"):
            set_pairs(built, file.pairs(value["commonAnnotations"], file.origin("commonAnnotations")), ANNOTATIONS)
        for args, origin in file.entries("patchesJson6902", dict):
            data = await self._patch_text(file, args, origin)
            target = args.get("target")
            if not isinstance(target, Mapping):
                raise BuildError("a JSON patch needs a target", origin)
            found = _try(origin, partial(selected, built, target, patterns=False))
            if len(found) != 1:
                raise BuildError(f"the target fits {len(found)} objects, it must be one", origin)
            for patch in _patches(data, origin):
                _try(origin, partial(apply_operations, found[0], patch))
        for args, origin in file.entries("replicas", dict):
            if not isinstance(args.get("count"), int) or not set_replicas(built, str(args.get("name")), args["count"]):
                raise BuildError(f"there is nothing called {args.get('name')!r} whose replicas could be set", origin)
        for args, origin in file.entries("images", dict):
            if not isinstance(args.get("name"), str):
                raise BuildError("an image needs a name", origin)
            set_images(built, args)
        for args, origin in file.entries("replacements", dict):
            for one in await self._replacements(file, args, origin):
                _try(origin, partial(replace, built, one))

    async def _patch(self, file: _File, args: Mapping[str, Any], origin: Origin, built: list[Built]) -> None:
        patches = _patches(await self._patch_text(file, args, origin), origin)
        target, options = args.get("target"), args.get("options") or {}
        if target:
            _try(origin, partial(patch_selected, built, patches, target, options))
            return
        for patch in patches:
            if not isinstance(patch, Mapping):
                raise BuildError("a JSON patch needs a target", origin)
            _try(origin, partial(merge_by_name, built, patch))

    async def _patch_text(self, file: _File, args: Mapping[str, Any], origin: Origin) -> bytes:
        path, text = args.get("path"), args.get("patch")
        if bool(path) == bool(text) or not isinstance(path or text, str):
            raise BuildError("a patch is either a path or a text", origin)
        return await self._tree.read(file.directory, str(path), origin) if path else str(text).encode()

    async def _replacements(self, file: _File, args: Mapping[str, Any], origin: Origin) -> Sequence[Mapping[str, Any]]:
        if not args.get("path"):
            return [args]
        found = _patches(await self._tree.read(file.directory, str(args["path"]), origin), origin)
        flat = [one for part in found for one in (part if isinstance(part, list) else [part])]
        if not all(isinstance(one, Mapping) for one in flat):
            raise BuildError("a replacement is an object", origin)
        return flat


class _File:
    """A kustomization with the lines of its fields."""

    def __init__(self, path: str, directory: str, document: Document) -> None:
        self.path = path
        self.directory = directory
        self.value = document.obj
        self._document = document

    def check(self) -> None:
        """Raises BuildError for a field that is unknown, refused, or of another type."""
        for name, value in self.value.items():
            if name in REFUSED:
                raise BuildError(f"{name} is not supported", self.origin(name))
            if name not in FIELDS:
                raise BuildError(f"a kustomization has no field {name[:64]!r}", self.origin(name))
            if value is not None and not isinstance(value, FIELDS[name]):
                raise BuildError(f"{name} has the wrong type", self.origin(name))
        if self.value.get("kind") not in (None, "Kustomization", "Component"):
            raise BuildError("kind must be Kustomization or Component", self.origin("kind"))

    def origin(self, path: str = "") -> Origin:
        return Origin(self.path, self._document.line_of(path) if path else 0)

    def entries(self, name: str, kind: type[T]) -> Sequence[tuple[T, Origin]]:
        """The items of a list, each with where it stands.  Raises BuildError for one of another type."""
        found: list[tuple[T, Origin]] = []
        for index, item in enumerate(self.value.get(name) or ()):
            origin = self.origin(f"{name}[{index}]")
            if not isinstance(item, kind):
                raise BuildError(f"an item of {name} has the wrong type", origin)
            found.append((item, origin))
        return found

    def texts(self, value: Any) -> Sequence[str]:
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise BuildError("a list of texts is needed", self.origin())
        return value

    def pairs(self, value: Any, origin: Origin) -> Mapping[str, str]:
        if not isinstance(value, Mapping) or not all(isinstance(text, str) for text in value.values()):
            raise BuildError("labels and annotations are texts: quote the value", origin)
        return value


def _add(built: list[Built], more: Sequence[Built], origin: Origin) -> None:
    known = {each.id.effective for each in built}
    for each in more:
        if each.id.effective in known:
            raise BuildError(f"{each.id.gvk.kind} {each.id.name} is there twice", origin)
        known.add(each.id.effective)
        built.append(each)
    if len(built) > OBJECTS_MAX:
        raise BuildError(f"more than {OBJECTS_MAX} objects", origin)


def _absorb(built: list[Built], made: Built, behavior: str, origin: Origin) -> None:
    """Add a generated object, or let it replace or extend the one that is there."""
    name = f"{made.id.gvk.kind} {made.id.name}"
    found = with_id(built, Id(gvk_of(made.obj), made.id.namespace, made.id.name))
    if behavior not in ("create", "merge", "replace"):
        raise BuildError(f"{name}: unknown behavior {behavior[:64]!r}", origin)
    if (behavior == "create") != (not found) or len(found) > 1:
        why = "it is already there" if behavior == "create" else f"there are {len(found)} to {behavior}"
        raise BuildError(f"{name}: {why}", origin)
    if not found:
        built.append(made)
        return
    old = found[0]
    kept = {"name": old.id.name, **({"namespace": old.id.namespace} if old.id.namespace else {})}
    pairs = {
        field: {**(old.meta.get(field) or {}), **(made.meta.get(field) or {})} for field in ("labels", "annotations")
    }
    if behavior == "merge":
        for field in ("data", "binaryData"):
            if joined := {**(old.obj.get(field) or {}), **(made.obj.get(field) or {})}:
                made.obj[field] = dict(sorted(joined.items()))
        if "type" in old.obj:
            made.obj["type"] = old.obj["type"]
    made.obj["metadata"] = {**kept, **{field: value for field, value in pairs.items() if value}}
    old.obj = made.obj
    old.needs_hash = made.needs_hash or old.needs_hash


_LIST = re.compile(rb"\A(?:\s*(?:#[^\n]*)?\n|---[^\n]*\n)*\s*(?:\[|-\s)")


def _patches(data: bytes, origin: Origin) -> Sequence[Any]:
    """The documents of a patch: mappings, or one list of operations."""
    try:
        if _LIST.match(data):
            lines = [b" " + line for line in data.split(b"\n") if not line.startswith(b"---")]
            (document,) = load_documents(b"list:\n" + b"\n".join(lines), limits=_TEXT_LIMITS)
            return [document.obj["list"]]
        return [document.obj for document in load_documents(data, limits=_TEXT_LIMITS)]
    except YamlError as error:
        raise BuildError(f"the patch: {error}", origin) from error


def _try(origin: Origin, act: Callable[[], T]) -> T:
    try:
        return act()
    except ValueError as error:
        raise BuildError(str(error), origin) from error
